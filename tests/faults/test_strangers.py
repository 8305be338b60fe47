"""One address without credentials does its worst: signed-in drivers are answered, there too."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.api.test_request_heads import answer, is_closed
from tests.api.test_unreadable import BAD_HANDSHAKES, SOCKET, TOO_LARGE_HANDSHAKES
from tests.conftest import Server
from tests.faults.serving import Phone, Served, served
from tests.waiting import WAIT_LIMIT_S, until

ATTACKER = "127.0.0.2"
ELSEWHERE = "127.0.0.1"
SOCKETS = 300
PLACES = 50
HEAD = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
Writers = list[asyncio.StreamWriter]
Attack = Callable[[Served], contextlib.AbstractAsyncContextManager[None]]


@pytest.fixture(scope="module")
async def server_dsn(server: Server) -> AsyncIterator[str]:
    dsn = await server.new_database()
    yield dsn
    await server.command(f"drop database if exists {dsn.rsplit('/', 1)[1]} with (force)")


@pytest.fixture(scope="module")
async def api(server_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("strangers")
    async with served(server_dsn, folder, EVPOWER_MAX_IN_FLIGHT=str(PLACES)) as api:
        yield api


@contextlib.asynccontextmanager
async def holding(api: Served, *shapes: bytes, sockets: int = SOCKETS) -> AsyncIterator[None]:
    """Opens sockets, sends each a shape, then byte by byte; a closed one is opened again."""

    async def hold(shape: bytes) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await api.connect(ATTACKER)
                try:
                    writer.write(shape)
                    while not reader.at_eof() and not writer.is_closing():
                        await asyncio.sleep(0.5)
                        writer.write(b"x")
                        await writer.drain()
                finally:
                    writer.close()
            await asyncio.sleep(0.2)

    async with attacking(*(hold(shapes[n % len(shapes)]) for n in range(sockets))):
        yield


@contextlib.asynccontextmanager
async def asking(
    api: Served, method: str, path: str, headers: Callable[[], dict[str, str]], body: bytes = b""
) -> AsyncIterator[None]:
    """Send requests as fast as they are answered, thirty at a time; the last ones are waited for.

    A request that is cancelled while it connects would leave its socket open.
    """
    transport = httpx.AsyncHTTPTransport(local_address=ATTACKER)
    enough = asyncio.Event()
    async with httpx.AsyncClient(
        base_url=api.url, transport=transport, timeout=WAIT_LIMIT_S, trust_env=False
    ) as http:

        async def ask() -> None:
            while not enough.is_set():
                with contextlib.suppress(httpx.HTTPError):
                    response = await http.request(method, path, headers=headers(), content=body)
                    assert response.status_code in (401, 429, 503), response.text

        async with asyncio.TaskGroup() as attackers:
            for _ in range(30):
                attackers.create_task(ask())
            try:
                yield
            finally:
                enough.set()


@contextlib.asynccontextmanager
async def attacking(*ways: Awaitable[None]) -> AsyncIterator[None]:
    attackers = [asyncio.ensure_future(way) for way in ways]
    try:
        yield
        failed = [attacker for attacker in attackers if attacker.done()]
        assert not failed, failed[0].exception()
    finally:
        for attacker in attackers:
            attacker.cancel()
        await asyncio.gather(*attackers, return_exceptions=True)


def unfinished_heads(api: Served) -> contextlib.AbstractAsyncContextManager[None]:
    return holding(api, HEAD % b"/api/v1/balance/topup-qr" + b"X: ", b"GET / HT", b"\r\n")


def unfinished_handshakes(api: Served) -> contextlib.AbstractAsyncContextManager[None]:
    whole = b"GET /api/v1/ws HTTP/1.1\r\nHost: a\r\n" + SOCKET
    return holding(
        api, whole, whole + b"\r\n", *BAD_HANDSHAKES.values(), *TOO_LARGE_HANDSHAKES.values()
    )


def unfinished_bodies(api: Served) -> contextlib.AbstractAsyncContextManager[None]:
    length = b"Content-Length: 1000\r\n\r\n{"
    return holding(
        api,
        HEAD % b"/nowhere" + length,
        HEAD % b"/api/v1/balance/topup-qr" + length,
        HEAD % b"/api/v1/payment/webhook/sandbox" + length,
        HEAD % b"/nowhere" + b"Content-Length: 10000000\r\n\r\n{",  # refused, and read on
        HEAD % b"/nowhere" + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n{",
        HEAD % b"/nowhere" + b"Expect: 100-continue\r\n" + length,
    )


def unread_answers(api: Served) -> contextlib.AbstractAsyncContextManager[None]:
    return holding(api, b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 64, sockets=50)


def forged_webhooks(api: Served) -> contextlib.AbstractAsyncContextManager[None]:
    def forged() -> dict[str, str]:
        return {
            "webhook-id": secrets.token_hex(8),
            "webhook-timestamp": "1",
            "webhook-signature": "v1,AA==",
        }

    return asking(api, "POST", "/api/v1/payment/webhook/sandbox", forged, b"{" + b" " * 100_000)


def random_keys(api: Served) -> contextlib.AbstractAsyncContextManager[None]:
    def key() -> dict[str, str]:
        return {"X-Service-Key": "evp_" + secrets.token_urlsafe(32)}

    return asking(api, "GET", f"/api/v1/balance/{uuid4()}", key)


def random_tokens(api: Served) -> contextlib.AbstractAsyncContextManager[None]:
    """The right key id, a signature of nothing."""

    def token() -> dict[str, str]:
        good = api.bearer(uuid4())["Authorization"].rpartition(".")[0]
        return {"Authorization": f"{good}.{secrets.token_urlsafe(64)}"}

    return asking(api, "GET", f"/api/v1/balance/{uuid4()}", token)


@contextlib.asynccontextmanager
async def unknown_key_ids(api: Served) -> AsyncIterator[None]:
    """While Supabase does not answer either."""

    def token() -> dict[str, str]:
        return api.bearer(uuid4(), kid=secrets.token_hex(8))

    api.outside.keys_gate.clear()
    try:
        async with asking(api, "GET", f"/api/v1/balance/{uuid4()}", token):
            yield
    finally:
        api.outside.keys_gate.set()


@pytest.mark.parametrize(
    "attack",
    [
        unfinished_heads, unfinished_handshakes, unfinished_bodies, unread_answers,
        forged_webhooks, random_keys, random_tokens, unknown_key_ids,
    ],
)  # fmt: skip
async def test_signed_in_drivers_are_answered_all_the_while(api: Served, attack: Attack) -> None:
    known = [Phone(api, address) for address in (ELSEWHERE, ATTACKER)]
    for phone in known:
        await phone.balance()
    async with attack(api):
        await asyncio.sleep(1)  # let it come to its full strength
        for _ in range(10):
            new = [Phone(api, address) for address in (ELSEWHERE, ATTACKER)]
            await asyncio.gather(*(phone.balance() for phone in [*known, *new]))
            await asyncio.gather(*(phone.top_up() for phone in new))
    async with httpx.AsyncClient(trust_env=False, timeout=WAIT_LIMIT_S) as http:
        await until(lambda: _is_ready(http, api))
        text = (await http.get(f"{api.url}/metrics")).text
    assert "evpower_http_in_flight 0.0" in text


async def _is_ready(http: httpx.AsyncClient, api: Served) -> bool:
    return (await http.get(f"{api.url}/readyz")).json()["load"] == "ok"


class TestStop:
    @pytest.fixture
    async def stopping(self, dsn: str, tmp_path: Path) -> AsyncIterator[Served]:
        async with served(dsn, tmp_path) as api:
            yield api

    async def test_no_one_can_break_it(self, stopping: Served) -> None:
        api, phone = stopping, Phone(stopping, ELSEWHERE)
        api.outside.bank_gate.clear()
        shapes = [
            *BAD_HANDSHAKES.values(), *TOO_LARGE_HANDSHAKES.values(), b"GET / HT", b"",
            b"GET /api/v1/ws HTTP/1.1\r\nHost: a\r\n" + SOCKET,
            b"GET /api/v1/ws HTTP/1.1\r\nHost: a\r\n" + SOCKET + b"\r\n",
            HEAD % b"/nowhere" + b"Content-Length: 9\r\n\r\n",
            HEAD % b"/nowhere" + b"Content-Length: 10000000\r\n\r\n{",
            b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 30,
        ]  # fmt: skip
        async with contextlib.AsyncExitStack() as sockets:
            for shape in shapes:
                _, writer = await api.connect(ATTACKER)
                sockets.callback(writer.close)
                writer.write(shape)
            paying = asyncio.create_task(phone.top_up())
            await until(lambda: api.outside.invoices == 1)
            stopped = asyncio.create_task(api.stop())
            await until(lambda: _refuses(api), "it goes on listening")
            api.outside.bank_gate.set()
            await paying
            assert await stopped == 0, api.log.read_text()
        log = api.log.read_text()
        assert "Traceback" not in log, log
        errors = [line for line in log.splitlines() if '"level":"error"' in line]
        assert [line for line in errors if ": HTTP 404" not in line] == []  # no functions here

    async def test_a_body_that_does_not_come_ends_in_503(self, stopping: Served) -> None:
        api = stopping
        reader, writer = await api.connect(ATTACKER)
        writer.write(HEAD % b"/nowhere" + b"Content-Length: 9\r\n\r\n")
        await asyncio.sleep(0.5)
        stopped = asyncio.create_task(api.stop())
        status, body = await answer(reader)
        assert (status, b"shutting_down" in body) == (503, True)
        assert await is_closed(reader)
        assert await stopped == 0
        writer.close()


async def _refuses(api: Served) -> bool:
    try:
        _, writer = await api.connect(ELSEWHERE)
    except OSError:
        return True
    writer.close()
    return False
