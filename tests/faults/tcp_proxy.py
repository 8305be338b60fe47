"""A proxy of bytes on the loopback: between EvPower and any server, whose answers it may drop."""

import asyncio
import contextlib
import re
from types import TracebackType
from typing import NoReturn, Self
from urllib.parse import urlsplit, urlunsplit

_BYTE_EVERY_S = 0.1


class TcpProxy:
    """Passes bytes on, until a fault is set: `say_nothing`, `slow_bytes`, `hang_up`.

    Silent, it leaves connections open and takes new ones: the other side is a machine that hangs.
    """

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.silent = False
        self.is_slow = False
        self.left: int | None = None  # bytes of each connection's answers that still pass
        self.at: re.Pattern[bytes] | None = None  # `fault` is called when this is asked for
        self.fault = self.say_nothing

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def through(self, url: str) -> str:
        """The same URL, but through here."""
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        netloc = f"{credentials}{at}127.0.0.1:{self.port}"
        return urlunsplit(parts._replace(netloc=netloc))

    def say_nothing(self) -> None:
        """Drops later bytes."""
        self.silent = True

    def slow_bytes(self) -> None:
        """Passes answers byte by byte."""
        self.is_slow = True

    def hang_up(self, after: int = 5) -> None:
        """Hangs up once so many bytes more of an answer have passed: by default within a head."""
        self.left = after

    def pass_again(self) -> None:
        """From now on; what was lost stays lost."""
        self.silent = self.is_slow = False
        self.left = None

    def move(self, url: str) -> None:
        """Drops every connection; new ones go to another server."""
        self._to = host_and_port(url)
        for task in tuple(self._tasks):
            task.cancel()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
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
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(*self._to)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, ours, answers=False))
                group.create_task(self._pass_on(theirs, writer, answers=True))
        except* OSError:
            pass
        finally:
            ours.close()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        while data := await reader.read(65_536):
            if self.at is not None and not answers and self.at.search(data):
                self.at = None
                self.fault()
            if self.silent:
                continue
            if answers and self.left is not None:
                await self._hang_up(reader, writer, data)
            if not (answers and self.is_slow):
                writer.write(data)
                await writer.drain()
                continue
            for byte in data:
                if not self.is_slow:
                    break
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(_BYTE_EVERY_S)
        if self.silent:
            await asyncio.sleep(3600)
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def _hang_up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
    ) -> NoReturn:
        left = self.left or 0
        while data:
            writer.write(data[:left])
            await writer.drain()
            left -= len(data)
            if left <= 0:
                break
            data = await reader.read(65_536)
        raise ConnectionResetError


def host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 0
