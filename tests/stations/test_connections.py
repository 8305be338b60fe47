"""Sockets of stations: which one is the newest, and whether a station is online."""

import asyncio
from datetime import datetime, timedelta

import pytest

from evpower import stations
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, NotFound
from evpower.stations import Touch
from evpower.stations.jobs import end_commands
from evpower.stations.model import Opened
from tests.stations.scenario import NOW, Operator, claim

S = timedelta(seconds=1)


async def connect(operator: Operator, at: datetime = NOW, node: str = "n1") -> Opened:
    async with operator.db.transaction() as connection:
        return await stations.open_connection(
            connection,
            "A",
            address="10.0.0.1",
            version="ocpp1.6",
            is_authenticated=True,
            node=node,
            now=at,
        )


async def close(operator: Operator, epoch: int, reason: stations.DisconnectReason = "lost") -> None:
    async with operator.db.transaction() as connection:
        await stations.close_connection(connection, "A", epoch, reason, now=NOW + S)


async def frame(operator: Operator, *touches: Touch) -> None:
    async with operator.db.transaction() as connection:
        await stations.touch(connection, touches)


async def online(operator: Operator, at: datetime) -> bool:
    async with operator.db.connection() as connection:
        is_online = await stations.is_online(connection, "A", at)
        assert is_online == (await stations.get_station(connection, "A")).is_online(at)
        return is_online


@pytest.fixture(autouse=True)
async def stored(operator: Operator) -> None:
    await operator.add("A")
    await operator.add("B")


async def test_the_newest_socket_replaces_the_one_before(operator: Operator) -> None:
    first = await connect(operator)
    second = await connect(operator, NOW + S, "n2")
    assert (first.replaced, second.replaced) == (None, first.epoch)
    assert second.epoch > first.epoch
    async with operator.db.connection() as connection:
        log = await stations.list_connections(connection, "A", 10)
    assert [(entry.id, entry.close_reason) for entry in log] == [
        (second.epoch, None), (first.epoch, "replaced"),
    ]  # fmt: skip


async def test_of_sockets_at_one_moment_one_is_the_newest(
    operator: Operator, owner: Connection
) -> None:
    opened = await asyncio.gather(*(connect(operator, NOW, f"n{node}") for node in range(5)))
    newest = max(entry.epoch for entry in opened)
    assert await owner.fetchval("select epoch from stations.sockets") == newest
    assert (
        await owner.fetchval("select count(*) from stations.connections where closed_at is null")
        == 1
    )


async def test_an_old_sockets_clean_up_leaves_the_new_one(operator: Operator) -> None:
    first = await connect(operator)
    await connect(operator, NOW + S)
    await close(operator, first.epoch)
    await frame(operator, Touch("A", first.epoch, NOW + 1000 * S))
    assert (await operator.show("A")).is_connected
    assert not await online(operator, NOW + 500 * S)


async def test_a_second_close_keeps_the_first_reason(operator: Operator) -> None:
    opened = await connect(operator)
    await close(operator, opened.epoch, "station")
    await close(operator, opened.epoch, "lost")
    async with operator.db.connection() as connection:
        [entry] = await stations.list_connections(connection, "A", 10)
    assert entry.close_reason == "station"


async def test_a_station_is_online_for_90_s_after_a_frame(operator: Operator) -> None:
    assert not await online(operator, NOW)
    opened = await connect(operator)
    assert await online(operator, NOW + 89 * S)
    assert not await online(operator, NOW + 90 * S)
    await frame(operator, Touch("A", opened.epoch, NOW + 60 * S), Touch("B", 99, NOW))
    await frame(operator, Touch("A", opened.epoch, NOW + 30 * S))
    assert await online(operator, NOW + 149 * S)
    await close(operator, opened.epoch)
    assert await online(operator, NOW + 149 * S)


async def test_a_retired_station_is_not_online_and_opens_nothing(operator: Operator) -> None:
    await connect(operator)
    await operator.retire("A")
    assert not await online(operator, NOW + S)
    with pytest.raises(Conflict):
        await connect(operator)


async def test_a_station_that_is_none_opens_nothing(operator: Operator) -> None:
    async with operator.db.transaction() as connection:
        with pytest.raises(NotFound):
            await stations.open_connection(
                connection, "X", address="a", version="ocpp1.6", is_authenticated=True, node="n",
                now=NOW,
            )  # fmt: skip


async def test_the_connection_of_a_dead_node_is_closed(operator: Operator) -> None:
    opened = await connect(operator)
    await frame(operator, Touch("A", opened.epoch, NOW + 60 * S))
    for minutes, is_connected in ((60, True), (62, False)):
        await end_commands(operator.db, LocalBus(), NOW + timedelta(minutes=minutes))
        assert (await operator.show("A")).is_connected == is_connected
    async with operator.db.connection() as connection:
        [entry] = await stations.list_connections(connection, "A", 10)
    assert entry.close_reason == "node_lost"


async def test_old_entries_of_the_logs_are_deleted_except_what_commands_name(
    operator: Operator, owner: Connection
) -> None:
    old = await connect(operator)
    with_command = await connect(operator, NOW + S)
    async with operator.db.transaction() as connection:
        await stations.queue_command(
            connection, "A", "clear_cache", {}, actor="aida", expires_in=60 * S, now=NOW
        )
        sent = await claim(connection, "A", with_command.epoch, NOW + S)
    assert sent is not None
    last = await connect(operator, NOW + 2 * S)
    await owner.execute("alter table stations.connections disable trigger connections_stay")
    await owner.execute(
        "update stations.connections set opened_at = '2020-01-01Z', closed_at = '2020-01-02Z',"
        " close_reason = 'lost'"
    )
    await owner.execute("alter table stations.connections enable trigger connections_stay")
    await owner.execute(
        "insert into stations.status_log (station_id, connector, status, received_at)"
        " values ('A', 1, 'available', '2020-01-01Z'), ('A', 1, 'charging', now())"
    )
    async with operator.db.transaction() as connection:
        assert await connection.fetchval("select stations.purge_logs('2021-01-01Z', 500)") == 1
    ids = [
        row["id"] for row in await owner.fetch("select id from stations.connections order by id")
    ]
    assert ids == [with_command.epoch, last.epoch]
    assert old.epoch not in ids
    assert await owner.fetchval("select status from stations.status_log") == "charging"


async def test_what_is_young_is_not_deleted_whatever_is_asked(
    operator: Operator, owner: Connection
) -> None:
    await owner.execute(
        "insert into stations.status_log (station_id, connector, status, received_at)"
        " values ('A', 1, 'available', now() - interval '29 days')"
    )
    async with operator.db.transaction() as connection:
        assert await connection.fetchval("select stations.purge_logs('9999-01-01Z', 500)") == 0
