"""Checks WebSocket handshakes before the WebSocket library parses them.

The library neither answers nor ends a handshake that it can't parse (websockets 15,
`ServerProtocol.parse`).
"""

import re
from typing import Final

from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS

from evpower.foundation.errors import EvPowerError

_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
_TARGET: Final = re.compile(rb"/[\x21-\x7e]*")
_NAME: Final = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(rb"[\x09\x20-\x7e\x80-\xff]*")
_REQUEST_LINE_EXTRA: Final = len(b"GET  HTTP/1.1\r\n")
_HEADER_EXTRA: Final = len(b": \r\n")
_OF_UPGRADE: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})
# Not logged: secrets, and what differs in each attempt.
_HIDDEN: Final = frozenset({
    b"authorization", b"cookie", b"proxy-authorization", b"sec-websocket-key",
})  # fmt: skip
_SHOWN_MAX: Final = 2_000
_SINGLE: Final = frozenset({b"sec-websocket-key", b"sec-websocket-version", b"origin", b"upgrade"})


def check(method: bytes, version: str, target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Checks that a handshake can be parsed (RFC 6455 4.2.1).

    Raises EvPowerError("bad_request" | "head_too_large").
    """
    if method != b"GET" or version != "1.1":
        raise bad_request("a WebSocket handshake is a GET of HTTP/1.1")
    if len(target) + _REQUEST_LINE_EXTRA > MAX_LINE_LENGTH:
        raise _too_long(f"the URL of a WebSocket handshake has at most {MAX_LINE_LENGTH} bytes")
    if _TARGET.fullmatch(target) is None:
        raise bad_request("the URL of a WebSocket handshake is a path of printable ASCII")
    if len(headers) >= MAX_NUM_HEADERS:
        raise _too_long(f"a WebSocket handshake has fewer than {MAX_NUM_HEADERS} headers")
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if len(name) + len(value) + _HEADER_EXTRA > MAX_LINE_LENGTH:
            raise _too_long(f"a header of a handshake has at most {MAX_LINE_LENGTH} bytes")
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise bad_request("a header of the WebSocket handshake can't be read")
        if name in fields and name in _SINGLE:
            raise bad_request(f"{name.decode()} stands twice")
        fields[name] = value
    _check_values(fields)


def is_incomplete(target: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
    """Returns whether a request without `Connection: Upgrade` means the handshake of a station.

    Paths of the API answer for themselves.
    """
    if target.lstrip(b"/").lower().startswith(b"api/"):
        return False
    return any(
        name == b"upgrade" and value.strip().lower() == b"websocket" for name, value in headers
    )


def shown(target: bytes, headers: list[tuple[bytes, bytes]]) -> str:
    """Returns the head of a handshake for the log, without its secrets and not more than 2 KB."""
    lines = [f"GET {target.decode('latin-1')}"]
    lines += [
        f"{name.decode('latin-1')}: {'***' if name in _HIDDEN else value.decode('latin-1')}"
        for name, value in headers
    ]
    return "\n".join(lines)[:_SHOWN_MAX]


def without_upgrade(method: bytes, target: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Returns the bytes of the head without the request for another protocol."""
    lines = [method + b" " + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in headers if name not in _OF_UPGRADE]
    if any(name == b"connection" and b"close" in value.lower() for name, value in headers):
        lines.append(b"connection: close")
    return b"\r\n".join([*lines, b"", b""])


def _check_values(fields: dict[bytes, bytes]) -> None:
    if b"content-length" in fields or b"transfer-encoding" in fields:
        raise bad_request("a WebSocket handshake has no body")
    if _KEY.fullmatch(fields.get(b"sec-websocket-key", b"")) is None:
        raise bad_request("Sec-WebSocket-Key must be 16 bytes in base64")
    if fields.get(b"sec-websocket-version", b"") != b"13":
        raise bad_request("Sec-WebSocket-Version must be 13")


def serialize(target: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Returns the bytes of a handshake, with Connection and Upgrade in their plain form."""
    lines = [b"GET " + target + b" HTTP/1.1", b"connection: upgrade", b"upgrade: websocket"]
    lines += [
        name + b": " + value for name, value in headers if name not in (b"connection", b"upgrade")
    ]
    return b"\r\n".join([*lines, b"", b""])


def bad_request(detail: str) -> EvPowerError:
    """Returns the error for bytes that are no valid request."""
    return EvPowerError("bad_request", detail, status=400)


def _too_long(detail: str) -> EvPowerError:
    return EvPowerError("head_too_large", detail, status=431)
