"""The gateway: one ASGI middleware in front of every route.

It gives the request an id, limits it (body, rate, concurrent requests), identifies the caller,
replays repeated requests, and counts and logs the response. One class instead of seven middlewares
costs some tens of microseconds a request.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from evpower.api import errors, limits, metrics
from evpower.api.deprecation import OldRoutes
from evpower.api.gateway import json_body
from evpower.api.gateway.callers import Identify, key_owner, name_of
from evpower.api.gateway.exchange import Exchange, too_large
from evpower.api.gateway.places import Places
from evpower.api.gateway.sockets import SocketGate
from evpower.api.gateway.waiting import WaitingLimit
from evpower.api.replay import KeyOwner, Replay
from evpower.foundation.addresses import ClientAddresses, Network, address_group
from evpower.foundation.errors import EvPowerError, Invalid, Unavailable
from evpower.foundation.logging import request_id as current_request_id
from evpower.foundation.module import SocketPaths

logger = structlog.get_logger(__name__)

_UNLIMITED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
# Bodies that have not arrived: of one address, of all anonymous, of one caller, of all callers.
_UNREAD_PER_ADDRESS: Final = 100
_UNREAD_STRANGERS: Final = 400
_UNREAD_PER_CALLER: Final = 32
_UNREAD_KNOWN: Final = 400
_NAMING_BYTES: Final = 2048  # of a body that names something, as older apps send them
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
_EXPOSED: Final = (
    b"X-Request-ID, Link, Retry-After, Idempotent-Replayed, Content-Language, ETag,"
    b" Content-Disposition, Deprecation, Sunset, X-Correlation-ID"
)
_ALLOWED: Final = (
    b"Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-ID,"
    b" X-Service-Key"
)
_JSON: Final = (b"content-type", b"application/json")
_REPLAYED: Final = ("POST", "PUT")  # methods whose Idempotency-Key counts


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """The settings of the gateway."""

    max_body_bytes: int = 256 * 1024
    trusted_proxies: tuple[Network, ...] = ()
    cors_origins: frozenset[str] = frozenset()  # "*" allows every origin
    hsts: bool = False
    access_log: bool = True


class Gateway:
    """The middleware, the outermost one."""

    def __init__(  # noqa: PLR0913 - the composition of the edge
        self,
        app: ASGIApp,
        *,
        options: GatewayOptions,
        places: Places,
        rates: limits.RateLimits,
        identify: Identify,
        replay: Replay,
        forms: errors.ErrorForms,
        sockets: Sequence[SocketPaths] = (),
        old_routes: OldRoutes | None = None,
        unread_bodies: Iterable[str] = (),
        unlimited: Iterable[str] = (),
    ) -> None:
        self._app = app
        self._forms = forms
        self.options = options
        self._places = places
        self._rates = rates
        self._identify = identify
        self._replay = replay
        self._addresses = ClientAddresses(options.trusted_proxies)
        self._sockets = SocketGate(app, rates, self._addresses, sockets)
        self._unread_strangers = WaitingLimit(
            per_group=_UNREAD_PER_ADDRESS, total=_UNREAD_STRANGERS
        )
        self._unread_known = WaitingLimit(per_group=_UNREAD_PER_CALLER, total=_UNREAD_KNOWN)
        self._old_routes = old_routes or OldRoutes()
        self._unread_bodies = frozenset(unread_bodies)
        self._unlimited = _UNLIMITED.union(unlimited)
        self._fixed = [*_SECURE_HEADERS, *([_HSTS] if options.hsts else [])]
        self._counts: dict[tuple[str, str, str], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] == "websocket":
            await self._sockets.serve(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        exchange = Exchange(self, scope, receive, send)
        inner: Scope = {**scope, "method": "GET"} if exchange.head_only else scope
        exchange.scope = inner
        token = current_request_id.set(exchange.id.decode())
        try:
            await self._serve(exchange, inner)
        finally:
            self._record(exchange, scope["method"], inner, time.perf_counter() - started)
            current_request_id.reset(token)

    async def _serve(self, exchange: Exchange, scope: Scope) -> None:
        try:
            await self._route(exchange, scope)
        except EvPowerError as error:
            if exchange.status:
                raise
            metrics.REFUSED.labels(error.code).inc()
            scope.setdefault("state", {})["is_expected"] = error.is_expected
            await self._refuse(exchange, scope, error)
        except ClientDisconnect:
            exchange.status = exchange.status or 499
        except asyncio.CancelledError:
            if not exchange.status:  # the server stops, and this request took too long
                error = Unavailable("shutting_down", "the server stops", retry_after_s=5)
                await self._refuse(exchange, scope, error)
            raise
        except Exception:
            logger.exception("request_failed", method=scope["method"], path=exchange.path)
            if exchange.status:
                raise  # the response had begun: only a closed connection shows the fault
            problem = errors.internal_error(
                exchange.headers.accept_language,
                exchange.id.decode(),
                form=self._forms.of_request(scope),
            )
            await exchange.respond(problem.status, problem.headers, problem.body)

    async def _route(self, exchange: Exchange, scope: Scope) -> None:
        headers = exchange.headers
        if headers.preflight and headers.origin and scope["method"] == "OPTIONS":
            await exchange.respond(204, self._preflight(headers.origin), b"")
            return
        if exchange.path in self._unlimited:
            await self._app(scope, exchange.receive, exchange.send)
            return
        self._places.check()
        if headers.length > self.options.max_body_bytes:
            raise too_large(self.options.max_body_bytes)
        if "\x00" in exchange.path or b"%00" in scope["query_string"]:
            raise Invalid("invalid_request", "the address holds a NUL character")
        if self._rates.is_signed(exchange.path):
            await self._pass_webhook(exchange, scope)
        elif exchange.path.startswith("/api/"):
            await self._pass_request(exchange, scope)
        else:
            await self._pass_document(exchange, scope)

    async def _pass_document(self, exchange: Exchange, scope: Scope) -> None:
        """Serves what is outside the API: a few documents, the largest responses; else 404."""
        wait_s = self._rates.take_document(self._address(exchange, scope))
        if wait_s:
            raise _too_many(wait_s)
        await self._read_body(exchange, scope, "")
        await self._run(exchange, scope, stranger=True)

    async def _pass_webhook(self, exchange: Exchange, scope: Scope) -> None:
        """Serves a signed call: it has no caller, and its slice checks the body."""
        address = self._address(exchange, scope)
        wait_s = self._rates.take_signed(exchange.path, address)
        if wait_s:
            raise _too_many(wait_s)
        try:
            await self._read_body(exchange, scope, "")
            await self._run(exchange, scope, stranger=False)
        except EvPowerError as error:
            self._rates.signed_answered(exchange.path, address, error.http_status)
            raise
        status = 401 if scope.get("state", {}).get("is_unverified") else exchange.status
        self._rates.signed_answered(exchange.path, address, status)

    async def _pass_request(self, exchange: Exchange, scope: Scope) -> None:
        method, path, headers = scope["method"], exchange.path, exchange.headers
        caller, verified = await self._caller(exchange, scope)
        address = self._address(exchange, scope)
        is_counted = not self._is_left_to_slice(exchange, scope)
        if is_counted:
            self._count(method, path, caller, address)
        if path in self._unread_bodies:
            await exchange.drain(*self._unread(exchange, scope, ""))
            await self._run(exchange, scope, stranger=True)
            return
        try:
            await self._read_json(exchange, scope, caller)
        except EvPowerError:
            if not is_counted:  # it never reaches the slice
                self._count(method, path, caller, address)
            raise
        # A credential that was refused gets its 401 from the route, never a stored response.
        # Calls that anyone may make, and that change nothing, store nothing either.
        replay = headers.key is not None and method in _REPLAYED and verified
        replay = replay and not self._rates.is_public(path)
        await self._run(
            exchange, scope, stranger=not caller,
            replay_for=key_owner(scope.get("state", {}).get("principal"), address)
            if replay
            else None,
        )  # fmt: skip

    def _is_left_to_slice(self, exchange: Exchange, scope: Scope) -> bool:
        """Returns whether the slice counts the call, when it has read what the call names.

        Only a call without a credential that looks as older apps send it: what costs a write, a
        wait or time to parse is counted against the address before.
        """
        headers = exchange.headers
        if headers.credential or headers.key is not None or headers.chunked:
            return False
        if headers.length > _NAMING_BYTES:
            return False
        raw_path: bytes = scope.get("raw_path") or b""
        return self._rates.is_counted_by_slice(
            scope["method"], exchange.path, raw_path.decode("latin-1") or exchange.path
        )

    def _count(self, method: str, path: str, caller: str, address: str) -> None:
        wait_s = self._rates.take(method, path, caller, address)
        if wait_s:
            raise _too_many(wait_s)

    async def _read_json(self, exchange: Exchange, scope: Scope, caller: str) -> None:
        body = await self._read_body(exchange, scope, caller)
        if body:
            json_body.check(body)
            if b"json" not in exchange.headers.content_type:
                scope["headers"] = _labelled_json(scope["headers"])

    async def _run(
        self,
        exchange: Exchange,
        scope: Scope,
        *,
        stranger: bool,
        replay_for: KeyOwner | None = None,
    ) -> None:
        self._places.enter(stranger=stranger)
        try:
            if replay_for is None:
                await self._app(scope, exchange.receive, exchange.send)
            else:
                await self._replay.run(
                    self._app, scope, exchange.receive, exchange.send,
                    owner=replay_for, key=exchange.headers.key or b"",
                )  # fmt: skip
        finally:
            self._places.leave()

    async def _read_body(self, exchange: Exchange, scope: Scope, caller: str) -> bytes:
        if exchange.has_no_body:
            return b""
        unread, group = self._unread(exchange, scope, caller)
        return await exchange.read_body(self.options.max_body_bytes, unread, group)

    def _unread(self, exchange: Exchange, scope: Scope, caller: str) -> tuple[WaitingLimit, str]:
        if caller:
            return self._unread_known, caller
        return self._unread_strangers, address_group(self._address(exchange, scope))

    async def _caller(self, exchange: Exchange, scope: Scope) -> tuple[str, bool]:
        """Returns the verified caller ("" if unknown), and whether a credential was accepted."""
        if not exchange.headers.credential or self._rates.is_open(exchange.path):
            return "", True
        key = exchange.headers.service_key
        digest = b"" if key is None else sha256(key).digest()
        if digest:
            wait_s = self._rates.take_key(self._address(exchange, scope), digest)
            if wait_s:
                raise _too_many(wait_s)
        self._places.begin_identifying()
        state = scope.setdefault("state", {})
        try:
            principal = await self._identify(Request(scope))
        except EvPowerError as error:
            state["refusal"] = error  # the route raises it, without another look-up
            return "", False
        finally:
            self._places.end_identifying()
        if digest and principal.kind == "service":
            self._rates.key_accepted(self._address(exchange, scope), digest)
        state["principal"] = principal
        return name_of(principal), True

    def _address(self, exchange: Exchange, scope: Scope) -> str:
        peer = scope.get("client")
        return self._addresses.of(peer[0] if peer else "", exchange.headers.forwarded_for)

    async def _refuse(self, exchange: Exchange, scope: Scope, error: EvPowerError) -> None:
        form = self._forms.of_request(scope)
        problem = errors.render(error, exchange.headers.accept_language, form=form)
        headers = problem.headers
        if error.code == "too_large":
            await exchange.drain(*self._unread(exchange, scope, ""))
            if not exchange.body_ended:
                headers = [*headers, _HANG_UP]
        elif error.code == "body_too_slow":
            headers = [*headers, _HANG_UP]
        await exchange.respond(problem.status, headers, problem.body)

    def complete(
        self, exchange: Exchange, headers: Iterable[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, bytes]]:
        """Returns the response's own headers and those of the gateway."""
        full = [*headers, (b"x-request-id", exchange.id), *self._fixed]
        full += self._old_routes.headers(exchange.scope, exchange.scope["method"], exchange.id)
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
             _ALLOWED),
            (b"access-control-max-age", b"600"),
        ]  # fmt: skip

    def _record(self, exchange: Exchange, method: str, scope: Scope, seconds: float) -> None:
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
        self._old_routes.count(scope, method, has_credential=exchange.headers.credential)
        counted[1].observe(seconds)
        if self.options.access_log and exchange.path not in self._unlimited:
            logger.info(
                "request", method=method, path=exchange.path[:200], route=route,
                status=exchange.status,
                ms=round(seconds * 1000, 2),
            )  # fmt: skip


def _labelled_json(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Returns the headers with the content type that matches the checked body."""
    return [*(pair for pair in headers if pair[0] != b"content-type"), _JSON]


def _too_many(wait_s: int) -> EvPowerError:
    return EvPowerError(
        "too_many_requests", f"try again in {wait_s} s", status=429, retry_after_s=wait_s
    )
