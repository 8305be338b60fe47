"""One function makes every outgoing HTTP call: its time, its size, how it fails."""

import asyncio
import gzip
import socket
import time
from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY

from evpower.devstack.ports import free_port
from evpower.foundation.http import (
    HttpClient,
    HttpError,
    HttpResponse,
    OutcomeUnknown,
    RequestNotSent,
    ResponseTooLarge,
)
from tests.faults.hostile_server import (
    NEVER_ENDING,
    TOO_LARGE,
    Answer,
    HostileServer,
    closes_after,
    hangs_after,
    whole,
)
from tests.waiting import COMMAND_S, WAIT_LIMIT_S, until

GIVE_UP_S = 2.0  # a part of it is for the connection, which a busy machine is slow to make
RIGHT = whole(b'{"a":1}')
NOW = datetime(2026, 12, 1, 6, tzinfo=UTC)
PAUSES = {
    "600": 600.0,
    " 600 ": 600.0,
    "9" * 400: 999_999_999.0,
    "Tue, 01 Dec 2026 06:10:00 GMT": 600.0,
    "Tue, 01 Dec 2026 12:10:00 +0600": 600.0,
    "Tue, 01 Dec 2026 06:10:00": 600.0,
    "Tue, 01 Dec 2026 05:00:00 GMT": 0.0,
    "soon": None,
    "": None,
    "-1": None,
    "1.5": None,
    "\u0661": None,
    "Mon, 01 Jan 99999999999999999999 00:00:00 GMT": None,
    "Mon, 01 Jan 2025 00:00:00 +99999999999999999999": None,
    "Mon, 01 Jan 2025 00:00:00 +2400": None,
    "Mon, 32 Jan 2025 00:00:00 GMT": None,
}


async def ask(url: str, timeout_s: float = WAIT_LIMIT_S, max_bytes: int = 1000) -> HttpResponse:
    async with HttpClient() as http:
        return await http.fetch("devstack", "GET", url, timeout_s=timeout_s, max_bytes=max_bytes)


async def answered(answer: Answer, timeout_s: float = WAIT_LIMIT_S) -> HttpResponse:
    async with HostileServer(answer) as server:
        return await ask(server.url, timeout_s)


def measured(outcome: str) -> float:
    labels = {"target": "devstack", "outcome": outcome}
    return REGISTRY.get_sample_value("evpower_http_client_seconds_count", labels) or 0.0


async def test_a_right_response_is_whole() -> None:
    before = measured("2xx")
    response = await answered(closes_after(whole(b'{"a":1}', b"X-Name: Value")))
    assert (response.status_code, response.content) == (200, b'{"a":1}')
    assert response.headers["x-name"] == "Value"
    assert response.json() == {"a": 1}
    assert measured("2xx") == before + 1


@pytest.mark.parametrize(("text", "pause_s"), PAUSES.items())
def test_a_pause_is_a_number_a_date_or_none(text: str, pause_s: float | None) -> None:
    assert HttpResponse(429, {"retry-after": text}, b"").retry_after_s(NOW) == pause_s
    assert HttpResponse(429, {}, b"").retry_after_s(NOW) is None


@pytest.mark.parametrize("how", NEVER_ENDING)
async def test_a_response_that_never_ends_is_given_up(how: str) -> None:
    before = measured("timeout")
    async with HostileServer(NEVER_ENDING[how]) as server:
        with pytest.raises(OutcomeUnknown, match="Timeout") as caught:
            await ask(server.url, GIVE_UP_S, max_bytes=1_000_000)
    assert not caught.value.connection_lost
    assert measured("timeout") == before + 1


@pytest.mark.parametrize("how", TOO_LARGE)
async def test_a_response_that_is_too_large_is_not_read_to_its_end(how: str) -> None:
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown) as caught:
        await answered(TOO_LARGE[how])
    assert time.monotonic() - began < WAIT_LIMIT_S, "its size ended it, not the time"
    assert isinstance(caught.value, ResponseTooLarge) or how == "a head of 1 GB"


@pytest.mark.parametrize("size", [999, 1000])
async def test_a_response_of_the_largest_size_is_read(size: int) -> None:
    packed = gzip.compress(bytes(size), mtime=0)
    for raw in (
        whole(bytes(size)),
        whole(packed, b"Content-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + bytes(size),
    ):
        assert (await answered(closes_after(raw))).content == bytes(size)


async def test_one_byte_more_is_refused() -> None:
    packed = gzip.compress(bytes(1001), mtime=0)
    before = measured("too_large")
    for raw in (
        whole(bytes(1001)),
        whole(packed, b"Content-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + bytes(1001),
    ):
        with pytest.raises(ResponseTooLarge):
            await answered(closes_after(raw))
    assert measured("too_large") == before + 3


async def test_a_response_cut_at_any_byte_is_none() -> None:
    packed = whole(gzip.compress(b'{"a":1}', mtime=0), b"Content-Encoding: gzip")
    for raw in (RIGHT, packed):
        for length in range(len(raw)):
            with pytest.raises(OutcomeUnknown) as caught:
                await answered(closes_after(raw[:length]))
            assert caught.value.connection_lost


@pytest.mark.parametrize(
    "raw",
    [
        whole(b"no gzip", b"Content-Encoding: gzip"),
        whole(gzip.compress(b"{}", mtime=0)[:-3], b"Content-Encoding: gzip"),
        whole(b"{}", b"Content-Encoding: br"),
        whole(
            gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), b"Content-Encoding: gzip, gzip"
        ),
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_what_cannot_be_read_is_no_response(raw: bytes) -> None:
    with pytest.raises(OutcomeUnknown):
        await answered(closes_after(raw))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}",
        "https://127.0.0.1:{port}",
        "http://no-such-host.invalid/",
        "http://127.0.0.1:99999/",
        "ftp://127.0.0.1/",
        "http:///nowhere",
        "no url",
        "",
    ],
)
async def test_without_a_connection_nothing_was_sent(url: str) -> None:
    before = measured("not_sent")
    with pytest.raises(RequestNotSent):
        await ask(url.format(port=free_port()))
    assert measured("not_sent") == before + 1


async def test_a_handshake_that_never_ends_is_a_request_not_sent() -> None:
    """TLS begins, the server says nothing: no byte of the request has left."""
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(RequestNotSent):
        await ask(f"https://127.0.0.1:{silent.getsockname()[1]}", GIVE_UP_S)


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    raw = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    assert (await answered(closes_after(raw))).status_code == 302


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert (await answered(closes_after(RIGHT))).is_success


async def test_calls_given_up_leave_their_connections_to_others() -> None:
    """More of them than a target has connections, at once and one after the other."""
    async with HostileServer(hangs_after(b"")) as server, HttpClient() as http:

        async def call() -> HttpResponse | HttpError:
            try:
                return await http.fetch("devstack", "GET", server.url, timeout_s=GIVE_UP_S)
            except HttpError as error:
                return error

        failures = await asyncio.gather(*(call() for _ in range(120)))
        assert all(isinstance(failure, HttpError) for failure in failures)
        assert any(isinstance(failure, RequestNotSent) for failure in failures), (
            "no place in the pool"
        )
        server.answer = closes_after(RIGHT)
        async with asyncio.TaskGroup() as group:
            for _ in range(60):
                group.create_task(http.fetch("devstack", "GET", server.url, timeout_s=WAIT_LIMIT_S))


async def test_a_call_waits_for_a_place_no_longer_than_for_all_else() -> None:
    async with HostileServer(hangs_after(b"")) as server, HttpClient() as http:
        holding = [
            asyncio.create_task(http.fetch("devstack", "GET", server.url, timeout_s=COMMAND_S))
            for _ in range(50)
        ]
        await until(lambda: server.requests >= 50)
        async with asyncio.timeout(WAIT_LIMIT_S):
            with pytest.raises(RequestNotSent):
                await http.fetch("devstack", "GET", server.url, timeout_s=GIVE_UP_S)
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)


async def test_a_target_that_hangs_leaves_the_connections_of_another() -> None:
    async with (
        HostileServer(hangs_after(b"")) as unresponsive,
        HostileServer(closes_after(RIGHT)) as well,
        HttpClient() as http,
    ):
        waiting = [
            asyncio.create_task(
                http.fetch("supabase_auth", "GET", unresponsive.url, timeout_s=WAIT_LIMIT_S)
            )
            for _ in range(100)
        ]
        await until(lambda: unresponsive.requests >= 50)
        response = await http.fetch("payment_provider", "GET", well.url, timeout_s=WAIT_LIMIT_S)
        assert response.is_success
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_closed_client_sends_nothing() -> None:
    http = HttpClient()
    async with HostileServer(closes_after(RIGHT)) as server:
        await http.fetch("devstack", "GET", server.url, timeout_s=WAIT_LIMIT_S)
        await http.aclose()
        with pytest.raises(RequestNotSent):
            await http.fetch("devstack", "GET", server.url, timeout_s=WAIT_LIMIT_S)
        assert server.requests == 1


async def test_a_header_that_is_none_is_not_sent() -> None:
    """A key pasted with a line feed or in another alphabet."""
    async with HostileServer(closes_after(RIGHT)) as server, HttpClient() as http:
        for value in ("sb_secret_\n1", "ключ"):
            with pytest.raises(RequestNotSent):
                await http.fetch(
                    "devstack", "GET", server.url, headers={"apikey": value}, timeout_s=5
                )
        assert server.requests == 0
