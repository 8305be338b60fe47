"""Alerts of the sync: changes that are late, refused ones, differences."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from evpower.alerts import list_alerts
from evpower.foundation.db import Connection, Database
from evpower.sync.alarms import watch_sync

NOW = datetime(2026, 12, 1, 6, tzinfo=UTC)


async def watched(db: Database) -> set[str]:
    async with db.transaction() as connection:
        await watch_sync(connection, NOW)
        return {alert.kind for alert in await list_alerts(connection)}


async def aged(owner: Connection, seconds: int) -> None:
    await owner.execute(
        """
        update sync.pending set (since, next_at) = (select at, at
          from (select clock_timestamp() - make_interval(secs => $1)) as aged (at))
        """,
        seconds,
    )


async def test_a_change_that_waits_for_5_minutes_until_none_waits_for_1(
    db: Database, owner: Connection
) -> None:
    await owner.execute("insert into identity.clients (id, origin) values ($1, 'import')", uuid4())
    await aged(owner, 290)
    assert await watched(db) == set()
    await aged(owner, 310)
    assert await watched(db) == {"outbox_lag"}
    await aged(owner, 70)
    assert await watched(db) == {"outbox_lag"}
    await aged(owner, 50)
    assert await watched(db) == set()


async def test_a_change_that_supabase_refused(db: Database, owner: Connection) -> None:
    await owner.execute("insert into identity.clients (id, origin) values ($1, 'import')", uuid4())
    await owner.execute("update sync.pending set parked_at = now(), last_error = 'no'")
    assert await watched(db) == {"outbox_parked"}
    await owner.execute("delete from sync.pending")
    assert await watched(db) == set()


async def test_an_open_difference_and_no_notice(db: Database, owner: Connection) -> None:
    drift = (
        "insert into sync.drift (topic, key, right_side, action, notice)"
        " values ('client', $1, 'evpower', 'send', $2)"
    )
    await owner.execute(drift, "a", True)
    assert await watched(db) == set()
    await owner.execute(drift, "b", False)
    assert await watched(db) == {"drift_open"}
    await owner.execute("update sync.drift set closed_at = now()")
    assert await watched(db) == set()


async def test_a_way_to_supabase_that_is_down_for_5_minutes(
    db: Database, owner: Connection
) -> None:
    down = (
        "insert into sync.targets (name, state, error, since)"
        " values ('changes', 'down', 'away', $1)"
        " on conflict (name) do update set state = 'down', since = $1"
    )
    await owner.execute(down, NOW - timedelta(minutes=4))
    assert await watched(db) == set()
    await owner.execute(down, NOW - timedelta(minutes=6))
    assert await watched(db) == {"supabase_down"}
    await owner.execute("update sync.targets set state = 'up', error = null")
    assert await watched(db) == set()
