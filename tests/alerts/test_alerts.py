"""Alerts: one open of a kind and subject, counted, closed once."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from evpower.alerts import Alert, close_alert, list_alerts, open_alert
from evpower.alerts.module import measure
from evpower.cli.app import app
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
    assert await listed(db, kind="other") == []
    assert len(await listed(db, limit=1)) == 1


async def test_open_ones_are_a_gauge(db: Database) -> None:
    await opened(db)
    await opened(db, subject="EVP-002")
    await measure(db)
    labels = {"kind": "start_after_stop"}
    assert REGISTRY.get_sample_value("evpower_alerts_open", labels) == 2
    await closed(db, NOW)
    await closed(db, NOW, "EVP-002")
    await measure(db)
    assert REGISTRY.get_sample_value("evpower_alerts_open", labels) is None


@pytest.mark.parametrize(
    "forgery",
    [
        "delete from alerts.alerts",
        "update alerts.alerts set subject = 'EVP-009'",
        "update alerts.alerts set opened_at = now()",
        "update alerts.alerts set count = 0",
    ],
)
async def test_what_was_recorded_stays(db: Database, owner: Connection, forgery: str) -> None:
    await opened(db)
    with pytest.raises((asyncpg.RestrictViolationError, asyncpg.CheckViolationError)):
        await owner.execute(forgery)
    await closed(db, NOW)
    with pytest.raises(asyncpg.RestrictViolationError):
        await owner.execute("update alerts.alerts set closed_at = null")


async def test_the_command_lists_them(db: Database, dsn: str) -> None:
    def run(*options: str) -> str:
        env = {"EVPOWER_DATABASE_URL": dsn}
        with ThreadPoolExecutor(1) as pool:  # a command runs an event loop of its own
            words = ["alert", "list", *options]
            done = pool.submit(lambda: CliRunner().invoke(app, words, env=env)).result()
        assert done.exit_code == 0, done.stderr
        return done.stdout

    assert run() == "no alerts\n"
    await opened(db, connector=1)
    assert "start_after_stop  EVP-001  1 time" in run()
    [row] = json.loads(run("--json", "--kind", "start_after_stop"))
    assert (row["kind"], row["subject"], row["detail"], row["closed_at"]) == (
        "start_after_stop", "EVP-001", {"connector": 1}, None,
    )  # fmt: skip
