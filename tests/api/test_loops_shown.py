"""A background loop that stands still is seen in three places: metrics, /readyz, `sync status`."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from evpower.foundation import loop_rounds
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.loop_rounds import LoopRounds
from evpower.foundation.loops import Loop, Loops, Round, RoundWork
from evpower.sync import status
from tests.api.scenario import Api, running_api
from tests.waiting import COMMAND_S, until

NODE = "host-a:7:worker"


class Clock:
    """Monotonic seconds that a test turns."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Doing:
    """Work that does nothing, hangs, or fails, as `does` is set."""

    def __init__(self) -> None:
        self.rounds = 0
        self.does: Exception | asyncio.Event | None = None

    async def __call__(self, _: Round) -> None:
        self.rounds += 1
        if isinstance(self.does, Exception):
            raise self.does.with_traceback(None)  # else it grows with each round
        if self.does is not None:
            await self.does.wait()


@asynccontextmanager
async def running(
    work: RoundWork, clock: Clock, *, name: str, period_s: float
) -> AsyncIterator[Loops]:
    loop = Loop(name, work, period_s=0.001, longest_retry_s=0.001, retry_s=0.001, now_s=clock)
    loop.record.period_s = period_s
    loops = Loops([loop])
    loops.start()
    try:
        yield loops
    finally:
        await loops.stop(0.01)


@asynccontextmanager
async def seen(db: Database, loops: Loops) -> AsyncIterator[Api]:
    async with running_api(db, overdue=loops.overdue, collectors=[loops.measure]) as api:
        yield api


async def stored(db: Database, loops: Loops) -> LoopRounds:
    """What other processes read of it."""
    async with db.connection() as connection:
        await loop_rounds.store(connection, NODE, loops.records)
        [row] = (await status(connection)).loops
    return row


async def sync_status(dsn: str, *words: str) -> str:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "evpower", "sync", "status", *words],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        env={
            "PATH": os.environ["PATH"],
            "EVPOWER_DATABASE_URL": dsn,
            "EVPOWER_ENV": "development",
            "COLUMNS": "200",
        },
        check=True,
    )
    return done.stdout


async def test_a_loop_that_hangs_is_seen_everywhere(db: Database, dsn: str) -> None:
    clock, work = Clock(), Doing()
    async with (
        running(work, clock, name="relay", period_s=1) as loops,
        seen(db, loops) as api,
    ):
        await until(lambda: work.rounds > 2)
        work.does = asyncio.Event()
        last = work.rounds
        await until(lambda: work.rounds == last + 1)
        clock.now_s += 40
        ready = (await api.get("/readyz")).json()
        assert (ready["loops"], "overdue_loops" in ready) == ("ok", False)
        assert (await stored(db, loops)).overdue is False
        clock.now_s += 21
        ready = await api.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert (ready.json()["loops"], ready.json()["overdue_loops"]) == ("degraded", {"relay": ""})
        metrics = (await api.get("/metrics")).text
        assert 'evpower_loop_overdue{loop="relay"} 1.0' in metrics
        assert 'evpower_loop_last_round_timestamp_seconds{loop="relay"} 1.' in metrics
        assert (await stored(db, loops)).overdue
        [row] = orjson.loads(await sync_status(dsn, "--json"))["loops"]
        assert row.pop("last_round_at")
        assert row == {"node": NODE, "loop": "relay", "error": None, "overdue": True}
        shown = await sync_status(dsn)
        assert "loops      1 on 1 node, 1 stand still" in shown
        assert "relay on host-a:7:worker: no round finished for " in shown
        work.does.set()
        work.does = None
        await until(lambda: work.rounds > last + 2)
        assert (await api.get("/readyz")).json()["loops"] == "ok"
        api.now_s.at_s += 10  # gauges are refreshed now and then only
        assert 'evpower_loop_overdue{loop="relay"} 0.0' in (await api.get("/metrics")).text
        assert (await stored(db, loops)).overdue is False


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("no"), "RuntimeError"),
        (Unavailable("database_unavailable", "refused"), "database_unavailable"),
    ],
)
async def test_a_loop_that_fails_each_round_shows_its_error(
    db: Database, dsn: str, error: Exception, code: str
) -> None:
    clock, work = Clock(), Doing()
    work.does = error
    async with (
        running(work, clock, name="puller", period_s=2) as loops,
        seen(db, loops) as api,
    ):
        await until(lambda: work.rounds > 2)
        row = await stored(db, loops)
        assert (row.error, row.overdue, row.finished_at) == (code, False, None)
        clock.now_s += 61
        await until(lambda: work.rounds > 4)
        ready = (await api.get("/readyz")).json()
        assert (ready["loops"], ready["overdue_loops"]) == ("degraded", {"puller": code})
        metrics = (await api.get("/metrics")).text
        assert 'evpower_loop_overdue{loop="puller"} 1.0' in metrics
        assert f'evpower_loop_failures_total{{code="{code}",loop="puller"}}' in metrics
        row = await stored(db, loops)
        assert (row.error, row.overdue) == (code, True)
        assert f"last error {code}" in await sync_status(dsn)


async def test_a_seldom_loop_is_overdue_after_two_periods_but_a_hanging_round_after_a_minute(
    db: Database,
) -> None:
    clock, work = Clock(), Doing()
    loop = Loop("prune", work, period_s=600, now_s=clock)
    loops = Loops([loop])
    loops.start()
    await until(lambda: loop.record.finished_at is not None)
    clock.now_s += 1100
    assert loops.overdue() == {}
    assert (await stored(db, loops)).overdue is False
    clock.now_s += 101
    assert loops.overdue() == {"prune": ""}
    assert (await stored(db, loops)).overdue is True
    await loops.stop(1)
    hanging = Doing()
    hanging.does = asyncio.Event()
    loop = Loop("prune", hanging, period_s=600, now_s=clock)
    task = asyncio.create_task(loop.run(asyncio.Event()))
    await until(lambda: hanging.rounds == 1)
    clock.now_s += 61
    assert loop.record.overdue
    assert (await stored(db, Loops([loop]))).overdue is True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_long_round_that_moves_on_is_not_overdue() -> None:
    clock = Clock()
    loop = Loop("check", Doing(), period_s=15, now_s=clock)
    loop.record.start()
    loop.record.begin()
    for _ in range(10):
        clock.now_s += 50
        assert not loop.record.overdue
        Round(record=loop.record).progress()
    clock.now_s += 61
    assert loop.record.overdue


async def test_a_node_that_no_longer_writes_is_lost_and_then_forgotten(
    db: Database, dsn: str, owner: Connection
) -> None:
    loops = Loops([Loop("relay", Doing(), period_s=1)])
    async with db.connection() as connection:
        await loop_rounds.store(connection, "host-b:1:all", loops.records)
        await loop_rounds.store(connection, "host-c:1:all", loops.records)
        await loop_rounds.store(connection, "host-c:1:all", loops.records)
    age = "update foundation.loop_rounds set seen_at = seen_at - interval '%s' where node = '%s'"
    await owner.execute(age % ("61 s", "host-b:1:all"))
    shown = await sync_status(dsn)
    assert "host-b:1:all was last seen " in shown
    assert "loops      1 on 1 node, all finish their rounds" in shown
    await owner.execute(age % ("1 h", "host-b:1:all"))
    async with db.connection() as connection:
        await loop_rounds.store(connection, "host-c:1:all", loops.records)
    nodes = "select array_agg(node order by node) from foundation.loop_rounds"
    assert await owner.fetchval(nodes) == ["host-c:1:all"]
    await loop_rounds.forget(db, "host-c:1:all")
    assert await owner.fetchval(nodes) is None
    assert "loops      none: no process runs" in await sync_status(dsn)


@pytest.mark.parametrize(("ran_s", "overdue"), [(50, False), (70, True)])
async def test_a_round_is_as_old_as_its_node_saw_it(
    db: Database,
    owner: Connection,
    ran_s: int,
    overdue: bool,  # noqa: FBT001
) -> None:
    """It may have ended since the node last wrote."""
    loops = Loops([Loop("relay", Doing(), period_s=1)])
    async with db.connection() as connection:
        await loop_rounds.store(connection, NODE, loops.records)
        await owner.execute(
            "update foundation.loop_rounds set seen_at = now() - interval '30 s',"
            f" running_since = now() - interval '{30 + ran_s} s'"
        )
        [row] = await loop_rounds.stored(connection)
    assert (row.overdue, row.lost) == (overdue, False)


async def test_forgetting_without_a_database_only_logs(db: Database) -> None:
    await db.close()
    await loop_rounds.forget(db, NODE)
