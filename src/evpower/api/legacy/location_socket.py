"""`WS /api/v1/ws/locations?client_id=`: the old live socket of map, station list, charging page.

Two dialects are understood, the documented one ({"action", "channel"}) and the one the apps really
sent ({"type", "data": {"channel"}}). The client_id proves nothing and is only echoed.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, cast
from urllib.parse import parse_qs

from fastapi import APIRouter
from starlette.types import Message, Receive, Scope, Send

from evpower.api.legacy import metrics
from evpower.api.legacy.location_feed import LocationFeed, Viewer, Wire, encode
from evpower.foundation.addresses import ClientAddresses, Network
from evpower.foundation.connection_limits import SocketLimits, origin_allowed
from evpower.foundation.json_reader import NotJson, read_object
from evpower.foundation.websocket import EXTENSION

PATHS: Final = ("/api/v1/ws/locations", "/api/v1/locations/ws/locations")
_PER_ADDRESS: Final = 20
_PER_CLIENT: Final = 10
_TOTAL: Final = 10_000
_PER_S: Final = 10
_FLOOD_PER_S: Final = 100
_MAX_FRAME: Final = 4096  # characters or bytes
_MAX_CLIENT_ID: Final = 64
_GREETING: Final = "Подключение установлено"

_POLICY: Final = 1008
_TOO_BIG: Final = 1009
_TRY_LATER: Final = 1013

_Answer = dict[str, Any] | None


def router(
    feed: LocationFeed,
    *,
    cors_origins: frozenset[str],
    trusted_proxies: tuple[Network, ...],
    limits: SocketLimits | None = None,
    now_s: Callable[[], float] = time.monotonic,
) -> APIRouter:
    """Returns both paths of the old socket. The server must use SocketProtocol for WebSockets."""
    routes = APIRouter()
    endpoint = LocationSocket(
        feed,
        limits or SocketLimits(per_address=_PER_ADDRESS, per_key=_PER_CLIENT, total=_TOTAL),
        cors_origins,
        trusted_proxies,
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
        limits: SocketLimits,
        cors_origins: frozenset[str],
        trusted_proxies: tuple[Network, ...],
        now_s: Callable[[], float],
    ) -> None:
        self._feed = feed
        self._limits = limits
        self._cors_origins = cors_origins
        self._addresses = ClientAddresses(trusted_proxies)
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
                await self._talk(scope, receive, send, client_id)
        finally:
            if slot is not None:
                slot.leave()

    async def _talk(
        self, scope: Scope, receive: Receive, send: Send, client_id: str | None
    ) -> None:
        wire: Wire = scope["extensions"][EXTENSION]
        viewer = self._feed.join(wire)
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
            wire.forget_handshake()
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
            answer = _error("rate_limited") if heard > _PER_S else self._answer(viewer, text, now_s)
            if answer is not None:
                viewer.write(encode(answer))

    def _answer(self, viewer: Viewer, text: str | bytes, now_s: float) -> _Answer:
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
        return _error("unknown_action")

    def _subscription(self, viewer: Viewer, action: str, frame: Mapping[str, Any]) -> _Answer:
        channel = _channel(frame)
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
        if name in (b"origin", b"x-forwarded-for"):
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


def _channel(frame: Mapping[str, Any]) -> str | None:
    channel = frame.get("channel")
    data = frame.get("data")
    if channel is None and isinstance(data, dict):
        channel = cast("dict[str, Any]", data).get("channel")
    return channel if isinstance(channel, str) and channel else None


def _error(code: str) -> dict[str, Any]:
    return {"type": "error", "message": code}


async def _close(send: Send, code: int, reason: str) -> None:
    metrics.REFUSED.labels(reason).inc()
    await send({"type": "websocket.close", "code": code, "reason": reason})
