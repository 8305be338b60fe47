"""Raw frames stand in a partition for each day; those that came without one are an alert."""

from datetime import UTC, datetime, timedelta

from evpower.alerts import list_alerts
from evpower.foundation.db import Connection, Database
from evpower.ocpp import store
from evpower.ocpp.module import keep_frame_days

NOW = datetime(2026, 12, 1, 6, tzinfo=UTC)


async def partition_alerts(db: Database, now: datetime) -> list[tuple[str, dict[str, list[str]]]]:
    async with db.transaction() as connection:
        await keep_frame_days(connection, 90, now)
        return [(alert.subject, dict(alert.detail)) for alert in await list_alerts(connection)]


async def frame(owner: Connection, at: datetime) -> None:
    await owner.execute(
        "insert into ocpp.frames (station_id, received_at, direction, frame)"
        " values ('S1', $1, 'in', '[]')",
        at,
    )


async def test_frames_without_a_partition_are_an_alert_until_the_next_round(
    db: Database, owner: Connection
) -> None:
    assert await partition_alerts(db, NOW) == []
    await frame(owner, NOW + timedelta(days=8))
    assert await partition_alerts(db, NOW) == [("ocpp.frames", {"days": ["2026-12-09"]})]
    assert await owner.fetchval("select count(*) from ocpp.frames") == 1
    assert await partition_alerts(db, NOW) == []


async def test_an_answer_is_known_for_30_days(db: Database, owner: Connection) -> None:
    """A station repeats for days what it got no answer to, and no longer."""
    for number, days in enumerate((29, 31)):
        await owner.execute(
            "insert into ocpp.answers (key, answer, received_at) values ($1, '{}', $2)",
            bytes([number] * 16),
            NOW - timedelta(days=days),
        )
    async with db.transaction() as connection:
        assert await store.delete_answers(connection, NOW, 100) == 1
    assert await owner.fetchval("select key from ocpp.answers") == bytes(16)
