"""Everything around a WebSocket handshake before its route: an id, a rate limit, our errors."""

import uuid
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evpower.api import errors, limits, metrics
from evpower.api.gateway.request_headers import RequestHeaders
from evpower.foundation.addresses import ClientAddresses
from evpower.foundation.errors import EvPowerError, NotFound
from evpower.foundation.logging import request_id as current_request_id
from evpower.foundation.module import SocketPaths


class SocketGate:
    """Passes handshakes to the routes, which limit how many sockets stay open."""

    def __init__(
        self,
        app: ASGIApp,
        rates: limits.RateLimits,
        addresses: ClientAddresses,
        sockets: Sequence[SocketPaths] = (),
    ) -> None:
        self._app = app
        self._rates = rates
        self._addresses = addresses
        self._sockets = sockets

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one socket for as long as it lives."""
        headers = RequestHeaders(scope["headers"])
        request_id = headers.request_id or uuid.uuid4().hex.encode()
        current_request_id.set(request_id.decode())  # each socket has a task of its own
        language = headers.accept_language
        peer = scope.get("client")
        address = self._addresses.of(peer[0] if peer else "", headers.forwarded_for)
        del headers, peer  # this stack frame lives as long as the socket
        accepted = False

        async def named(message: Message) -> None:
            nonlocal accepted
            if message["type"] in ("websocket.accept", "websocket.http.response.start"):
                accepted = True
                more = [(b"x-request-id", request_id)]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            elif message["type"] == "websocket.close" and not accepted:
                # The router would answer an unknown path with an empty 403.
                await _refuse(named, NotFound("not_found", "no WebSocket is served here"), language)
                return
            await send(message)

        path: str = scope["path"]
        own = next((paths.serve for paths in self._sockets if paths.matches(path)), None)
        del path
        if own is not None:
            del address
            try:
                await own(scope, receive, named)
            except EvPowerError as error:
                await _refuse(named, error, language)
            return
        wait_s = self._rates.take_socket(address)
        if wait_s:
            error = EvPowerError(
                "too_many_requests", f"try again in {wait_s} s", status=429, retry_after_s=wait_s
            )
            await _refuse(named, error, language)
            return
        del address
        await self._app(scope, receive, named)


async def _refuse(send: Send, error: EvPowerError, accept_language: str) -> None:
    metrics.REFUSED.labels(error.code).inc()
    problem = errors.render(error, accept_language)
    await send(
        {
            "type": "websocket.http.response.start",
            "status": problem.status,
            "headers": problem.headers,
        }
    )
    await send({"type": "websocket.http.response.body", "body": problem.body})
