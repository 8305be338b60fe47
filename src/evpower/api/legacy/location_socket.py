"""`WS /api/v1/ws/locations?client_id=`: the old live socket of map, station list, charging page.

Two dialects are understood, the documented one ({"action", "channel"}) and the one the apps really
sent ({"type", "data": {"channel"}}). The client_id proves nothing and is only echoed. A client's
own sessions are sent after a token: the handshake's Authorization, or {"action": "auth", "token"}.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias, cast
from urllib.parse import parse_qs

from fastapi import APIRouter
from starlette.types import Message, Receive, Scope, Send

from evpower.api.legacy import metrics
from evpower.api.legacy.location_feed import LocationFeed, Viewer, Wire, encode
from evpower.api.legacy.stations import is_old_host
from evpower.foundation.addresses import ClientAddresses, Network
from evpower.foundation.clock import to_z
from evpower.foundation.connection_limits import SocketLimits, origin_allowed
from evpower.foundation.errors import EvPowerError
from evpower.foundation.json_reader import NotJson, read_object
from evpower.foundation.websocket import EXTENSION
from evpower.identity import Claims

PATHS: Final = ("/api/v1/ws/locations", "/api/v1/locations/ws/locations")
_PER_ADDRESS: Final = 20
_PER_CLIENT: Final = 10
_TOTAL: Final = 10_000
_PER_S: Final = 10
_FLOOD_PER_S: Final = 100
_MAX_FRAME: Final = 9 * 1024  # characters or bytes: the longest access token, and its message
_MAX_CLIENT_ID: Final = 64
_GREETING: Final = "Подключение установлено"
_SIGNED_IN: Final = "Вход выполнен"
_BEARER: Final = "bearer "
_HEADERS: Final = (b"authorization", b"host", b"origin", b"x-forwarded-for")

_POLICY: Final = 1008
_TOO_BIG: Final = 1009
_TRY_LATER: Final = 1013

_Answer = dict[str, Any] | None
# Verifies a client's token; raises EvPowerError.
SignIn: TypeAlias = Callable[[str], Awaitable[Claims]]


def router(
    feed: LocationFeed,
    sign_in: SignIn,
    *,
    cors_origins: frozenset[str],
    trusted_proxies: tuple[Network, ...],
    old_hosts: frozenset[str] = frozenset(),
    limits: SocketLimits | None = None,
    now_s: Callable[[], float] = time.monotonic,
) -> APIRouter:
    """Returns both paths of the old socket. The server must use SocketProtocol for WebSockets.

    `old_hosts`: where a free station is called active.
    """
    routes = APIRouter()
    endpoint = LocationSocket(
        feed,
        sign_in,
        limits or SocketLimits(per_address=_PER_ADDRESS, per_key=_PER_CLIENT, total=_TOTAL),
        cors_origins,
        trusted_proxies,
        old_hosts,
        now_s,
    )
    for path in PATHS:
        routes.add_websocket_route(path, cast("Any", endpoint))
    return routes


class LocationSocket:
    """The endpoint, an ASGI application."""

    def __init__(
        self,
        feed: LocationFeed,
        sign_in: SignIn,
        limits: SocketLimits,
        cors_origins: frozenset[str],
        trusted_proxies: tuple[Network, ...],
        old_hosts: frozenset[str],
        now_s: Callable[[], float],
    ) -> None:
        self._feed = feed
        self._sign_in = sign_in
        self._limits = limits
        self._cors_origins = cors_origins
        self._addresses = ClientAddresses(trusted_proxies)
        self._old_hosts = old_hosts
        self._now_s = now_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one socket to its end."""
        headers = _headers(scope)
        peer = scope.get("client")
        address = self._addresses.of(peer[0] if peer else "", headers.get(b"x-forwarded-for", ""))
        client_id = _client_id(scope)
        slot = self._limits.open(address)
        try:
            await receive()  # websocket.connect
            await send(
                {"type": "websocket.accept"}
            )  # a refused handshake would carry no close code
            if not origin_allowed(headers.get(b"origin", ""), self._cors_origins):
                await _close(send, _POLICY, "origin_not_allowed")
            elif client_id is not None and len(client_id) > _MAX_CLIENT_ID:
                await _close(send, _POLICY, "invalid_client_id")
            # Counted per address too: any peer may send a client_id, and could lock its driver out.
            elif slot is None or (client_id and not slot.claim(f"{address} {client_id}")):
                await _close(send, _TRY_LATER, "too_many_sockets")
            else:
                token = _bearer(headers.get(b"authorization", ""))
                wire: Wire = scope["extensions"][EXTENSION]
                old_words = is_old_host(headers.get(b"host", ""), self._old_hosts)
                viewer = self._feed.join(wire, old_words=old_words)
                del headers  # this stack frame lives as long as the socket
                await self._talk(viewer, receive, send, client_id, token)
        finally:
            if slot is not None:
                slot.leave()

    async def _talk(
        self, viewer: Viewer, receive: Receive, send: Send, client_id: str | None, token: str
    ) -> None:
        try:
            viewer.write(
                encode(
                    {
                        "type": "connection",
                        "status": "connected",
                        "client_id": client_id,
                        "message": _GREETING,
                    }
                )
            )
            viewer.wire.forget_handshake()
            if token:
                viewer.write(encode(await self._auth(viewer, token)))
            await self._listen(viewer, receive, send)
        finally:
            self._feed.leave(viewer)

    async def _listen(self, viewer: Viewer, receive: Receive, send: Send) -> None:
        window_from_s, heard = self._now_s(), 0
        while (message := await receive())["type"] != "websocket.disconnect":
            now_s = self._now_s()
            if now_s - window_from_s >= 1:
                window_from_s, heard = now_s, 0
            heard += 1
            text = _text(message)
            if len(text) > _MAX_FRAME:
                await _close(send, _TOO_BIG, "message_too_big")
                return
            if heard > _FLOOD_PER_S:
                await _close(send, _POLICY, "rate_limited")
                return
            answer = (
                _error("rate_limited")
                if heard > _PER_S
                else await self._answer(viewer, text, now_s)
            )
            if answer is not None:
                viewer.write(encode(answer))

    async def _answer(self, viewer: Viewer, text: str | bytes, now_s: float) -> _Answer:
        frame = _parse(text)
        if frame is None:
            return _error("invalid_message")
        action = frame.get("action", frame.get("type"))
        if action == "ping":
            return {"type": "pong", "timestamp": now_s}
        if action == "pong":
            return None
        if action in ("subscribe", "unsubscribe"):
            return self._subscription(viewer, action, frame)
        if action == "auth":
            token = _member(frame, "token")
            return _error("missing_token") if token is None else await self._auth(viewer, token)
        return _error("unknown_action")

    async def _auth(self, viewer: Viewer, token: str) -> dict[str, Any]:
        """Shows a token; a refused one changes nothing, and the socket goes on."""
        try:
            claims = await self._sign_in(token)
        except EvPowerError as error:
            return _error(error.code)
        if wrong := self._feed.sign_in(viewer, claims.sub, claims.expires_at):
            return _error(wrong)
        return {
            "type": "connection",
            "status": "authenticated",
            "client_id": str(claims.sub),
            "expires_at": to_z(claims.expires_at),
            "message": _SIGNED_IN,
        }

    def _subscription(self, viewer: Viewer, action: str, frame: Mapping[str, Any]) -> _Answer:
        channel = _member(frame, "channel")
        if channel is None:
            return _error("invalid_channel")
        if action == "unsubscribe":
            self._feed.unsubscribe(viewer, channel)
        elif wrong := self._feed.subscribe(viewer, channel):
            return _error(wrong)
        return {"type": "subscription", "status": f"{action}d", "channel": channel}


def _headers(scope: Scope) -> dict[bytes, str]:
    headers: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in _HEADERS:
            text = value.decode("latin-1")
            headers[name] = f"{headers[name]},{text}" if name in headers else text
    return headers


def _client_id(scope: Scope) -> str | None:
    query = parse_qs(scope["query_string"].decode("latin-1"))
    return query.get("client_id", [None])[0]


def _text(message: Message) -> str | bytes:
    text: str | bytes | None = message.get("text")
    return text if text is not None else message.get("bytes") or b""


def _parse(text: str | bytes) -> Mapping[str, Any] | None:
    try:
        return read_object(text)
    except NotJson:
        return None


def _member(frame: Mapping[str, Any], name: str) -> str | None:
    """Returns a text of the frame itself, or of its `data`."""
    value, data = frame.get(name), frame.get("data")
    if value is None and isinstance(data, dict):
        value = cast("dict[str, Any]", data).get(name)
    return value if isinstance(value, str) and value else None


def _bearer(authorization: str) -> str:
    is_bearer = authorization[: len(_BEARER)].lower() == _BEARER
    return authorization[len(_BEARER) :].strip() if is_bearer else ""


def _error(code: str) -> dict[str, Any]:
    return {"type": "error", "message": code}


async def _close(send: Send, code: int, reason: str) -> None:
    metrics.REFUSED.labels(reason).inc()
    await send({"type": "websocket.close", "code": code, "reason": reason})
