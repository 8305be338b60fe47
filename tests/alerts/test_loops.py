"""A background loop that stands still is an alert, until it runs again."""

from datetime import UTC, datetime

import pytest

from evpower.alerts import list_alerts
from evpower.alerts.upkeep import upkeep_loop, watch_loops
from evpower.foundation import loop_rounds
from evpower.foundation.db import Connection, Database
from evpower.foundation.loops import Record, Round

NOW = datetime(2026, 12, 1, 6, tzinfo=UTC)


async def ran(db: Database, node: str, *, idle_s: float = 0.0, loop: str = "relay") -> None:
    """A node stores the rounds of a loop whose last one ended so long ago."""
    clock_s = [0.0]
    record = Record(loop, 1.0, lambda: clock_s[0], lambda: NOW)
    record.start()
    clock_s[0] = idle_s
    async with db.connection() as connection:
        await loop_rounds.store(connection, node, [record])


async def lost(owner: Connection, node: str, minutes: int = 5) -> None:
    await owner.execute(
        "update foundation.loop_rounds set seen_at = now() - make_interval(mins => $2),"
        " idle_since = now() - make_interval(mins => $2) where node = $1",
        node,
        minutes,
    )


async def standing(db: Database) -> list[tuple[str, list[str]]]:
    async with db.transaction() as connection:
        await watch_loops(connection, lambda: NOW)
        alerts = await list_alerts(connection, kinds=["loop_overdue"])
    return [(alert.subject, alert.detail["nodes"]) for alert in alerts]


async def test_one_that_stands_still_on_a_node_until_it_runs(db: Database) -> None:
    await ran(db, "a")
    await ran(db, "b", idle_s=61)
    assert await standing(db) == [("relay", ["b"])]
    assert await standing(db) == [("relay", ["b"])]
    await ran(db, "b")
    assert await standing(db) == []


async def test_a_node_that_was_killed_and_came_back_is_none(
    db: Database, owner: Connection
) -> None:
    await ran(db, "a:1")
    await lost(owner, "a:1")
    await ran(db, "a:2")
    assert await standing(db) == []


async def test_one_that_no_node_runs_until_one_does(db: Database, owner: Connection) -> None:
    await ran(db, "a")
    await lost(owner, "a")
    assert await standing(db) == [("relay", ["a"])]
    await owner.execute("delete from foundation.loop_rounds")  # after an hour
    assert await standing(db) == [("relay", ["a"])]
    await ran(db, "b")
    assert await standing(db) == []


async def test_the_loop_of_the_alerts_does_it_all(db: Database) -> None:
    await ran(db, "b", idle_s=61)
    loop = upkeep_loop(db, lambda: NOW, ["webhook"])
    await loop._work(Round())
    async with db.connection() as connection:
        assert len(await list_alerts(connection)) == 1


@pytest.mark.parametrize("count", [0, 1])
async def test_an_open_one_is_not_counted_each_time(db: Database, count: int) -> None:
    await ran(db, "b", idle_s=61)
    for _ in range(count + 1):
        await standing(db)
    async with db.connection() as connection:
        assert [alert.count for alert in await list_alerts(connection)] == [1]
