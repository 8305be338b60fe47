"""WS /api/v1/ws: admission of sockets, sign-in, and the messages an app may send."""

import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import structlog
from fastapi import APIRouter
from starlette.types import Message, Receive, Scope, Send

from evpower.config import Settings
from evpower.foundation.addresses import ClientAddresses, parse_networks
from evpower.foundation.connection_limits import (
    ConnectionSlot,
    SocketLimits,
    origin_allowed,
    parse_origins,
)
from evpower.foundation.errors import (
    EvPowerError,
    Forbidden,
    Invalid,
    Unauthenticated,
    Unavailable,
)
from evpower.foundation.json_numbers import whole
from evpower.foundation.json_reader import NotJson, read_object
from evpower.foundation.websocket import CLOSE, EXTENSION, SocketProtocol
from evpower.identity import Access
from evpower.realtime import metrics, protocol
from evpower.realtime.connection import Socket
from evpower.realtime.hub import Hub
from evpower.realtime.model import (
    BAD_MESSAGE,
    FAILED,
    MISSING_TOKEN,
    OTHER_CLIENT,
    TOKEN_IN_URL,
    TOO_MANY_MESSAGES,
    CloseReason,
)

PATH: Final = "/api/v1/ws"
SUBPROTOCOL: Final = "evpower.v1"
MAX_MESSAGE_BYTES: Final = 9 * 1024  # the longest access token, and the rest of its message
_BEARER: Final = "bearer."
_FORWARDED: Final = b"x-forwarded-for"
_RETRY_S: Final = 5
_MESSAGES_PER_S: Final = 10  # more get an error message,
_FLOOD_PER_S: Final = 20  # and more than so many close the socket
_MAX_VERSION: Final = 2**63 - 1
_TOKEN_NAMES: Final = frozenset({"token", "access_token", "jwt", "auth", "authorization", "bearer"})
_TOKEN_SHAPE: Final = re.compile(r"[\w-]{8,}\.[\w-]{8,}\.[\w-]*", re.ASCII)
log: Final = structlog.get_logger()


def router(
    access: Access, hub: Hub, settings: Settings, *, now_s: Callable[[], float] = time.monotonic
) -> APIRouter:
    """Returns the route; it needs a server that was given SocketProtocol as its `ws`."""
    routes = APIRouter(tags=["live"])
    routes.add_websocket_route(PATH, cast("Any", _Live(access, hub, settings, now_s)))
    return routes


class _Live:
    """The endpoint as a plain ASGI application, which needs the least memory per socket."""

    def __init__(
        self, access: Access, hub: Hub, settings: Settings, now_s: Callable[[], float]
    ) -> None:
        self._access = access
        self._hub = hub
        self._now_s = now_s
        self._max_waiting = settings.live_unauthenticated
        self._addresses = ClientAddresses(parse_networks(settings.trusted_proxies))
        self._origins = parse_origins(settings.cors_origins)
        self._total = settings.live_sockets
        self._limits = SocketLimits(
            per_address=settings.live_sockets_per_address,
            per_key=settings.live_sockets_per_client,
            total=settings.live_sockets,
            waiting_per_address=settings.live_unauthenticated_per_address,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one socket until it is closed. Raises EvPowerError instead of accepting it."""
        wire: SocketProtocol | None = scope.get("extensions", {}).get(EXTENSION)
        if wire is None:
            raise RuntimeError("this server was not given SocketProtocol as its `ws`")
        connection_slot = self._admit(scope)
        socket = Socket(wire, self._hub, connection_slot)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        accepted = headers.get(b"accept-language", b"").decode("latin-1")
        socket.language = self._hub.choose_language(accepted)
        del headers, accepted  # this stack frame lives as long as the socket
        try:
            await self._serve(scope, receive, send, socket)
        finally:
            connection_slot.leave()

    def _admit(self, scope: Scope) -> ConnectionSlot:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if not origin_allowed(headers.get(b"origin", b"").decode("latin-1"), self._origins):
            raise _refused(Forbidden("forbidden_origin", "this origin may not open sockets"))
        is_full = len(self._limits) >= self._total or self._hub.waiting >= self._max_waiting
        if is_full or self._hub.stopping:
            raise _refused(
                Unavailable("overloaded", "too many sockets are open", retry_after_s=_RETRY_S)
            )
        forwarded = b",".join(value for name, value in scope["headers"] if name == _FORWARDED)
        connection_slot = self._limits.open(
            self._addresses.of(
                scope["client"][0] if scope.get("client") else "", forwarded.decode("latin-1")
            )
        )
        if connection_slot is None:
            raise _refused(
                EvPowerError(
                    "too_many_sockets",
                    "too many sockets are open from this address",
                    status=429,
                    retry_after_s=_RETRY_S,
                )
            )
        return connection_slot

    async def _serve(self, scope: Scope, receive: Receive, send: Send, socket: Socket) -> None:
        self._hub.attach(socket)
        last_message: Message | None = None
        try:
            await receive()
            await self._accept(socket, scope, send)
            while True:
                message = await receive()
                if message["type"] == "websocket.receive":
                    await self._handle(socket, message)
                elif message["type"] == CLOSE:
                    await send({**message, "type": "websocket.close"})
                    break
                else:
                    last_message = message
                    break
        except OSError:
            pass  # the connection is lost
        except Exception:
            log.exception("live_socket_failed")
            socket.ended = FAILED
            with suppress(Exception):
                await send(
                    {"type": "websocket.close", "code": FAILED.code, "reason": FAILED.reason}
                )
        finally:
            self._hub.detach(socket)
            _count(socket, last_message)

    async def _accept(self, socket: Socket, scope: Scope, send: Send) -> None:
        offered: list[str] = scope["subprotocols"]
        token = next((name[len(_BEARER) :] for name in offered if name.startswith(_BEARER)), None)
        exposed = _holds_token(scope["query_string"])
        await send(
            {
                "type": "websocket.accept",
                "subprotocol": SUBPROTOCOL if SUBPROTOCOL in offered else None,
            }
        )
        socket.wire.forget_handshake()
        if exposed:
            socket.end(TOKEN_IN_URL)
        elif token is not None:
            await self._sign_in(socket, token, None)

    async def _handle(self, socket: Socket, event: Message) -> None:
        """Handles one message; an invalid one at worst closes the socket."""
        if socket.ended is not None:
            return
        count = socket.count_message(self._now_s())
        if count > _FLOOD_PER_S:
            socket.end(TOO_MANY_MESSAGES)
            return
        message = _parse(event)
        if message is None:
            socket.end(BAD_MESSAGE)
        elif message.get("type") == "auth":
            await self._handle_auth(socket, message)
        elif socket.client_id is None:
            socket.end(MISSING_TOKEN)
        elif count > _MESSAGES_PER_S:
            socket.refuse_message("too_many_messages", f"at most {_MESSAGES_PER_S} a second")
        elif message.get("type") == "ping" and socket.write(protocol.PONG):
            metrics.FRAMES.labels("pong").inc()

    async def _handle_auth(self, socket: Socket, message: dict[str, Any]) -> None:
        token, version = message.get("token"), whole(message.get("version"))
        language = message.get("language")
        if isinstance(language, str) and socket.client_id is None:
            socket.language = self._hub.choose_language(language)
        if not isinstance(token, str) or not token:
            socket.end(MISSING_TOKEN)
        elif version is None or (type(version) is int and 0 <= version <= _MAX_VERSION):
            await self._sign_in(socket, token, version)
        else:
            socket.end(BAD_MESSAGE)

    async def _sign_in(self, socket: Socket, token: str, version: int | None) -> None:
        try:
            claims = await self._access.client_of_token(token)
        except Unauthenticated as error:
            return socket.end(CloseReason(4401, error.code))
        except (Forbidden, Invalid) as error:
            return socket.end(CloseReason(4403, error.code))
        except EvPowerError as error:
            return socket.end(CloseReason(1013, error.code))
        if socket.ended is not None:
            return None  # the sign-in timed out
        if socket.client_id not in (None, claims.sub):
            return socket.end(OTHER_CLIENT)
        socket.write(protocol.connected(claims.sub, claims.expires_at, self._hub.ping_s))
        metrics.FRAMES.labels("connection").inc()
        if socket.client_id is None:
            self._hub.join(socket, claims, version)
        else:
            self._hub.extend(socket, claims)
        return None


def _parse(event: Message) -> dict[str, Any] | None:
    """Returns the JSON object of a text message; None: it is none."""
    text: str | None = event.get("text")
    if text is None:
        return None
    try:
        return read_object(text)
    except NotJson:
        return None


def _holds_token(query: bytes) -> bool:
    """Returns whether the URL has a token, which would then be in the log of every proxy."""
    return any(
        name.lower() in _TOKEN_NAMES or _TOKEN_SHAPE.fullmatch(value)
        for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    )


def _count(socket: Socket, last_message: Message | None) -> None:
    if socket.ended is not None:
        metrics.CLOSED.labels(str(socket.ended.code), socket.ended.reason).inc()
    else:
        code = last_message.get("code", 1006) if last_message is not None else 1006
        metrics.CLOSED.labels(str(code) if code in (1000, 1001, 1009) else "other", "client").inc()


def _refused(error: EvPowerError) -> EvPowerError:
    metrics.REFUSED.labels(error.code).inc()
    return error
