"""One request and its response, as they pass the gateway."""

import asyncio
import uuid
from collections.abc import Iterable
from typing import Final, Protocol

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from evpower.api.gateway.http_protocol import CYCLE
from evpower.api.gateway.request_headers import RequestHeaders
from evpower.api.gateway.waiting import WaitingLimit
from evpower.foundation.errors import EvPowerError

_DRAIN_BYTES: Final = 32 * 1024 * 1024
_DRAIN_S: Final = 10.0
BODY_S: Final = 30.0  # for a body to arrive, if no other body needs its place


class Completes(Protocol):
    """Adds the headers that every response has."""

    def complete(
        self, exchange: "Exchange", headers: Iterable[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, bytes]]:
        """Returns the headers of a response."""
        ...


class _Unread:
    """A body that has not arrived; when another needs its place, its time runs out."""

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout

    def give_way(self) -> None:
        if not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time())


class Exchange:
    """One request and its response."""

    __slots__ = ("_body", "_gateway", "_receive", "_send", "body_ended", "ended",
                 "head_only", "headers", "id", "path", "scope", "status")  # fmt: skip

    def __init__(self, gateway: Completes, scope: Scope, receive: Receive, send: Send) -> None:
        self._gateway = gateway
        self.scope = scope  # as the application gets it
        self._receive = receive
        self._send = send
        self._body: bytes | None = None  # read, and not yet passed to the application
        self.headers = RequestHeaders(scope["headers"])
        self.id = self.headers.request_id or uuid.uuid4().hex.encode()
        self.path: str = scope["path"]
        self.head_only: bool = scope["method"] == "HEAD"
        self.body_ended = False
        self.status = 0  # 0: the response has not begun
        self.ended = False

    @property
    def has_no_body(self) -> bool:
        """Whether nothing follows the head."""
        cycle = self._cycle
        if cycle is None:
            return self.headers.has_no_body
        return not cycle.more_body and not cycle.body

    async def read_body(self, limit_bytes: int, unread: WaitingLimit, group: str) -> bytes:
        """Reads the whole body; the wait for it is bounded in time, and counted by `group`.

        Raises EvPowerError("too_large" | "body_too_slow"), ClientDisconnect.
        """
        cycle = self._cycle
        if cycle is not None and not cycle.more_body:
            body = await self._read(limit_bytes)  # it arrived with the head
        else:
            body = await self._wait_for_body(limit_bytes, unread, group)
        self._body = body
        return body

    async def receive(self) -> Message:
        """Returns the body to the application, then the server's messages."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        return await self._receive()

    async def send(self, message: Message) -> None:
        """Adds the headers that every response has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            await self._send(
                {**message, "headers": self._gateway.complete(self, message.get("headers", ()))}
            )
            return
        self.ended = not message.get("more_body", False)
        if self.head_only:
            message = {**message, "body": b""}
        await self._send(message)

    async def respond(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Sends a whole response."""
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def drain(self, unread: WaitingLimit, group: str) -> None:
        """Reads the rest of a refused body, so that the caller can read the response."""
        if self.headers.expect or self.headers.length > _DRAIN_BYTES:
            return
        left = _DRAIN_BYTES
        try:
            async with asyncio.timeout(_DRAIN_S) as timeout:
                waits = _Unread(timeout)
                unread.add(waits, group)
                try:
                    while not self.body_ended and left > 0:
                        left -= len(await self._next_part())
                finally:
                    unread.remove(waits)
        except (TimeoutError, ClientDisconnect):
            return

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        return self.scope.get("extensions", {}).get(CYCLE)

    async def _wait_for_body(self, limit_bytes: int, unread: WaitingLimit, group: str) -> bytes:
        try:
            async with asyncio.timeout(BODY_S) as timeout:
                waits = _Unread(timeout)
                unread.add(waits, group)
                try:
                    return await self._read(limit_bytes)
                finally:
                    unread.remove(waits)
        except TimeoutError:
            raise EvPowerError(
                "body_too_slow", "the body did not come in time", status=408
            ) from None

    async def _read(self, limit_bytes: int) -> bytes:
        raw = bytearray()  # a list of parts would cost much more memory if each had one byte
        while not self.body_ended:
            raw += await self._next_part()
            if len(raw) > limit_bytes:
                raise too_large(limit_bytes)
        return bytes(raw)

    async def _next_part(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            self.body_ended = True
            raise ClientDisconnect
        self.body_ended = not message.get("more_body", False)
        return message.get("body", b"")


def too_large(limit_bytes: int) -> EvPowerError:
    """Returns the error for a body above the limit."""
    return EvPowerError("too_large", f"the body is larger than {limit_bytes} bytes", status=413)
