"""Which acts of two connections at a station wait for each other, and what the second sees."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import pytest

from evpower import stations
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict
from evpower.stations import StationChange
from tests.stations.scenario import NOW, Operator, claim
from tests.waiting import until

A = "A"
Result = TypeVar("Result")
Act = Callable[[Connection], Awaitable[Result]]


@pytest.fixture(autouse=True)
async def stored(operator: Operator) -> None:
    await operator.add(A)


async def open_socket(connection: Connection) -> int:
    opened = await stations.open_connection(
        connection, A, address="10.0.0.1", version="ocpp1.6", is_authenticated=True, node="n1",
        now=NOW,
    )  # fmt: skip
    return opened.epoch


async def queue(connection: Connection) -> int:
    command = await stations.queue_command(
        connection, A, "clear_cache", {}, actor="aida", expires_in=timedelta(minutes=1), now=NOW
    )
    return command.id


async def done(operator: Operator, act: Act[Result]) -> Result:
    async with operator.db.transaction() as connection:
        return await act(connection)


async def in_the_meantime(
    operator: Operator, first: Act[object], second: Act[Result]
) -> "asyncio.Future[Result]":
    """Let the second act wait for the first one, which then commits; returns what it ended with."""
    is_waiting = asyncio.Event()
    pids: list[int] = []

    async def act(connection: Connection) -> Result:
        pids.append(connection.get_server_pid())
        is_waiting.set()
        return await second(connection)

    async with operator.db.transaction() as connection, operator.db.connection() as watching:
        holder = connection.get_server_pid()
        await first(connection)
        task = asyncio.ensure_future(done(operator, act))
        await is_waiting.wait()

        async def waits_or_is_done() -> bool:
            return task.done() or await watching.fetchval(
                "select $2 = any (pg_blocking_pids($1))", pids[0], holder
            )

        await until(waits_or_is_done)
        assert not task.done(), "it waited for nothing"
    await asyncio.wait([task])
    return task


async def test_commands_are_queued_one_after_the_other(operator: Operator) -> None:
    """So a command's number is no lower than that of any which was there before it."""
    first = asyncio.get_running_loop().create_future()

    async def queue_first(connection: Connection) -> None:
        first.set_result(await queue(connection))

    second = await in_the_meantime(operator, queue_first, queue)
    assert await second > await first


async def test_no_command_is_queued_at_a_station_that_is_retired_meanwhile(
    operator: Operator,
) -> None:
    async def retire(connection: Connection) -> None:
        await stations.retire_station(connection, station=A, now=NOW, actor="aida")

    queued = await in_the_meantime(operator, retire, queue)
    with pytest.raises(Conflict):
        await queued


async def test_a_command_is_not_sent_on_a_socket_that_a_newer_one_replaces_meanwhile(
    operator: Operator,
) -> None:
    epoch = await done(operator, open_socket)
    number = await done(operator, queue)
    claimed = await in_the_meantime(
        operator, open_socket, lambda connection: claim(connection, A, epoch, NOW)
    )
    assert await claimed is None
    async with operator.db.connection() as connection:
        assert (await stations.get_command(connection, number)).state == "queued"


async def test_a_newer_socket_times_out_what_was_sent_on_the_one_before_meanwhile(
    operator: Operator,
) -> None:
    epoch = await done(operator, open_socket)
    number = await done(operator, queue)
    await in_the_meantime(
        operator, lambda connection: claim(connection, A, epoch, NOW), open_socket
    )
    async with operator.db.connection() as connection:
        assert (await stations.get_command(connection, number)).state == "timed_out"


async def test_a_command_that_is_dropped_meanwhile_leaves_its_turn_to_the_next(
    operator: Operator,
) -> None:
    epoch = await done(operator, open_socket)
    dropped, following = await done(operator, queue), await done(operator, queue)
    claimed = await in_the_meantime(
        operator,
        lambda connection: stations.drop_command(connection, dropped, NOW),
        lambda connection: claim(connection, A, epoch, NOW),
    )
    command = await claimed
    assert command is not None
    assert command.id == following


async def test_of_two_nodes_the_second_finds_a_command_in_flight(operator: Operator) -> None:
    epoch = await done(operator, open_socket)
    await done(operator, queue)
    await done(operator, queue)
    claimed = await in_the_meantime(
        operator,
        lambda connection: claim(connection, A, epoch, NOW),
        lambda connection: claim(connection, A, epoch, NOW),
    )
    assert await claimed is None


async def test_a_start_sees_what_was_changed_while_it_waited(operator: Operator) -> None:
    async def change(connection: Connection) -> None:
        await stations.change_station(
            connection, station=A, change=StationChange(availability="inoperative", connector=1),
            now=NOW, actor="aida",
        )  # fmt: skip

    async def lock_for_start(connection: Connection) -> str:
        return await connection.fetchval(
            "select connector_availability from stations.lock_for_start($1, 1, 'x')",
            stations.key_of(A),
        )

    locked = await in_the_meantime(operator, change, lock_for_start)
    assert await locked == "inoperative"


async def test_a_second_start_waits_for_the_first_one(operator: Operator) -> None:
    async def lock_for_start(connection: Connection) -> int:
        return await connection.fetchval(
            "select count(*) from stations.lock_for_start($1, 1, 'x')", stations.key_of(A)
        )

    locked = await in_the_meantime(operator, lock_for_start, lock_for_start)
    assert await locked == 1
