"""The queue of commands: one in flight a station, none after it expired."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from evpower import stations
from evpower.foundation.bus import Bus, LocalBus, Topic
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.stations import STATION_CHANGED, Command, station_key
from evpower.stations.commands import end_overdue
from evpower.stations.jobs import end_commands
from evpower.stations.model import CommandOutcome, Opened
from tests.stations import scenario
from tests.stations.scenario import NOW, Operator
from tests.stations.test_connections import close, connect

S = timedelta(seconds=1)


@pytest.fixture(autouse=True)
async def stored(operator: Operator) -> None:
    await operator.add("A")


@pytest.fixture
async def socket(operator: Operator) -> Opened:
    return await connect(operator)


async def queue(operator: Operator, action: str = "clear_cache", expires: int = 60) -> Command:
    async with operator.db.transaction() as connection:
        return await stations.queue_command(
            connection,
            "A",
            cast("stations.CommandAction", action),
            {"n": 1},
            actor="aida",
            expires_in=timedelta(seconds=expires),
            now=NOW,
        )


async def claim(operator: Operator, epoch: int, at: datetime = NOW) -> Command | None:
    async with operator.db.transaction() as connection:
        return await scenario.claim(connection, "A", epoch, at)


async def end(
    operator: Operator, command: Command, state: CommandOutcome, response: Any = None
) -> Command | None:
    async with operator.db.transaction() as connection:
        return await stations.end_command(connection, command.id, state, response, NOW + S)


async def state(operator: Operator, command: Command) -> str:
    async with operator.db.connection() as connection:
        return (await stations.get_command(connection, command.id)).state


async def waiting(operator: Operator, at: datetime = NOW) -> list[str]:
    async with operator.db.connection() as connection:
        return await stations.list_waiting(connection, at)


async def test_commands_are_sent_in_their_order_one_at_a_time(
    operator: Operator, socket: Opened
) -> None:
    first, second = await queue(operator), await queue(operator)
    assert await waiting(operator) == ["A"]
    sent = await claim(operator, socket.epoch)
    assert sent is not None
    assert (sent.id, sent.state, sent.epoch, sent.payload) == (
        first.id, "sent", socket.epoch, {"n": 1},
    )  # fmt: skip
    assert await claim(operator, socket.epoch) is None
    assert await waiting(operator) == []
    ended = await end(operator, first, "accepted", {"status": "Accepted"})
    assert ended is not None
    assert ended.response == {"status": "Accepted"}
    sent = await claim(operator, socket.epoch)
    assert sent is not None
    assert sent.id == second.id


async def test_the_oldest_is_sent_first_wherever_it_is_stored(
    operator: Operator, socket: Opened, owner: Connection
) -> None:
    await owner.execute(
        "insert into stations.commands (id, station_id, action, actor, expires_at)"
        " overriding system value"
        " select id, 'A', 'clear_cache', 'aida', $1 from unnest($2::bigint[]) id",
        NOW + S,
        [90, 70, 80],
    )
    async with operator.db.transaction() as connection:
        for kind, is_on in (("indexscan", "off"), ("bitmapscan", "off"), ("seqscan", "on")):
            await connection.execute(f"set local enable_{kind} = {is_on}")
        sent = await scenario.claim(connection, "A", socket.epoch, NOW)
    assert sent is not None
    assert sent.id == 70


async def test_of_nodes_at_one_moment_one_sends_it(operator: Operator, socket: Opened) -> None:
    await queue(operator)
    claims = await asyncio.gather(*(claim(operator, socket.epoch) for _ in range(5)))
    assert len([command for command in claims if command is not None]) == 1


async def test_an_old_socket_sends_nothing(operator: Operator, socket: Opened) -> None:
    await queue(operator)
    await connect(operator)
    assert await claim(operator, socket.epoch) is None


async def test_an_expired_command_is_never_sent(operator: Operator, socket: Opened) -> None:
    command = await queue(operator, expires=60)
    assert await waiting(operator, NOW + 60 * S) == []
    assert await claim(operator, socket.epoch, NOW + 60 * S) is None
    async with operator.db.transaction() as connection:
        assert await end_overdue(connection, "A", NOW + 59 * S) == []
        [expired] = await end_overdue(connection, "A", NOW + 60 * S)
    assert (expired.id, expired.state, expired.sent_at) == (command.id, "timed_out", None)
    assert await end(operator, command, "accepted", {}) is None


async def test_a_late_reply_says_what_the_time_out_did_not(
    operator: Operator, socket: Opened
) -> None:
    command = await queue(operator)
    await claim(operator, socket.epoch)
    assert await end(operator, command, "timed_out") is not None
    assert await end(operator, command, "timed_out") is None
    assert await end(operator, command, "refused", {}) is not None
    assert await end(operator, command, "accepted", {}) is None
    assert await state(operator, command) == "refused"


async def test_a_command_is_dropped_while_it_is_queued(operator: Operator, socket: Opened) -> None:
    first, second = await queue(operator), await queue(operator)
    await claim(operator, socket.epoch)
    async with operator.db.transaction() as connection:
        assert not await stations.drop_command(connection, first.id, NOW)
        assert await stations.drop_command(connection, second.id, NOW)
        assert not await stations.drop_command(connection, second.id, NOW)
    assert (await state(operator, first), await state(operator, second)) == ("sent", "timed_out")


async def test_a_lost_socket_leaves_its_command_timed_out(
    operator: Operator, socket: Opened
) -> None:
    command = await queue(operator)
    await claim(operator, socket.epoch)
    newer = await connect(operator)
    assert [ended.id for ended in newer.timed_out] == [command.id]
    await queue(operator)
    sent = await claim(operator, newer.epoch)
    assert sent is not None
    await close(operator, socket.epoch)
    assert await state(operator, sent) == "sent"
    await close(operator, newer.epoch)
    assert await state(operator, sent) == "timed_out"


async def test_a_command_of_a_node_that_died_does_not_block_the_next(
    operator: Operator, socket: Opened
) -> None:
    command = await queue(operator)
    await claim(operator, socket.epoch)
    async with operator.db.transaction() as connection:
        assert await end_overdue(connection, "A", NOW + 120 * S) == []
        [lost] = await end_overdue(connection, "A", NOW + 121 * S)
    assert lost.id == command.id


async def test_the_job_tells_the_slice_above_in_its_transaction(
    operator: Operator, socket: Opened
) -> None:
    assert socket
    command = await queue(operator)
    bus, heard = LocalBus(), list[tuple[Topic, object]]()
    bus.subscribe(lambda topic, key: heard.append((topic, key)))
    given = list[int]()

    async def ended(connection: Connection, commands: Sequence[Command], now: datetime) -> Any:
        assert connection.is_in_transaction()
        assert now == NOW + 60 * S
        given.extend(command.id for command in commands)

        def publish(bus: Bus) -> None:
            bus.publish(STATION_CHANGED, station_key("A"))

        return publish

    await end_commands(operator.db, bus, NOW + 60 * S, ended)
    assert given == [command.id]
    assert heard == [(STATION_CHANGED, station_key("A"))]


@pytest.mark.parametrize(
    "response",
    [{"data": "a\x00b"}, {"a\ud800": 1}, {"n": float("inf")}, {"deep": [[[[]]]]}, {"x": None}],
)
async def test_any_reply_can_be_stored(
    operator: Operator, socket: Opened, response: dict[str, Any]
) -> None:
    command = await queue(operator)
    await claim(operator, socket.epoch)
    assert await end(operator, command, "refused", response) is not None


async def test_a_reply_of_great_depth_can_be_stored(operator: Operator, socket: Opened) -> None:
    deep: Any = {}
    for _ in range(900):
        deep = {"a": deep}
    command = await queue(operator)
    await claim(operator, socket.epoch)
    assert await end(operator, command, "accepted", deep) is not None


async def test_what_can_not_be_a_command_is_refused(operator: Operator) -> None:
    with pytest.raises(Invalid):
        await queue(operator, "explode")
    await operator.retire("A")
    with pytest.raises(Conflict):
        await queue(operator)
    async with operator.db.connection() as connection:
        with pytest.raises(NotFound):
            await stations.get_command(connection, 1)
