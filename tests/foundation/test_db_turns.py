"""Callers that wait for a connection are served in the order of coming; none loses its place."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest
from asyncpg.pool import Pool

from evpower.foundation.db import Database
from evpower.foundation.errors import Unavailable
from tests.waiting import WAIT_LIMIT_S

LATER = 20


@pytest.fixture
async def single(dsn: str) -> AsyncIterator[Database]:
    """A pool of one connection, which is open."""
    database = Database(dsn, size=1, wait_limit_s=WAIT_LIMIT_S)
    await database.start()
    async with database.connection() as connection:
        await connection.fetchval("select 1")
    yield database
    await database.close()


async def test_a_later_caller_does_not_overtake_one_that_waits(single: Database) -> None:
    served: list[int] = []

    async def call(number: int) -> None:
        for _ in range(number):  # comes a round of the loop later, also right at the release
            await asyncio.sleep(0)
        async with single.connection():
            served.append(number)

    async with asyncio.TaskGroup() as tasks, single.connection():
        tasks.create_task(call(0))
        await asyncio.sleep(0)
        for number in range(1, LATER):
            tasks.create_task(call(number))
    assert served == list(range(LATER))


async def test_whoever_is_cancelled_leaves_its_place(single: Database) -> None:
    """While it waits, and while its statement runs."""

    async def sleep() -> None:
        async with single.connection() as connection:
            await connection.execute("select pg_sleep(600)")

    running, waiting = asyncio.create_task(sleep()), asyncio.create_task(sleep())
    for task in (waiting, running):
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    for _ in range(3):
        async with single.connection() as connection:
            assert await connection.fetchval("select 1") == 1


async def test_the_turn_of_a_cancelled_release_passes_with_its_connection(
    single: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def held(_: object) -> None:
        begun.set()
        await may_end.wait()

    async def borrow() -> None:
        async with single.connection():
            pass

    with monkeypatch.context() as slow:
        slow.setattr(single.pool, "_reset", held)
        task = asyncio.create_task(borrow())
        async with asyncio.timeout(WAIT_LIMIT_S):
            await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    free: list[int] = []
    acquire = Pool.acquire

    def counted(pool: Pool) -> Awaitable[object]:
        free.append(pool.get_idle_size())
        return acquire(pool)

    monkeypatch.setattr(Pool, "acquire", counted)
    waiting = asyncio.create_task(borrow())
    await asyncio.sleep(0)
    may_end.set()
    await waiting
    await borrow()
    assert free == [1, 1]


async def test_a_database_that_is_restarted_serves_while_one_is_out(single: Database) -> None:
    async with single.connection():
        single.pool.terminate()
        await single.start()
        async with single.connection() as connection:
            assert await connection.fetchval("select 1") == 1
    async with single.connection() as connection:
        assert await connection.fetchval("select 1") == 1


async def test_a_connection_that_can_not_be_opened_leaves_its_place(dsn: str) -> None:
    database = Database(f"{dsn}_missing", size=1, wait_limit_s=WAIT_LIMIT_S)
    await database.start()
    for _ in range(3):
        with pytest.raises(Unavailable, match="does not answer") as refused:
            await database.connection().__aenter__()
        assert "does not exist" in str(refused.value.cause)
    await database.close()
