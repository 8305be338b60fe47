"""A web site of one kind of page: the JavaScript client of docs/live.md, and nothing else."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "live.md"


@dataclass(frozen=True)
class Site:
    """Where it answers, every path alike."""

    origin: str


@asynccontextmanager
async def serving() -> AsyncIterator[Site]:
    """Serve it on a port, and so an origin, of its own."""
    (client,) = re.findall(r"```js\n(.*?)```", DOCS.read_text(), re.DOTALL)
    html = (
        '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>App</title>'
        f'<script type="module">{client}\nglobalThis.watch = watch;</script>'
    ).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n" % len(html)

    open_now: set[asyncio.StreamWriter] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head + b"Connection: close\r\n\r\n" + html)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # a browser opens connections it may never use
        finally:
            open_now.discard(writer)
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield Site(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()
        for writer in open_now:
            writer.transport.abort()
        await server.wait_closed()
