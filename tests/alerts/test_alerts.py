"""Alerts: one open of a kind and subject, counted, closed once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY

from evpower.alerts import Alert, close_alert, list_alerts, open_alert
from evpower.alerts.module import measure
from evpower.alerts.open_close import close_unseen, set_alerts, set_level
from evpower.foundation.db import Connection, Database

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


async def opened(db: Database, at: datetime = NOW, subject: str = "EVP-001", **detail: Any) -> bool:
    async with db.transaction() as connection:
        return await open_alert(connection, "start_after_stop", subject, detail, at)


async def closed(db: Database, at: datetime, subject: str = "EVP-001") -> bool:
    async with db.transaction() as connection:
        return await close_alert(connection, "start_after_stop", subject, at)


async def listed(db: Database, **filters: Any) -> list[Alert]:
    async with db.connection() as connection:
        return await list_alerts(connection, **filters)


async def test_what_is_open_is_counted_and_not_opened_again(db: Database) -> None:
    assert await opened(db, connector=1)
    assert not await opened(db, NOW + timedelta(seconds=9), connector=2)
    [alert] = await listed(db)
    assert (alert.kind, alert.subject, alert.count) == ("start_after_stop", "EVP-001", 2)
    assert dict(alert.detail) == {"connector": 2}
    assert alert.last_seen_at - alert.opened_at == timedelta(seconds=9)


async def test_a_closed_one_is_kept_and_may_open_anew(db: Database) -> None:
    await opened(db)
    assert await closed(db, NOW + timedelta(minutes=1))
    assert not await closed(db, NOW + timedelta(minutes=2))
    assert await listed(db) == []
    assert await opened(db, NOW + timedelta(minutes=3))
    assert [alert.closed_at is None for alert in await listed(db, with_closed=True)] == [
        True, False,
    ]  # fmt: skip


async def test_they_are_found_by_kind_and_subject(db: Database) -> None:
    await opened(db)
    await opened(db, subject="EVP-002")
    assert [alert.subject for alert in await listed(db, subject="EVP-002")] == ["EVP-002"]
    assert await listed(db, kinds=["other"]) == []
    assert len(await listed(db, limit=1)) == 1


async def test_open_ones_are_a_gauge(db: Database) -> None:
    await opened(db)
    await opened(db, subject="EVP-002")
    await measure(db, [], lambda: NOW)
    labels = {"kind": "start_after_stop", "severity": "info"}
    assert REGISTRY.get_sample_value("evpower_alerts_open", labels) == 2
    await closed(db, NOW)
    await closed(db, NOW, "EVP-002")
    await measure(db, [], lambda: NOW)
    assert REGISTRY.get_sample_value("evpower_alerts_open", labels) is None


@pytest.mark.parametrize(
    "forgery",
    [
        "delete from alerts.alerts",
        "update alerts.alerts set subject = 'EVP-009'",
        "update alerts.alerts set opened_at = now()",
        "update alerts.alerts set count = 1",
    ],
)
async def test_what_was_recorded_stays(db: Database, owner: Connection, forgery: str) -> None:
    for _ in range(2):
        await opened(db)
    with pytest.raises((asyncpg.RestrictViolationError, asyncpg.CheckViolationError)):
        await owner.execute(forgery)
    await closed(db, NOW)
    with pytest.raises(asyncpg.RestrictViolationError):
        await owner.execute("update alerts.alerts set closed_at = null")


async def test_a_measured_kind_opens_and_closes_by_what_is_measured(db: Database) -> None:
    async def measured(minute: int, **causes: dict[str, Any]) -> list[tuple[str, int, Any]]:
        async with db.transaction() as connection:
            await set_alerts(
                connection, "certificate_expiring", causes, NOW + timedelta(minutes=minute)
            )
        return [(alert.subject, alert.count, alert.detail) for alert in await listed(db)]

    assert await measured(0, a={"n": 1}, b={}) == [("b", 1, {}), ("a", 1, {"n": 1})]
    assert await measured(1, a={"n": 2}, b={}) == [("b", 1, {}), ("a", 1, {"n": 2})]
    assert await measured(2, b={}) == [("b", 1, {})]
    assert await measured(3) == []


async def test_a_level_about_its_threshold_does_not_flap(db: Database) -> None:
    async def level(value: float) -> bool:
        async with db.transaction() as connection:
            await set_level(
                connection, "outbox_lag", "supabase", value,
                opens_over=300, closes_at=60, detail={}, now=NOW,
            )  # fmt: skip
        return bool(await listed(db))

    assert [await level(value) for value in (300, 301, 299, 61, 60, 61)] == [
        False, True, True, True, False, False,
    ]  # fmt: skip


async def test_what_is_not_seen_any_more_closes_after_the_time_of_its_kind(db: Database) -> None:
    await opened(db)
    async with db.transaction() as connection:
        await open_alert(connection, "stop_unmatched", "EVP-001", {}, NOW)
        await open_alert(connection, "session_quarantined", "a session", {}, NOW)

    async def after(hours: float) -> set[str]:
        async with db.transaction() as connection:
            await close_unseen(connection, NOW + timedelta(hours=hours))
        return {alert.kind for alert in await listed(db)}

    assert await after(24) == {"start_after_stop", "stop_unmatched", "session_quarantined"}
    assert await after(24.1) == {"stop_unmatched", "session_quarantined"}
    assert await after(168.1) == {"session_quarantined"}
    assert await after(9_999) == {"session_quarantined"}  # an operator decides
