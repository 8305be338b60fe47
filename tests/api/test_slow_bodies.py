"""A body that does not come holds no place of those served; few may wait, the oldest gives way."""

import asyncio
from typing import Any
from uuid import uuid4

import orjson
import pytest
from fastapi import APIRouter, Request
from starlette.types import Message

from evpower.api.gateway import exchange, gateway
from evpower.api.metrics import IN_FLIGHT
from evpower.foundation.body import read_body
from evpower.foundation.db import Database
from tests.api.scenario import Api, bearer, on_a_socket, running_api
from tests.api.test_request_heads import a_peer, answer, is_closed
from tests.waiting import WAIT_LIMIT_S, until


def _readers() -> APIRouter:
    routes = APIRouter()

    @routes.post("/api/v1/webhooks/test")
    async def raw(request: Request) -> int:
        return len(await read_body(request, 1000))

    @routes.post("/api/v1/json")
    async def parsed(body: dict[str, Any]) -> int:
        return len(body)

    return routes


class Caller:
    """Sends the parts it has, then nothing more."""

    def __init__(
        self, path: str, parts: list[bytes], *, ends: bool, address: str = "203.0.113.9",
        length: int = 20, **headers: str,
    ) -> None:  # fmt: skip
        self.scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "scheme": "http", "server": ("api", 80), "client": (address, 1),
            "headers": [
                (b"content-type", b"application/json"), (b"content-length", str(length).encode()),
                *((name.lower().encode(), value.encode()) for name, value in headers.items()),
            ],
        }  # fmt: skip
        self._parts = parts
        self._ends = ends
        self.was_read = False
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        self.was_read = True
        if not self._parts:
            await asyncio.Event().wait()
        part = self._parts.pop(0)
        more = bool(self._parts) or not self._ends
        return {"type": "http.request", "body": part, "more_body": more}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def call(self, app: Any) -> tuple[int, dict[bytes, bytes], Any]:
        await asyncio.wait_for(app(self.scope, self.receive, self.send), WAIT_LIMIT_S)
        start, *bodies = self.sent
        body = b"".join(part["body"] for part in bodies)
        return start["status"], dict(start["headers"]), orjson.loads(body)


@pytest.mark.parametrize("path", ["/api/v1/webhooks/test", "/api/v1/json", "/nowhere"])
@pytest.mark.parametrize("sent", [[], [b'{"a":']], ids=["nothing", "a part"])
async def test_a_body_that_never_ends_is_answered(
    db: Database, monkeypatch: pytest.MonkeyPatch, path: str, sent: list[bytes]
) -> None:
    monkeypatch.setattr(exchange, "BODY_S", 0.05)
    async with running_api(db, [_readers()], max_in_flight=1) as api:
        for _ in range(3):
            caller = Caller(path, [*sent], ends=False)
            status, headers, body = await caller.call(api.app)
            assert (status, body["error"]) == (408, "body_too_slow")
            assert headers[b"connection"] == b"close"
        whole = Caller("/api/v1/json", [b'{"a":1,', b'"b":2}'], ends=True)
        status, _, _ = await whole.call(api.app)
        assert status == 200, "the only place was given back"


async def test_bodies_that_do_not_come_keep_no_other_from_being_served(db: Database) -> None:
    async with running_api(db, [_readers()], max_in_flight=2) as api, asyncio.TaskGroup() as tasks:
        slow = [Caller("/api/v1/json", [], ends=False) for _ in range(30)]
        waiting = [tasks.create_task(caller.call(api.app)) for caller in slow]
        await until(lambda: all(caller.was_read for caller in slow))
        assert (await api.get("/readyz")).status_code == 200
        same_address = Caller("/api/v1/json", [b'{"a":1}'], ends=True)
        assert (await same_address.call(api.app))[0] == 200
        driver = uuid4()
        assert (await api.get(f"/api/v1/balance/{driver}", bearer(driver))).status_code == 200
        for task in waiting:
            task.cancel()


async def test_the_oldest_body_of_an_address_gives_way(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "_UNREAD_PER_ADDRESS", 3)
    monkeypatch.setattr(gateway, "_UNREAD_STRANGERS", 5)
    async with running_api(db, [_readers()]) as api, asyncio.TaskGroup() as tasks:

        async def begin(address: str, **headers: str) -> tuple[Caller, asyncio.Task[Any]]:
            caller = Caller("/api/v1/json", [], ends=False, address=address, **headers)
            task = tasks.create_task(caller.call(api.app))
            await until(lambda: caller.was_read)
            return caller, task

        first = [await begin("203.0.113.9") for _ in range(3)]
        _, other = await begin("203.0.113.10")
        _, driver = await begin("203.0.113.9", **bearer(uuid4()))
        await begin("203.0.113.9")
        status, _, problem = await first[0][1]
        assert (status, problem["error"]) == (408, "body_too_slow")
        assert not other.done()
        for last in range(2, 4):  # the table for strangers is full: the oldest of all
            await begin(f"2001:db8:{last}::1")
        await until(first[1][1].done)
        assert not driver.done(), "a driver's body gives way to a stranger's never"
        await begin("2001:db8:9:1::1")
        await begin("2001:db8:9:2::1")
        await until(other.done)
        for _ in range(3):
            await begin("2001:db8:9:3::1")  # another /64 of the same /48
        for task in tasks._tasks:
            task.cancel()


async def test_a_body_refused_for_its_size_holds_no_place_while_it_is_read_on(
    db: Database,
) -> None:
    async with running_api(db, [_readers()], max_in_flight=1) as api, asyncio.TaskGroup() as tasks:
        large = Caller("/api/v1/json", [b"x"], ends=False, length=10_000_000)
        draining = tasks.create_task(large.call(api.app))
        await until(lambda: large.was_read)
        whole = Caller("/api/v1/json", [b'{"a":1}'], ends=True)
        assert (await whole.call(api.app))[0] == 200
        draining.cancel()


async def test_nothing_is_read_of_a_body_whose_caller_has_asked_too_often(db: Database) -> None:
    async with running_api(db, [_readers()], rate_per_minute=1) as api:
        for status in (200, 429):
            caller = Caller("/api/v1/json", [b'{"a":1}'], ends=True)
            assert (await caller.call(api.app))[0] == status
        assert not caller.was_read


@pytest.fixture
async def full(db: Database) -> Any:
    gate = asyncio.Event()
    routes = APIRouter()

    @routes.get("/api/v1/test/wait")
    async def wait() -> None:
        await gate.wait()

    async with running_api(db, [routes], max_in_flight=4) as api:
        yield api, gate


async def test_readiness_says_that_requests_find_no_place(full: tuple[Api, asyncio.Event]) -> None:
    api, gate = full
    driver = bearer(uuid4())
    waiting = [asyncio.create_task(api.get("/api/v1/test/wait", driver)) for _ in range(4)]

    async def is_full() -> bool:
        response = await api.get("/readyz")
        return response.json()["load"] == "overloaded" and response.status_code == 503

    await until(is_full)
    gate.set()
    await asyncio.gather(*waiting)
    assert (await api.get("/readyz")).json()["load"] == "ok"


async def test_strangers_leave_places_to_drivers(full: tuple[Api, asyncio.Event]) -> None:
    api, gate = full
    waiting = [asyncio.create_task(api.get("/api/v1/test/wait")) for _ in range(3)]
    await until(lambda: IN_FLIGHT._value.get() == 3)
    driver = uuid4()
    assert (await api.get(f"/api/v1/balance/{driver}", bearer(driver))).status_code == 200
    assert (await api.get("/api/v1/test/wait")).status_code == 503
    gate.set()
    await asyncio.gather(*waiting)


async def test_one_whose_body_comes_late_is_read(db: Database) -> None:
    async with (
        running_api(db, [_readers()]) as api,
        on_a_socket(api.app) as url,
        a_peer(url) as (reader, writer),
    ):
        writer.write(
            b"POST /api/v1/json HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
            b"Content-Length: 7\r\n\r\n"
        )
        async with asyncio.timeout(WAIT_LIMIT_S):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b'{"a"')
        await writer.drain()
        writer.write(b":1}")
        assert await answer(reader) == (200, b"1")
        writer.write(b"POST /api/v1/json HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        writer.write_eof()
        assert await is_closed(reader)
