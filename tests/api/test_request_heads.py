"""A request's head is bounded in size and time; what is within bounds passes, however it comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar
from urllib.parse import urlsplit

import orjson
import pytest
from starlette.types import Receive, Scope, Send

from evpower.api import HttpProtocol
from evpower.api.gateway.http_protocol import HEAD_BYTES
from tests.api.scenario import on_a_socket
from tests.waiting import WAIT_LIMIT_S, until

ENDLESS = 64 * 1024 * 1024
GET = b"GET / HTTP/1.1\r\nhost: api\r\n"
gate = asyncio.Event()  # closed: no request is answered
gate.set()
Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Impatient(HttpProtocol):
    """Waits for a head a moment only."""

    head_s = 0.1


class Turned(HttpProtocol):
    """Waits for a head until the test says that the time is over."""

    head_s = 3600.0
    made: ClassVar[list["Turned"]] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.made.append(self)

    @classmethod
    def last(cls) -> "Turned":
        return cls.made[-1]

    def is_at(self, part: str) -> bool:
        return self._part.name == part

    def end_wait(self) -> bool:
        """End the wait for a request head now; False when there is none."""
        if self._head_timer is None:
            return False
        self._stop_waiting()
        self._end_late()
        return True


async def counting_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer how much came: bytes of header values, bytes of body. Sockets are accepted."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    body, more = 0, True
    while more:
        message = await receive()
        body, more = body + len(message.get("body", b"")), message.get("more_body", False)
    await gate.wait()
    answer = b"%d %d" % (sum(len(value) for _, value in scope["headers"]), body)
    size = str(len(answer)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", size)]}
    )
    await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def a_peer(url: str) -> AsyncIterator[Peer]:
    at = urlsplit(url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    try:
        yield reader, writer
    finally:
        writer.close()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with on_a_socket(counting_app) as url:
        yield url


@pytest.fixture
async def turned() -> AsyncIterator[str]:
    Turned.made.clear()
    async with on_a_socket(counting_app, Turned) as url:
        yield url


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    async with asyncio.timeout(WAIT_LIMIT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        size = next(
            int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length")
        )
        return int(head.split()[1]), await reader.readexactly(size)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(WAIT_LIMIT_S):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


async def flood(writer: asyncio.StreamWriter, part: bytes) -> int:
    """Send it until the other side reads no more; returns how many bytes were sent."""
    sent = 0
    try:
        while sent < ENDLESS:
            writer.write(part)
            await asyncio.wait_for(writer.drain(), WAIT_LIMIT_S)
            sent += len(part)
    except ConnectionError:
        pass
    return sent


class TestSize:
    @pytest.mark.parametrize("part", [b"a" * 4096, b"x: y\r\n" * 700], ids=["one value", "many"])
    async def test_a_head_that_never_ends_is_cut(self, url: str, part: bytes) -> None:
        async with a_peer(url) as (reader, writer):
            writer.write(GET + b"x: ")
            refused = asyncio.create_task(answer(reader))
            assert await flood(writer, part) < ENDLESS
            try:
                status, body = await refused
            except (ConnectionResetError, asyncio.IncompleteReadError):
                return  # it had sent on, so the kernel took the answer back
            assert (status, orjson.loads(body)["error"]) == (431, "head_too_large")

    async def test_one_too_large_is_answered_so_and_closed(self, url: str) -> None:
        async with a_peer(url) as (reader, writer):
            writer.write(GET + b"x: " + b"a" * HEAD_BYTES)
            status, body = await answer(reader)
            problem = orjson.loads(body)
            assert (status, problem["error"], problem["success"]) == (431, "head_too_large", False)
            assert await is_closed(reader)

    @pytest.mark.parametrize("slice_bytes", [1, 1000, 10_000, 100_000])
    async def test_what_is_within_bounds_passes_however_it_is_cut(
        self, url: str, slice_bytes: int
    ) -> None:
        value = b"a" * (2000 if slice_bytes == 1 else 24_000)
        body = b"b" * (100 if slice_bytes == 1 else 150_000)
        request = b"POST / HTTP/1.1\r\nx: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            value,
            len(body),
            body,
        )
        size = len(value) + len(str(len(body)))
        wanted = (200, b"%d %d" % (size, len(body)))
        async with a_peer(url) as (reader, writer):
            for _ in range(3):  # on one connection: nothing adds up
                for start in range(0, len(request), slice_bytes):
                    writer.write(request[start : start + slice_bytes])
                    await writer.drain()
                assert await answer(reader) == wanted

    async def test_many_requests_in_one_writing_are_all_answered(self, url: str) -> None:
        request = GET + b"x: " + b"a" * 3000 + b"\r\n\r\n"
        async with a_peer(url) as (reader, writer):
            writer.write(request * 40)
            for _ in range(40):
                assert await answer(reader) == (200, b"3003 0")


class TestTime:
    async def test_a_connection_that_asks_for_nothing_is_closed(self) -> None:
        async with (
            on_a_socket(counting_app, Impatient) as url,
            a_peer(url) as (reader, _),
            a_peer(url) as (other, writer),
        ):
            writer.write(b"\r\n\r\n")
            assert await is_closed(reader)
            assert await is_closed(other)

    async def test_a_head_that_stands_still_is_ended(self, turned: str) -> None:
        async with a_peer(turned) as (reader, writer):
            writer.write(GET)
            await until(lambda: Turned.last().is_at("HEAD"))
            assert Turned.last().end_wait()
            status, body = await answer(reader)
            assert (status, orjson.loads(body)["error"]) == (408, "head_too_slow")
            assert await is_closed(reader)

    async def test_the_second_head_of_a_connection_too(self, turned: str) -> None:
        async with a_peer(turned) as (reader, writer):
            writer.write(GET + b"\r\n")
            assert await answer(reader) == (200, b"3 0")
            assert not Turned.last().end_wait()  # that is for the wait between two requests
            writer.write(GET)
            await until(lambda: Turned.last().is_at("HEAD"))
            assert Turned.last().end_wait()
            assert (await answer(reader))[0] == 408

    async def test_empty_lines_between_requests_hold_no_connection(self, turned: str) -> None:
        async with a_peer(turned) as (reader, writer):
            writer.write(GET + b"\r\n")
            assert await answer(reader) == (200, b"3 0")
            writer.write(b"\r\n")
            await until(Turned.last().end_wait)
            assert await is_closed(reader)

    async def test_a_body_and_an_answer_may_take_longer(self, turned: str) -> None:
        async with a_peer(turned) as (reader, writer):
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n1")
            await until(lambda: Turned.last().is_at("BODY"))
            assert not Turned.last().end_wait()
            writer.write(b"2")
            assert await answer(reader) == (200, b"2 2")

    async def test_a_head_behind_an_answer_is_not_late(self, turned: str) -> None:
        """While an answer is made, what the caller has sent may stand unread."""
        asking = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n12"
        async with a_peer(turned) as (reader, writer):
            gate.clear()
            try:
                writer.write(asking + GET)
                await until(lambda: Turned.last().is_at("HEAD"))
                assert not Turned.last().end_wait()
            finally:
                gate.set()
            assert await answer(reader) == (200, b"2 2")
            writer.write(b"\r\n")
            assert await answer(reader) == (200, b"3 0")

    async def test_a_socket_is_not_waited_for(self, turned: str) -> None:
        async with a_peer(turned) as (reader, writer):
            writer.write(
                b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            async with asyncio.timeout(WAIT_LIMIT_S):
                assert b"101" in await reader.readuntil(b"\r\n\r\n")
            assert not Turned.last().end_wait()
            writer.write(b"\x89\x80\x00\x00\x00\x00")  # a ping
            async with asyncio.timeout(WAIT_LIMIT_S):
                assert await reader.readexactly(2) == b"\x8a\x00"
