"""A proxy on the loopback that fails on purpose: between us and any HTTP/1.1 server."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from evpower.devstack.ports import free_port
from evpower.foundation.http import HttpClient, HttpResponse
from tests.waiting import WAIT_LIMIT_S

_LIMIT = 64 * 1024 * 1024
_BYTE_EVERY_S = 0.05
GIVE_UP_S = 0.5


class Fault(Enum):
    """What happens to a request; the others pass untouched."""

    NONE = "none"
    REFUSE = "refuse"  # the connection is closed before anything is read
    ERROR_500 = "error_500"  # answered here, the server never sees it
    ERROR_503 = "error_503"
    HANG = "hang"  # read and never answered
    DROP_BEFORE = "drop_before"  # read, not passed on, the connection cut
    DROP_AFTER = "drop_after"  # passed on and applied, the answer thrown away
    SLOW_RESPONSE = "slow_response"  # passed on and applied, answered one byte at a time
    GARBAGE = "garbage"  # passed on, another answer than the server's


NEVER_ENDING = frozenset({Fault.HANG, Fault.SLOW_RESPONSE})  # until the caller gives up


@dataclass
class FaultProxy:
    """`await FaultProxy(target_url).start()`; set `fault`, or `plan` for one request each."""

    target: str
    fault: Fault = Fault.NONE
    delay_s: float = 0.0  # before a request is passed on
    gate: asyncio.Event | None = None  # requests are passed on when it is set
    plan: list[Fault] = field(default_factory=list)
    only: Callable[[str], bool] = lambda _path: True
    requests: int = 0
    passed: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> Self:
        self.port = self.port or free_port()  # reserved while the proxy is closed, too
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, limit=_LIMIT
        )
        return self

    async def stop(self) -> None:
        """Close the port and every connection; `start` opens the same port again."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; requests one after the other."""
        try:
            while await self._serve_request(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode()
        hit = self.only(path)
        fault = Fault.NONE
        if hit:
            self.requests += 1
            fault = self.plan.pop(0) if self.plan else self.fault
        if fault is Fault.REFUSE:
            return False
        body = await _body(head, reader)
        if hit and self.delay_s:
            await asyncio.sleep(self.delay_s)
        if hit and self.gate is not None:
            await self.gate.wait()
        if fault is Fault.HANG:
            await asyncio.sleep(3600)
        if fault is Fault.DROP_BEFORE:
            return False
        if fault in {Fault.ERROR_500, Fault.ERROR_503}:
            writer.write(_answer(fault.value[-3:], b'{"message":"made by the fault proxy"}'))
            await writer.drain()
            return True
        answer = await self._pass_on(head, body)
        self.passed += 1
        return await _hand_back(writer, answer, fault)

    async def _pass_on(self, head: bytes, body: bytes) -> bytes:
        """A connection of its own, so that its end is the answer's end."""
        to = urlsplit(self.target)
        reader, writer = await asyncio.open_connection(to.hostname, to.port or 80, limit=_LIMIT)
        try:
            lines = head.split(b"\r\n")
            headers = [
                line
                for line in lines[1:]
                if line and not line.lower().startswith((b"connection:", b"expect:"))
            ]
            writer.write(b"\r\n".join([lines[0], *headers, b"Connection: close", b"", b""]) + body)
            await writer.drain()
            answer = await reader.readuntil(b"\r\n\r\n")
            content = await _body(answer, reader, to_end=True)
            first, *rest = answer.split(b"\r\n")
            dropped = (b"connection:", b"transfer-encoding:", b"content-length:", b"keep-alive:")
            rest = [line for line in rest if line and not line.lower().startswith(dropped)]
            length = b"Content-Length: %d" % len(content)
            return b"\r\n".join([first, *rest, length, b"", b""]) + content
        finally:
            writer.close()


class HttpThrough(HttpClient):
    """Gives up soon while a request may hang or be slow, and waits for a busy machine otherwise."""

    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__()
        self._fault_proxy = proxy

    async def fetch(self, *args: Any, timeout_s: float, **how: Any) -> HttpResponse:
        del timeout_s
        soon = not NEVER_ENDING.isdisjoint({self._fault_proxy.fault, *self._fault_proxy.plan})
        total_s = GIVE_UP_S if soon else WAIT_LIMIT_S
        return await super().fetch(*args, timeout_s=total_s, **how)


async def _hand_back(writer: asyncio.StreamWriter, answer: bytes, fault: Fault) -> bool:
    """Returns whether the connection stays open."""
    if fault is Fault.DROP_AFTER:
        return False
    if fault is Fault.SLOW_RESPONSE:
        for byte in answer:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(_BYTE_EVERY_S)
        return False
    writer.write(
        _answer("200", b"<html>not what you asked</html>") if fault is Fault.GARBAGE else answer
    )
    await writer.drain()
    return b"\r\nconnection: close" not in answer.lower() or fault is Fault.GARBAGE


async def _body(head: bytes, reader: asyncio.StreamReader, *, to_end: bool = False) -> bytes:
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        parts: list[bytes] = []
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        return b"".join(parts)
    if b"content-length" in headers:
        return await reader.readexactly(int(headers[b"content-length"]))
    if to_end and not head.startswith((b"HTTP/1.1 204", b"HTTP/1.1 304")):
        return await reader.read(_LIMIT)
    return b""


def _answer(status: str, body: bytes) -> bytes:
    return (
        f"HTTP/1.1 {status} Fault\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
