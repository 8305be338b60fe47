"""Ready-made HTTP/1.1 requests."""


def get(path: str, token: str | None = None, *, status: int = 200) -> tuple[int, bytes]:
    """A GET with its bearer token and the status it must be answered with."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return status, _raw("GET", path, headers, b"")


def post(
    path: str, body: bytes, headers: dict[str, str] | None = None, *, status: int = 200
) -> tuple[int, bytes]:
    """A POST of JSON."""
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return status, _raw("POST", path, fields | (headers or {}), body)


def _raw(method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
