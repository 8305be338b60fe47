"""Few requests wait for one thing: each that waits occupies a place that others may need."""

import asyncio
from typing import Any

from evpower.api.gateway.callers import key_owner
from evpower.api.replay import Replay
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict
from tests.api.charging_scenario import Ride
from tests.api.scenario import running_api
from tests.api.stations_scenario import Site
from tests.waiting import WAIT_LIMIT_S, until


async def test_only_a_few_repeats_of_one_address_wait(db: Database) -> None:
    owner = key_owner(None, "198.51.100.1")
    gate, inside = asyncio.Event(), asyncio.Event()
    pauses: list[float] = []

    async def until_the_gate(pause_s: float) -> None:
        pauses.append(pause_s)
        await gate.wait()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        inside.set()
        await gate.wait()
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        del message

    replay = Replay(db, utc_now, sleep=until_the_gate)
    scope = {"method": "POST", "path": "/api/charging/stop", "query_string": b""}

    def run() -> Any:
        return replay.run(app, dict(scope), receive, send, owner=owner, key=b"k")

    first = asyncio.create_task(run())
    await inside.wait()
    waiting = [asyncio.create_task(run()) for _ in range(8)]
    await until(lambda: len(pauses) == 8)
    refused = asyncio.create_task(run())
    await until(lambda: refused.done() or len(pauses) == 9)
    assert len(pauses) == 8
    assert isinstance(refused.exception(), Conflict)
    gate.set()
    await asyncio.gather(first, *waiting)
    await run()


async def test_only_a_few_stops_of_one_session_wait(db: Database, owner: Connection) -> None:
    async with running_api(db, stop_wait_s=WAIT_LIMIT_S) as api:
        ride = Ride(api, owner, Site(db, api.clock), await api.new_client())
        await ride.open()
        session = await ride.started()
        transaction = await ride.begin(session)
        ride.forward(minutes=31)
        await ride.stay_online()
        stops = [asyncio.create_task(ride.stop(session)) for _ in range(9)]
        done, _ = await asyncio.wait(stops, return_when=asyncio.FIRST_COMPLETED)
        assert [stop.result().json()["final"] for stop in done] == [False]
        await ride.end(transaction, 11_000)
        finals = [(await stop).json()["final"] for stop in stops]
    assert sorted(finals) == [False, *[True] * 8]
