"""The edge: one ASGI middleware in front of every route.

It names the request, bounds it (body, rate, how many at once), finds out who asks, replays repeated
requests, and counts and logs what was answered. One class instead of seven keeps it at some tens of
microseconds a request.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evpower.api import errors, limits, metrics
from evpower.api.replay import Replay
from evpower.api.request_headers import RequestHeaders
from evpower.foundation.addresses import Network, client_address
from evpower.foundation.errors import EvPowerError, Invalid, Unavailable
from evpower.foundation.logging import request_id as current_request_id

logger = structlog.get_logger(__name__)

# A NUL in JSON: no text column can hold it. An even number of backslashes before it is just text.
_NUL_ESCAPE: Final = b"\\u0000"
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_DRAIN_BYTES: Final = 32 * 1024 * 1024
_DRAIN_S: Final = 10.0
_BODY_S: Final = 30.0  # a body may take; one that never ends would hold a place among those served
_UNLIMITED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_SECURE_HEADERS: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
]
_CSP: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_HANG_UP: Final = (b"connection", b"close")
_NO_STORE: Final = (b"cache-control", b"no-store")
_HSTS: Final = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
_EXPOSED: Final = b"X-Request-ID, Link, Retry-After, Idempotent-Replayed, Content-Language"


class Caller(Protocol):
    """What the edge wants to know of a principal."""

    @property
    def kind(self) -> str:
        """client, operator or service."""
        ...

    @property
    def client_id(self) -> UUID | None:
        """Whose token it was; None for a service."""
        ...

    @property
    def user_id(self) -> UUID | None:
        """The Supabase user of a client or an operator."""
        ...

    @property
    def name(self) -> str:
        """The service's or operator's name."""
        ...


# Answers who asks, by a verified credential; keeps it in request.state.principal.
# Raises EvPowerError.
Identify = Callable[[Request], Awaitable[Caller]]


@dataclass(frozen=True, slots=True)
class EdgeOptions:
    """What settings say about the edge."""

    max_body_bytes: int = 256 * 1024
    max_in_flight: int = 400
    trusted_proxies: tuple[Network, ...] = ()
    cors_origins: frozenset[str] = frozenset()  # "*" allows every origin
    hsts: bool = False
    access_log: bool = True


class _Exchange:
    """One request and its answer, as the edge sees them pass."""

    __slots__ = ("_body_until", "_edge", "_receive", "_send", "body_ended", "ended", "head_only",
                 "headers", "id", "path", "received", "refusal", "status")  # fmt: skip

    def __init__(self, edge: "Edge", scope: Scope, receive: Receive, send: Send) -> None:
        self._edge = edge
        self._receive = receive
        self._send = send
        self.headers = RequestHeaders(scope["headers"])
        self.id = self.headers.request_id or uuid.uuid4().hex.encode()
        self.path: str = scope["path"]
        self.head_only: bool = scope["method"] == "HEAD"
        self.received = 0
        self.body_ended = False
        self._body_until = 0.0  # of the loop's clock; 0: nobody has begun to read
        self.status = 0  # 0: nothing was answered yet
        self.ended = False
        self.refusal: EvPowerError | None = None

    async def receive(self) -> Message:
        """Count the body while it streams; one too large, slow or unstorable goes no further."""
        message = await (self._receive() if self.body_ended else self._receive_body())
        if message["type"] == "http.request":
            body: bytes = message.get("body", b"")
            self.received += len(body)
            self.body_ended = not message.get("more_body", False)
            if self.received > self._edge.options.max_body_bytes:
                self.refusal = _too_large(self._edge.options.max_body_bytes)
                raise self.refusal
            if (
                self.headers.json
                and _NUL_ESCAPE in body
                and not limits.is_webhook(self.path)
                and _NUL.search(body)
            ):
                self.refusal = Invalid("invalid_request", "a text holds a NUL character")
                raise self.refusal
        return message

    async def _receive_body(self) -> Message:
        self._body_until = self._body_until or asyncio.get_running_loop().time() + _BODY_S
        try:
            async with asyncio.timeout_at(self._body_until):
                return await self._receive()
        except TimeoutError:
            self.refusal = EvPowerError(
                "body_too_slow", "the body did not come in time", status=408
            )
            raise self.refusal from None

    async def send(self, message: Message) -> None:
        """Add what every answer carries."""
        if message["type"] == "http.response.start":
            if self.refusal is not None:
                return
            self.status = message["status"]
            await self._send(
                {**message, "headers": self._edge.complete(self, message.get("headers", ()))}
            )
            return
        if self.status == 0:
            return  # the start was withheld
        self.ended = not message.get("more_body", False)
        if self.head_only:
            message = {**message, "body": b""}
        await self._send(message)

    async def respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer in one go."""
        self.refusal = None
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def drain(self) -> None:
        """Read the rest of a refused body, so that the caller gets to read the answer."""
        if self.headers.expect or self.headers.length > _DRAIN_BYTES:
            return
        left = _DRAIN_BYTES
        try:
            async with asyncio.timeout(_DRAIN_S):
                while not self.body_ended and left > 0:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    self.body_ended = message["type"] != "http.request" or not message.get(
                        "more_body", False
                    )
        except TimeoutError:
            return


class Edge:
    """The middleware. Added once, outside of everything."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        options: EdgeOptions,
        rates: limits.RateLimits,
        identify: Identify,
        replay: Replay,
    ) -> None:
        self._app = app
        self.options = options
        self._rates = rates
        self._identify = identify
        self._replay = replay
        self._in_flight = 0
        self._fixed = [*_SECURE_HEADERS, *([_HSTS] if options.hsts else [])]
        self._counts: dict[tuple[str, str, str], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            await self._pass_socket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        exchange = _Exchange(self, scope, receive, send)
        inner: Scope = {**scope, "method": "GET"} if exchange.head_only else scope
        token = current_request_id.set(exchange.id.decode())
        self._in_flight += 1
        metrics.IN_FLIGHT.set(self._in_flight)
        try:
            await self._serve(exchange, inner)
        finally:
            self._in_flight -= 1
            metrics.IN_FLIGHT.set(self._in_flight)
            self._record(exchange, scope["method"], inner, time.perf_counter() - started)
            current_request_id.reset(token)

    async def _pass_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name a socket, and bound how fast one address opens them; its route says how many."""
        headers = RequestHeaders(scope["headers"])
        request_id = headers.request_id or uuid.uuid4().hex.encode()
        current_request_id.set(request_id.decode())  # a socket's task is its own

        async def named(message: Message) -> None:
            if message["type"] in ("websocket.accept", "websocket.http.response.start"):
                more = [(b"x-request-id", request_id)]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        peer = scope.get("client")
        address = client_address(
            peer[0] if peer else "", headers.forwarded_for, self.options.trusted_proxies
        )
        wait_s = self._rates.take_socket(address)
        if wait_s:
            metrics.REFUSED.labels("too_many_requests").inc()
            problem = errors.render(_too_many(wait_s), headers.accept_language)
            await named(
                {
                    "type": "websocket.http.response.start",
                    "status": problem.status,
                    "headers": problem.headers,
                }
            )
            await named({"type": "websocket.http.response.body", "body": problem.body})
            return
        del headers, peer, address
        await self._app(scope, receive, named)

    async def _serve(self, exchange: _Exchange, scope: Scope) -> None:
        try:
            if not await self._answered_early(exchange, scope):
                await self._admit(exchange, scope)
            if exchange.refusal is not None and exchange.status == 0:
                raise exchange.refusal  # noqa: TRY301 - rendered below, as any other
        except EvPowerError as error:
            if exchange.status:
                raise
            metrics.REFUSED.labels(error.code).inc()
            scope.setdefault("state", {})["is_expected"] = error.is_expected
            await self._refuse(exchange, error)
        except ClientDisconnect:
            exchange.status = exchange.status or 499
        except Exception:
            logger.exception("request_failed", method=scope["method"], path=exchange.path)
            if exchange.status:
                raise  # the answer had begun: only a closed connection tells the caller
            problem = errors.internal_error(exchange.headers.accept_language, exchange.id.decode())
            await exchange.respond(problem.status, problem.headers, problem.body)

    async def _answered_early(self, exchange: _Exchange, scope: Scope) -> bool:
        headers = exchange.headers
        if headers.preflight and headers.origin and scope["method"] == "OPTIONS":
            await exchange.respond(204, self._preflight(headers.origin), b"")
            return True
        if self._in_flight > self.options.max_in_flight and exchange.path not in _UNLIMITED:
            raise Unavailable("overloaded", "too many requests are being served", retry_after_s=2)
        if headers.length > self.options.max_body_bytes:
            raise _too_large(self.options.max_body_bytes)
        if "\x00" in exchange.path or b"%00" in scope["query_string"]:
            raise Invalid("invalid_request", "the address holds a NUL character")
        return False

    async def _admit(self, exchange: _Exchange, scope: Scope) -> None:
        method, path = scope["method"], exchange.path
        receive = exchange.receive
        if path.startswith("/api/"):
            caller, verified = await self._who(exchange, scope)
            address = self._address(exchange, scope)
            wait_s = self._rates.take(method, path, caller or f"address:{address}", address)
            if wait_s:
                raise _too_many(wait_s)
            # A credential that was not accepted gets its 401 from the route, never a stored answer.
            if (
                exchange.headers.key is not None
                and method == "POST"
                and not limits.is_webhook(path)
                and verified
            ):
                await self._replay.run(
                    self._app, scope, receive, exchange.send,
                    scope_name=caller or f"address:{address}", key=exchange.headers.key,
                )  # fmt: skip
                return
        await self._app(scope, receive, exchange.send)

    async def _who(self, exchange: _Exchange, scope: Scope) -> tuple[str, bool]:
        """The verified caller ("" if unknown), and whether the credential, if any, was good."""
        if (
            not exchange.headers.credential
            or limits.is_webhook(exchange.path)
            or limits.is_register(exchange.path)
        ):
            return "", True
        try:
            principal = await self._identify(Request(scope))
        except EvPowerError:
            return "", False
        scope.setdefault("state", {})["principal"] = principal
        return (
            f"{principal.kind}:{principal.client_id or principal.user_id or principal.name}",
            True,
        )

    def _address(self, exchange: _Exchange, scope: Scope) -> str:
        peer = scope.get("client")
        return client_address(
            peer[0] if peer else "", exchange.headers.forwarded_for, self.options.trusted_proxies
        )

    async def _refuse(self, exchange: _Exchange, error: EvPowerError) -> None:
        problem = errors.render(error, exchange.headers.accept_language)
        headers = problem.headers
        if error.code == "too_large":
            await exchange.drain()
            if not exchange.body_ended:
                headers = [*headers, _HANG_UP]
        elif error.code == "body_too_slow":
            headers = [*headers, _HANG_UP]
        await exchange.respond(problem.status, headers, problem.body)

    def complete(
        self, exchange: _Exchange, headers: Iterable[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, bytes]]:
        """The answer's own headers and those of the edge."""
        full = [*headers, (b"x-request-id", exchange.id), *self._fixed]
        names = {name for name, _ in full}
        if b"content-security-policy" not in names:
            full.append(_CSP)
        if b"cache-control" not in names:
            full.append(_NO_STORE)
        origin = exchange.headers.origin
        if origin and self._is_allowed(origin):
            full += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-expose-headers", _EXPOSED),
                (b"vary", b"Origin"),
            ]
        return full

    def _is_allowed(self, origin: str) -> bool:
        return origin in self.options.cors_origins or "*" in self.options.cors_origins

    def _preflight(self, origin: str) -> list[tuple[bytes, bytes]]:
        if not self._is_allowed(origin):
            return [(b"vary", b"Origin")]
        return [
            (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
            (b"access-control-allow-headers",
             b"Authorization, Content-Type, Idempotency-Key, X-Request-ID, X-Service-Key"),
            (b"access-control-max-age", b"600"),
        ]  # fmt: skip

    def _record(self, exchange: _Exchange, method: str, scope: Scope, seconds: float) -> None:
        route: str = getattr(scope.get("route"), "path", "unmatched")
        if method not in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"):
            method = "other"
        status = str(exchange.status)
        if scope.get("state", {}).get("is_expected"):
            status += "_expected"
        counted = self._counts.get((method, route, status))
        if counted is None:
            counted = self._counts[(method, route, status)] = (
                metrics.REQUESTS.labels(method, route, status),
                metrics.LATENCY.labels(method, route),
            )
        counted[0].inc()
        counted[1].observe(seconds)
        if self.options.access_log and exchange.path not in _UNLIMITED:
            logger.info(
                "request", method=method, path=exchange.path[:200], route=route,
                status=exchange.status,
                ms=round(seconds * 1000, 2),
            )  # fmt: skip


def _too_large(limit_bytes: int) -> EvPowerError:
    return EvPowerError("too_large", f"the body is larger than {limit_bytes} bytes", status=413)


def _too_many(wait_s: int) -> EvPowerError:
    return EvPowerError(
        "too_many_requests", f"try again in {wait_s} s", status=429, retry_after_s=wait_s
    )
