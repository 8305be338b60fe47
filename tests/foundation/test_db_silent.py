"""PostgreSQL is silent, slow or hangs up: every wait ends, and the pool serves again."""

# pyright: reportPrivateUsage=false

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from evpower.foundation.db import LOST, Database, connect
from evpower.foundation.errors import Unavailable
from tests.faults.tcp_proxy import TcpProxy, host_and_port
from tests.waiting import WAIT_LIMIT_S, until

GIVE_UP_S = 0.5
Work = Callable[[Database, TcpProxy], Awaitable[object]]
Fault = Callable[[TcpProxy], None]
FAULTS = pytest.mark.parametrize("fault", [TcpProxy.say_nothing, TcpProxy.slow_bytes])
CLOSE_STATEMENT = re.compile(rb"C\x00\x00\x00.S__asyncpg")
LONG_ROWS = "select repeat('x', 10000) from generate_series(1, 100)"


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(*host_and_port(dsn)) as proxy:
        yield proxy


@pytest.fixture
async def database(dsn: str, proxy: TcpProxy) -> AsyncIterator[Database]:
    database = Database(
        proxy.through(dsn), size=2, wait_limit_s=WAIT_LIMIT_S, command_timeout_s=WAIT_LIMIT_S
    )
    await database.start()
    async with database.connection() as connection:
        await connection.fetchval("select 1")
    database.wait_limit_s = database._command_timeout_s = GIVE_UP_S
    pool = database.pool
    pool._connect_kwargs["command_timeout"] = GIVE_UP_S
    await pool.expire_connections()
    pool._connect_kwargs["timeout"] = WAIT_LIMIT_S
    yield database
    await database.close()


async def connects(database: Database, fault: Fault, proxy: TcpProxy) -> None:
    await database.pool.expire_connections()
    fault(proxy)
    async with database.connection() as connection:
        await connection.fetchval("select 1")


async def asks(database: Database, fault: Fault, proxy: TcpProxy) -> None:
    async with database.connection() as connection:
        fault(proxy)
        await connection.fetch(LONG_ROWS)


async def commits(database: Database, fault: Fault, proxy: TcpProxy) -> None:
    async with database.transaction() as connection:
        await connection.execute("create temporary table one (a text)")
        fault(proxy)


async def rolls_back(database: Database, fault: Fault, proxy: TcpProxy) -> None:
    async with database.transaction():
        fault(proxy)
        raise Unavailable("database_unavailable", "the test says so")


async def asks_in_a_savepoint(database: Database, fault: Fault, proxy: TcpProxy) -> None:
    async with database.transaction() as connection, connection.transaction():
        fault(proxy)
        await connection.fetch(LONG_ROWS)


async def reads_by_cursor(database: Database, fault: Fault, proxy: TcpProxy) -> None:
    async with database.transaction() as connection:
        async for _ in connection.cursor(LONG_ROWS, prefetch=10):
            fault(proxy)


async def copies(database: Database, fault: Fault, proxy: TcpProxy) -> None:
    async with database.transaction() as connection:
        await connection.execute("create temporary table copied (a text) on commit drop")
        fault(proxy)
        rows = [("x" * 1000,)] * 1000
        await connection.copy_records_to_table("copied", records=rows)


async def forgets_statements(database: Database, fault: Fault, proxy: TcpProxy) -> None:
    """More of them than a connection remembers: the oldest is closed by a message of its own."""
    proxy.at, proxy.fault = CLOSE_STATEMENT, lambda: fault(proxy)
    async with database.connection() as connection:
        for number in range(200):
            await connection.fetchval(f"select {number}")


WORK = [
    connects, asks, commits, rolls_back, asks_in_a_savepoint, reads_by_cursor, copies,
    forgets_statements,
]  # fmt: skip


@pytest.mark.parametrize("fault", [TcpProxy.say_nothing, TcpProxy.slow_bytes, TcpProxy.hang_up])
@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__)
async def test_every_wait_for_the_database_ends(
    work: Callable[[Database, Fault, TcpProxy], Awaitable[None]],
    fault: Fault,
    database: Database,
    proxy: TcpProxy,
) -> None:
    async with asyncio.timeout(WAIT_LIMIT_S):
        with pytest.raises(Unavailable):
            await work(database, fault, proxy)
    proxy.pass_again()
    database.wait_limit_s = WAIT_LIMIT_S

    async def serves() -> bool:
        try:
            async with database.connection() as connection:
                return await connection.fetchval("select 1") == 1
        except Unavailable:
            return False

    for _ in range(database.size + 1):  # no place in the pool is lost
        await until(serves)
    async with database.connection() as first, database.connection() as other:
        assert await first.fetchval("select 1") == await other.fetchval("select 1")


async def test_a_pool_of_a_silent_database_closes(database: Database, proxy: TcpProxy) -> None:
    async with asyncio.timeout(WAIT_LIMIT_S):
        async with database.connection():
            proxy.say_nothing()
            closing = asyncio.create_task(database.close())
            await closing


@FAULTS
async def test_a_connection_outside_the_pool_ends(fault: Fault, dsn: str, proxy: TcpProxy) -> None:
    url = proxy.through(dsn)
    async with asyncio.timeout(WAIT_LIMIT_S):
        async with connect(url, timeout_s=WAIT_LIMIT_S, command_timeout_s=GIVE_UP_S) as connection:
            fault(proxy)
            with pytest.raises(TimeoutError):
                await connection.fetch(LONG_ROWS)
        with pytest.raises(TimeoutError):
            await connect(url, timeout_s=GIVE_UP_S, command_timeout_s=GIVE_UP_S).__aenter__()


async def test_a_connection_outside_the_pool_says_that_it_is_lost(
    dsn: str, proxy: TcpProxy
) -> None:
    url = proxy.through(dsn)
    async with asyncio.timeout(WAIT_LIMIT_S):
        async with connect(
            url, timeout_s=WAIT_LIMIT_S, command_timeout_s=WAIT_LIMIT_S
        ) as connection:
            proxy.hang_up()
            with pytest.raises(LOST):
                await connection.fetch(LONG_ROWS)
        with pytest.raises(LOST):
            await connect(url, timeout_s=WAIT_LIMIT_S, command_timeout_s=WAIT_LIMIT_S).__aenter__()


async def test_a_connection_closes_though_the_other_side_is_silent(
    dsn: str, proxy: TcpProxy
) -> None:
    async with asyncio.timeout(WAIT_LIMIT_S):
        async with connect(
            proxy.through(dsn), timeout_s=WAIT_LIMIT_S, command_timeout_s=WAIT_LIMIT_S
        ) as connection:
            await connection.fetchval("select 1")
            proxy.say_nothing()
