"""What a station says as it connects: its name, its password, the versions it offers."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from starlette.types import Scope

from evpower.foundation.addresses import ClientAddresses
from evpower.ocpp.model import VERSION

_SPEED: Final = b"x-simulated-speed"  # what `evpower station simulate --speed` says of itself
STATION_PATHS: Final = ("/ws/{station_id}", "/ocpp/{station_id}")
_PREFIXES: Final = frozenset(path.split("/")[1] for path in STATION_PATHS)
_MOST_SEGMENTS: Final = 8


def socket_urls(public_url: str) -> list[str]:
    """Returns the addresses of the stations' sockets, with the templates of their paths."""
    return [f"{re.sub(r'^http', 'ws', public_url)}{path}" for path in STATION_PATHS]


def matches(path: str) -> bool:
    """Returns whether a WebSocket at this path is a station's: any outside of the API."""
    return not path.lstrip("/").lower().startswith("api/")


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a station said as it connected: names it may have, its password, subprotocols."""

    whole: str  # all of the path behind /ocpp or /ws
    names: tuple[str, ...]
    password: bytes | None
    offered: tuple[str, ...]
    address: str
    authorization: bytes | None = field(default=None, repr=False)  # the header, for another CSMS
    is_sped_up: bool = False  # it says that its energy flows faster than any real one


def read_handshake(scope: Scope, addresses: ClientAddresses) -> Handshake:
    """Returns what a handshake says: names from the path, the last segment first, then the user."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    fields: Mapping[bytes, bytes] = dict(headers)
    user, password = read_basic(fields.get(b"authorization", b""))
    whole, names = names_of(scope["raw_path"].decode("ascii"))
    if user and user.lower() not in {name.lower() for name in names}:
        names.append(user)
    forwarded = b",".join(value for name, value in headers if name == b"x-forwarded-for")
    peer = scope.get("client")
    return Handshake(
        whole,
        tuple(names),
        password,
        tuple(scope["subprotocols"]),
        addresses.of(peer[0] if peer else "", forwarded.decode("latin-1")),
        fields.get(b"authorization"),
        is_sped_up=_SPEED in fields,
    )


def names_of(raw_path: str) -> tuple[str, list[str]]:
    """Returns the whole rest of a path, and the names it may hold, the last segment first.

    An id may hold a slash: percent-encoded it is part of a segment, else of the whole.
    """
    segments = [unquote(part).strip() for part in raw_path.split("/") if part.strip()]
    if segments and segments[0].lower() in _PREFIXES:
        del segments[0]
    names: dict[str, str] = {}
    for segment in reversed(segments[-_MOST_SEGMENTS:]):
        if segment:
            names.setdefault(segment.lower(), segment)
    return "/".join(segments), list(names.values())


def read_basic(header: bytes) -> tuple[str, bytes | None]:
    """Returns user and password of an Authorization header; a password need not be UTF-8."""
    scheme, _, encoded = header.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return "", None
    try:
        decoded = base64.b64decode(encoded.strip() + b"==")
    except (binascii.Error, ValueError):
        return "", None
    user, _, password = decoded.partition(b":")
    return user.decode("utf-8", "replace").strip(), password or None


def choose(offered: tuple[str, ...]) -> str | None:
    """Returns the subprotocol to answer: 1.6 as the station wrote it; none that it did not."""
    return next((name for name in offered if name.strip().lower() == VERSION), None)


def may_speak(offered: tuple[str, ...]) -> bool:
    """Returns whether a station that offers these may speak 1.6, not only later versions."""
    return choose(offered) is not None or not any(
        name.strip().lower().startswith("ocpp2") for name in offered
    )
