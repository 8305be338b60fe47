"""Bytes that are no request: answered and closed, or closed, within the bound of a head."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from evpower.api import ConnectionBounds, HttpProtocol, WaitingLimit
from evpower.api.metrics import REFUSED
from tests.api.scenario import on_a_socket
from tests.api.test_request_heads import Peer, a_peer, answer, gate, is_closed
from tests.api.test_request_heads import counting_app as app
from tests.waiting import WAIT_LIMIT_S, until

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
SOCKET = UPGRADE + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
HANDSHAKE = b"GET /x HTTP/1.1\r\nHost: a\r\n" + SOCKET

BAD_HANDSHAKES = {
    "post": POST + UPGRADE + b"\r\n",
    "post and a body": POST + UPGRADE + b"Content-Length: 5\r\n\r\n",
    "get and a body": HANDSHAKE + b"Content-Length: 5\r\n\r\n",
    "chunked": HANDSHAKE + b"Transfer-Encoding: chunked\r\n\r\n",
    "head": HANDSHAKE.replace(b"GET", b"HEAD") + b"\r\n",
    "http 1.0": HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n",
    "no key": b"GET / HTTP/1.1\r\n" + UPGRADE + b"Sec-WebSocket-Version: 13\r\n\r\n",
    "a short key": HANDSHAKE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhl") + b"\r\n",
    "two keys": HANDSHAKE + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "a key of other letters": HANDSHAKE.replace(b"dGhl", b"dG\xff\xfe") + b"\r\n",
    "version 8": HANDSHAKE.replace(b": 13", b": 8") + b"\r\n",
    "two versions": HANDSHAKE + b"Sec-WebSocket-Version: 13\r\n\r\n",
    "two origins": HANDSHAKE + b"Origin: a\r\nOrigin: b\r\n\r\n",
    "absolute": HANDSHAKE.replace(b"/x", b"http://a/x") + b"\r\n",
    "another letter in the url": HANDSHAKE.replace(b"/x", b"/\xff") + b"\r\n",
}
TOO_LARGE_HANDSHAKES = {
    "cookie": HANDSHAKE + b"Cookie: " + b"a" * 8200 + b"\r\n\r\n",
    "url": HANDSHAKE.replace(b"/x", b"/" + b"a" * 9000) + b"\r\n",
    "many headers": HANDSHAKE + b"x: y\r\n" * 130 + b"\r\n",
}
UNREADABLE = {
    "h2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "connect": b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute without a path": b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n",
    "http 0.9": b"GET /\r\n\r\n",
    "http 2.0": b"GET / HTTP/2.0\r\n\r\n",
    "http 3.1": b"GET / HTTP/3.1\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303"),
    "proxy line": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + GET,
    "proxy v2": bytes.fromhex("0d0a0d0a000d0a515549540a2111000c") + b"\0" * 12,
    "length and chunks": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and more": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a negative length": POST + b"Content-Length: -3\r\n\r\nabcd",
    "a length of a googol": POST + b"Content-Length: 1" + b"0" * 100 + b"\r\n\r\nabcd",
    "a folded line": b"GET / HTTP/1.1\r\nHost: a\r\nx: y\r\n z\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: a\n\n",
    "a NUL": b"GET / HTTP/1.1\r\nx: \0\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "a bad chunk": CHUNKED + b"zz\r\n",
    "chunk extensions without end": CHUNKED + b"3;" + b"x" * 100_000,
    "trailers without end": CHUNKED + b"3\r\nabc\r\n0\r\n" + b"x: y\r\n" * 20_000,
    "another letter in the path": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
}  # fmt: skip


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with on_a_socket(app) as url:
        yield url


async def refused(peer: Peer, sent: bytes) -> tuple[int, str]:
    """Status and code of a problem, after which the server hangs up."""
    reader, writer = peer
    writer.write(sent)
    status, body = await answer(reader)
    problem = orjson.loads(body)
    assert (problem["status"], problem["success"]) == (status, False)
    assert problem["message"]
    assert await is_closed(reader)
    return status, problem["error"]


class TestShapes:
    @pytest.mark.parametrize("name", BAD_HANDSHAKES)
    async def test_a_handshake_that_can_not_be_read_is_400(self, url: str, name: str) -> None:
        before = REFUSED.labels("bad_request")._value.get()
        async with a_peer(url) as peer:
            assert await refused(peer, BAD_HANDSHAKES[name]) == (400, "bad_request")
        assert REFUSED.labels("bad_request")._value.get() == before + 1

    @pytest.mark.parametrize("name", TOO_LARGE_HANDSHAKES)
    async def test_one_too_large_is_431(self, url: str, name: str) -> None:
        async with a_peer(url) as peer:
            assert await refused(peer, TOO_LARGE_HANDSHAKES[name]) == (431, "head_too_large")

    @pytest.mark.parametrize("name", UNREADABLE)
    async def test_what_is_no_request_is_400(self, url: str, name: str) -> None:
        async with a_peer(url) as peer:
            try:
                assert await refused(peer, UNREADABLE[name]) == (400, "bad_request")
            except (ConnectionResetError, asyncio.IncompleteReadError):
                assert "without end" in name, "the kernel takes an answer back only from a flood"

    @pytest.mark.parametrize("sent", [GET[:10], HANDSHAKE, b"\r\n\r\n", CHUNKED[:-2]])
    async def test_what_never_ends_is_closed(self, sent: bytes) -> None:
        class Impatient(HttpProtocol):
            head_s = 0.1

        async with on_a_socket(app, Impatient) as url, a_peer(url) as (reader, writer):
            writer.write(sent)
            assert await is_over(reader)

    async def test_other_shapes_of_good_requests_are_served(self, url: str) -> None:
        for sent, body in (
            (b"GET / HTTP/1.0\r\n\r\n", b"0 0"),
            (b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", b"1 0"),
            (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"1 0"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", b"1 0"),
            (POST + b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nab", b"2 2"),
        ):
            async with a_peer(url) as (reader, writer):
                writer.write(sent)
                assert await answer(reader) == (200, body)

    async def test_trailers_are_no_headers(self, url: str) -> None:
        async with a_peer(url) as (reader, writer):
            writer.write(CHUNKED + b"3\r\nabc\r\n0\r\nX-Service-Key: evp_\r\n\r\n")
            assert await answer(reader) == (200, b"8 3")  # Host and Transfer-Encoding alone
            writer.write(GET)
            assert await answer(reader) == (200, b"1 0")


class TestPipelines:
    async def test_what_comes_before_something_bad_is_answered(self, url: str) -> None:
        async with a_peer(url) as (reader, writer):
            gate.clear()
            try:
                writer.write(GET * 3 + b"nonsense\r\n\r\n")
                await writer.drain()
            finally:
                gate.set()
            for _ in range(3):
                assert await answer(reader) == (200, b"1 0")
            assert await is_closed(reader)

    async def test_few_requests_wait_on_one_connection(self, url: str) -> None:
        async with a_peer(url) as (reader, writer):
            writer.write(GET * 2000)
            for _ in range(65):
                assert await answer(reader) == (200, b"1 0")
            assert await is_closed(reader)

    async def test_a_body_behind_its_answer_holds_no_connection(self) -> None:
        class Impatient(HttpProtocol):
            head_s = 0.1

        async def early(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await app(scope, receive, send)
                return
            headers = [(b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body"})

        async with on_a_socket(early, Impatient) as url, a_peer(url) as (reader, writer):
            writer.write(POST + b"Content-Length: 1000000\r\n\r\n")
            assert (await answer(reader))[0] == 401
            sent = asyncio.create_task(_keep_sending(writer))
            assert await is_closed(reader)
            await sent

    async def test_an_unread_answer_lets_nothing_begin_and_is_given_up(self) -> None:
        served: list[int] = []
        made: list[HttpProtocol] = []

        class Impatient(HttpProtocol):
            answer_s = 0.2

            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                made.append(self)

        async def large(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await app(scope, receive, send)
                return
            served.append(1)
            body = b"x" * 16 * 1024 * 1024
            headers = [(b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        async with on_a_socket(large, Impatient) as url:
            port = int(url.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port)) as mute:
                mute.sendall(GET * 10)
                await until(lambda: made and made[0].parser is None, "it was never given up")
                assert served == [1]


async def _keep_sending(writer: asyncio.StreamWriter) -> None:
    try:
        for _ in range(10_000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)
    except ConnectionError:
        pass


class TestWaiting:
    async def test_the_oldest_connection_gives_way(self) -> None:
        class Few(HttpProtocol):
            bounds = ConnectionBounds(WaitingLimit(per_group=3, total=100))

        async with on_a_socket(app, Few) as url:
            async with a_peer(url) as (oldest, _), a_peer(url), a_peer(url) as (_, newer):
                await until(lambda: len(Few.bounds.waiting) == 3)
                async with a_peer(url) as (reader, writer):
                    assert await is_closed(oldest)
                    for _ in range(3):  # one that asks does not wait
                        writer.write(GET)
                        assert await answer(reader) == (200, b"1 0")
                newer.write(GET)
            await until(lambda: len(Few.bounds.waiting) == 0)

    async def test_connections_of_a_trusted_proxy_count_in_all_only(self) -> None:
        bounds = ConnectionBounds(WaitingLimit(per_group=1, total=100), trusted_proxies=_loopback())
        assert bounds.group("127.0.0.1") == ""
        assert bounds.group("203.0.113.9") == "203.0.113.9"
        assert bounds.group("2001:db8:1:2::3") == bounds.group("2001:db8:1:9::3")

    def test_all_of_them_are_bounded_too(self) -> None:
        ended: list[int] = []

        class Item:
            def __init__(self, number: int) -> None:
                self.number = number

            def give_way(self) -> None:
                ended.append(self.number)

        limit = WaitingLimit(per_group=2, total=3)
        items = [Item(number) for number in range(6)]
        for item, group in zip(items, ["a", "a", "b", "a", "c", ""], strict=True):
            limit.add(item, group)
        assert ended == [0, 1, 2]
        for item in items:
            limit.remove(item)
        assert len(limit) == 0


def _loopback() -> tuple:  # type: ignore[type-arg]
    from evpower.foundation.addresses import parse_networks

    return parse_networks("127.0.0.0/8")


_PIECES = [
    *BAD_HANDSHAKES.values(), *TOO_LARGE_HANDSHAKES.values(), *UNREADABLE.values(),
    GET, POST, CHUNKED, HANDSHAKE, HANDSHAKE + b"\r\n", b"\r\n", b"\n", b": ", b"0\r\n\r\n",
    b"\x89\x80\0\0\0\0", b"\x81\xfe\xff\xff", b"Content-Length: 5\r\n\r\n",
    b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n", b"\0",
]  # fmt: skip


@pytest.fixture(scope="module")
async def quick() -> AsyncIterator[tuple[str, type[HttpProtocol], list[dict[str, Any]]]]:
    """A server in a hurry, and what its loop has to complain of."""
    complaints: list[dict[str, Any]] = []

    class Quick(HttpProtocol):
        head_s = 0.02
        answer_s = 0.5
        bounds = ConnectionBounds()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    async with on_a_socket(app_with_a_short_body, Quick, keep_alive_s=0) as url:
        yield url, Quick, complaints
    loop.set_exception_handler(None)


class TestAnyBytes:
    @pytest.mark.parametrize("bad_frame", [b"\xff\xff\xff\xff", b"\x89\x00", b"\x88\x7e\x00\x00"])
    async def test_a_bad_frame_before_the_handshake_is_answered_closes(
        self,
        quick: tuple[str, type[HttpProtocol], list[dict[str, Any]]],
        bad_frame: bytes,
    ) -> None:
        url, _, complaints = quick
        async with a_peer(url) as (reader, writer):
            writer.write(HANDSHAKE + b"\r\n" + bad_frame)
            assert await is_over(reader)
        assert not complaints

    @settings(suppress_health_check=list(HealthCheck))
    @given(
        parts=st.lists(st.sampled_from(_PIECES) | st.binary(max_size=40), min_size=1, max_size=6),
        cuts=st.lists(st.integers(1, 3000), max_size=4),
        ends=st.booleans(),
    )
    async def test_are_answered_or_closed_and_leave_nothing_behind(
        self,
        quick: tuple[str, type[HttpProtocol], list[dict[str, Any]]],
        parts: list[bytes],
        cuts: list[int],
        *,
        ends: bool,
    ) -> None:
        url, protocol, complaints = quick
        sent = b"".join(parts)
        async with a_peer(url) as (reader, writer):
            try:
                start = 0
                for cut in [*cuts, len(sent)]:
                    writer.write(sent[start : start + cut])
                    await writer.drain()
                    start += cut
                if ends:
                    writer.write_eof()
            except ConnectionError:
                pass
            assert await is_over(reader)
        protocol.head_s = 3600.0  # an honest caller, however long the machine stands still
        async with a_peer(url) as (reader, writer):
            writer.write(GET)
            assert await answer(reader) == (200, b"1 0")
        protocol.head_s = 0.02
        await until(lambda: len(protocol.bounds.waiting) == 0)
        assert not complaints


async def app_with_a_short_body(scope: Scope, receive: Receive, send: Send) -> None:
    """As the gateway does: a body that does not come ends in an answer."""
    try:
        async with asyncio.timeout(None if scope["type"] == "lifespan" else 0.1):
            await app(scope, receive, send)
    except TimeoutError:
        if scope["type"] == "http":
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 408, "headers": headers})
            await send({"type": "http.response.body"})
        else:
            await send({"type": "websocket.close"})


async def is_over(reader: asyncio.StreamReader) -> bool:
    """Whether the server hangs up, whatever it says before."""
    async with asyncio.timeout(WAIT_LIMIT_S):
        try:
            while await reader.read(65536):
                pass
        except ConnectionResetError:
            pass
    return True
