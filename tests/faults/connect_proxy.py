"""A forward proxy on the loopback: CONNECT for https, absolute URLs for http."""

import asyncio
import base64
import contextlib
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class ConnectProxy:
    """Keeps the requests it got in `requests`: "CONNECT 127.0.0.1:443", "GET http://..."."""

    def __init__(self, *, user: str = "", password: str = "") -> None:
        self._expected = base64.b64encode(f"{user}:{password}".encode()) if user else b""
        self.requests: list[str] = []
        self.hangs = False
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

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
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.decode().split("\r\n", 1)[0].split(" ")
            self.requests.append(f"{method} {target}")
            if self.hangs:
                await asyncio.sleep(3600)
            if self._expected and self._expected not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                await writer.drain()
                return
            if method == "CONNECT":
                host, _, port = target.rpartition(":")
                to_reader, to_writer = await asyncio.open_connection(host, int(port))
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                parts = urlsplit(target)
                to_reader, to_writer = await asyncio.open_connection(parts.hostname, parts.port)
                to_writer.write(head.replace(target.encode(), parts.path.encode() or b"/", 1))
            with contextlib.closing(to_writer):
                await asyncio.gather(_pass_on(reader, to_writer), _pass_on(to_reader, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
