"""A server on the loopback that answers an HTTP request in every way a server should not."""

import asyncio
import contextlib
import ssl
import zlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB
_PAUSE_S: Final = 0.02


class HostileServer:
    """Reads each request wholly, then lets `answer` write and hangs up; counts what it wrote."""

    def __init__(self, answer: Answer, *, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self._tls = tls
        self.requests = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        for _ in range(5):  # asyncio loses a connection whose server closes while it is accepted
            await asyncio.sleep(0)
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.close())  # also of one cancelled before it began

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lost = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
        with contextlib.suppress(*lost):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            _, named, rest = head.partition(b"\r\ncontent-length:")
            if named:
                await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
            self.requests += 1
            await self.answer(writer)


def whole(body: bytes, *more: bytes) -> bytes:
    """A right answer of status 200."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *more, b"", body]
    return b"\r\n".join(lines)


def closes_after(answer: bytes) -> Answer:
    """Writes this much, and hangs up."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return write


def slow_bytes(answer: bytes) -> Answer:
    """One byte at a time; no pause between two is long."""

    async def write(writer: asyncio.StreamWriter) -> None:
        for byte in answer:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(_PAUSE_S)

    return write


def hangs_after(answer: bytes) -> Answer:
    """Writes this much, and no more."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        await asyncio.sleep(3600)

    return write


def repeats(head: bytes, part: bytes, count: int) -> Answer:
    """Writes the part again and again, as fast as it is read."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for _ in range(count):
            writer.write(part)
            await writer.drain()

    return write


def gzip_bomb() -> tuple[bytes, bytes]:
    """The beginning of a gzip stream, and a part of it, 1 KiB long, that unpacks to 1 MiB."""
    pack = zlib.compressobj(9, zlib.DEFLATED, wbits=31)
    begin = pack.compress(b"") + pack.flush(zlib.Z_FULL_FLUSH)
    part = pack.compress(bytes(MIB)) + pack.flush(zlib.Z_FULL_FLUSH)
    return begin, part


_OK: Final = b"HTTP/1.1 200 OK\r\n"
_CHUNK: Final = b"%x\r\n%b\r\n" % (64 * 1024, bytes(64 * 1024))
_BEGIN, _PART = gzip_bomb()
_EMPTY_BLOCKS: Final = b"\0\0\0\xff\xff" * 50_000  # of deflate, stored

# Every way an answer never ends by itself: only a total time ends it.
NEVER_ENDING: Final[dict[str, Answer]] = {
    "hangs": hangs_after(b""),
    "hangs in the head": hangs_after(_OK + b"Content-Le"),
    "hangs in the body": hangs_after(_OK + b"Content-Length: 100\r\n\r\n{"),
    "hangs before the end of the chunks": hangs_after(
        _OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
    ),
    "hangs instead of hanging up": hangs_after(_OK + b"Connection: close\r\n\r\n{}"),
    "head one byte at a time": slow_bytes(_OK + b"X-Padding: " + b"x" * 100_000),
    "body one byte at a time": slow_bytes(_OK + b"Content-Length: 100000\r\n\r\n" + b" " * 100_000),
    "chunks of one byte": slow_bytes(
        _OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 100_000
    ),
    "informational answers one by one": slow_bytes(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000),
}
# Every way an answer is larger than anybody reads: only a bound on its size ends it.
TOO_LARGE: Final[dict[str, Answer]] = {
    "1 GB, as it says": repeats(_OK + b"Content-Length: %d\r\n\r\n" % GIB, bytes(MIB), 1024),
    "1 GB in chunks": repeats(_OK + b"Transfer-Encoding: chunked\r\n\r\n", _CHUNK, 16 * 1024),
    "1 GB until it hangs up": repeats(_OK + b"Connection: close\r\n\r\n", bytes(MIB), 1024),
    "1 MB of gzip that is 1 GB": repeats(
        _OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + _BEGIN, _PART, 1024
    ),
    "1 GB of gzip that is nothing": repeats(
        _OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + _BEGIN, _EMPTY_BLOCKS, 4096
    ),
    "a head of 1 GB": repeats(_OK + b"X-Padding: ", b"x" * MIB, 1024),
}
