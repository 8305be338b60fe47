"""`evpower alert`: list, show, acknowledge, test-delivery, and doctor's line."""

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from evpower.alerts import AlertKind, open_alert
from evpower.cli.app import app
from evpower.cli.doctor_alerts import look_at_alerts
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from tests.alerts.receivers import SECRET, Mailbox, Receiver, running_mailbox, running_receiver

NOON = datetime(2026, 12, 1, 6, tzinfo=UTC)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as receiver:
        yield receiver


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with running_mailbox() as mailbox:
        yield mailbox


async def alert(dsn: str, *words: str, **env: str) -> Result:
    """In a thread of its own: a command runs an event loop of its own, and this one serves."""
    names = {"EVPOWER_DATABASE_URL": dsn, "EVPOWER_ENV": "development"} | env
    with ThreadPoolExecutor(1) as pool:
        call = lambda: CliRunner().invoke(app, ["alert", *words], env=names)  # noqa: E731
        return await asyncio.get_running_loop().run_in_executor(pool, call)


async def opened(db: Database, kind: AlertKind = "start_after_stop", at: datetime = NOON) -> int:
    async with db.transaction() as connection:
        await open_alert(connection, kind, "EVP-001", {"connector": 1}, at)
        return await connection.fetchval("select max(id) from alerts.alerts")


async def test_list_has_the_open_ones(db: Database, dsn: str) -> None:
    assert (await alert(dsn, "list")).stdout == "no alerts\n"
    alert_id = await opened(db)
    line = (await alert(dsn, "list")).stdout
    assert f"open    #{alert_id}  info  start_after_stop  EVP-001  1 time" in line
    assert "kind is one of" in (await alert(dsn, "list", "--kind", "start_after_stp")).stderr
    [row] = json.loads((await alert(dsn, "list", "--json", "--kind", "start_after_stop")).stdout)
    assert (row["id"], row["kind"], row["subject"], row["detail"], row["closed_at"]) == (
        alert_id, "start_after_stop", "EVP-001", {"connector": 1}, None,
    )  # fmt: skip


async def test_show_says_what_to_do_in_each_language(db: Database, dsn: str) -> None:
    alert_id = await opened(db)
    text = (await alert(dsn, "show", str(alert_id))).stdout
    assert "en  A station sent a start again" in text
    assert "ru  Станция повторила старт" in text
    assert "ky  Станция мурда токтоткон" in text
    unknown = await alert(dsn, "show", str(alert_id + 1))
    assert (unknown.exit_code, "there is no alert" in unknown.stderr) == (1, True)


async def test_acknowledge_stores_who_and_why(db: Database, dsn: str) -> None:
    alert_id = await opened(db)
    done = await alert(
        dsn, "acknowledge", str(alert_id), "--operator", "aida", "--note", "Bek drives there"
    )
    assert "by operator:aida: Bek drives there" in done.stdout
    row = json.loads((await alert(dsn, "show", str(alert_id), "--json")).stdout)
    assert (row["acknowledged_by"], row["closed_at"]) == ("operator:aida", None)


def webhook(receiver: Receiver) -> dict[str, str]:
    return {
        "EVPOWER_ALERT_WEBHOOK_URL": receiver.url, "EVPOWER_ALERT_WEBHOOK_SECRET": SECRET,
    }  # fmt: skip


def mail(port: int) -> dict[str, str]:
    return {
        "EVPOWER_ALERT_SMTP_URL": f"smtp+plain://127.0.0.1:{port}",
        "EVPOWER_ALERT_EMAIL_FROM": "alerts@example.kg",
        "EVPOWER_ALERT_EMAIL_TO": "aida@example.kg",
    }


async def test_a_test_goes_through_each_channel(
    dsn: str, receiver: Receiver, mailbox: Mailbox
) -> None:
    done = await alert(dsn, "test-delivery", **webhook(receiver), **mail(mailbox.port))
    assert done.exit_code == 0, done.stderr
    assert done.stdout == "ok   webhook: accepted\nok   email: accepted\n"
    assert receiver.types == ["alert.test"]
    [received] = mailbox.mails
    assert "проверка" in received["Subject"]


async def test_a_channel_that_fails_is_named_with_its_reason(
    dsn: str, receiver: Receiver, mailbox: Mailbox
) -> None:
    receiver.answers = [403]
    mailbox.refused = {"aida@example.kg"}
    done = await alert(dsn, "test-delivery", **webhook(receiver), **mail(mailbox.port))
    assert done.exit_code == 1
    assert "bad  webhook: HTTP 403" in done.stdout
    assert "bad  email: every recipient was refused: aida@example.kg: 550" in done.stdout


async def test_without_a_channel_nothing_is_tried(dsn: str) -> None:
    done = await alert(dsn, "test-delivery")
    assert (done.exit_code, "no channel is set" in done.stderr) == (1, True)


async def test_settings_that_make_no_sense_are_named(dsn: str) -> None:
    done = await alert(dsn, "test-delivery", EVPOWER_ALERT_WEBHOOK_URL="https://x.example/hook")
    assert (done.exit_code, "EVPOWER_ALERT_WEBHOOK_SECRET" in done.stderr) == (1, True)


def settings(dsn: str, **values: Any) -> Settings:
    return Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        env="development",
        database_url=SecretStr(dsn),
        **values,
    )


async def test_doctor_says_what_is_open_and_what_is_not_sent(
    db: Database, owner: Connection, dsn: str
) -> None:
    [quiet] = await look_at_alerts(settings(dsn))
    assert (quiet.ok, "none open; not sent" in quiet.detail) == (True, True)
    await opened(db, "loop_overdue", utc_now() - timedelta(hours=2))
    await owner.execute(
        "update alerts.messages set attempts = 3, error = 'HTTP 500' where channel = 'webhook'"
    )
    hook = {
        "alert_webhook_url": SecretStr("https://hooks.example/x"),
        "alert_webhook_secret": SecretStr(SECRET),
    }
    listed, channel = await look_at_alerts(settings(dsn, **hook))
    assert (listed.ok, listed.detail) == (False, "1 open, 1 of them grave")
    assert (channel.ok, channel.name, channel.detail) == (
        False, "alerts by webhook", "1 waiting: HTTP 500",
    )  # fmt: skip


async def test_doctor_without_a_database_says_it_once() -> None:
    assert await look_at_alerts(settings("postgres://stranger@127.0.0.1:1/none")) == []
