"""The addresses of NATS servers."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

_PORT: Final = 4222


@dataclass(frozen=True, slots=True)
class NatsServer:
    """A server's address and credentials; a user without a password is a token."""

    host: str
    port: int
    tls: bool
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """host:port, without credentials."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.tls else 'nats'}://{host}:{self.port}"


def parse_servers(urls: str) -> tuple[NatsServer, ...]:
    """Parses comma-separated nats:// or tls:// URLs with percent-encoded credentials.

    Raises ValueError, which never quotes a URL: it may hold a password.
    """
    parts = [part.strip() for part in urls.split(",") if part.strip()]
    if not parts:
        raise ValueError("no NATS server is named")
    return tuple(_parse(part) for part in parts)


def _parse(url: str) -> NatsServer:
    try:
        parsed = urlsplit(url)
        host, port = parsed.hostname, parsed.port
    except ValueError:
        host, port, parsed = None, None, urlsplit("")
    if parsed.scheme not in {"nats", "tls"} or not host or parsed.path not in {"", "/"}:
        raise ValueError("a NATS URL must read nats://host:4222 or tls://user:password@host:4222")
    return NatsServer(
        host,
        port or _PORT,
        parsed.scheme == "tls",
        unquote(parsed.username) if parsed.username else None,
        unquote(parsed.password) if parsed.password else None,
    )
