"""A whole process with channels set: what a slice opens reaches the operator."""

from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from evpower.alerts import open_alert
from evpower.bootstrap.server import build
from evpower.config import Settings
from evpower.foundation.db import Database
from tests.alerts.receivers import (
    mail_settings,
    running_mailbox,
    running_receiver,
    webhook_settings,
)
from tests.waiting import until


async def test_an_alert_is_mailed_and_posted_by_a_process(db: Database, dsn: str) -> None:
    async with running_receiver() as receiver, running_mailbox() as mailbox:
        values: dict[str, Any] = webhook_settings(receiver) | mail_settings(mailbox)
        settings = Settings(
            _env_file=None,  # pyright: ignore[reportCallIssue]
            env="development",
            database_url=SecretStr(dsn),
            supabase_url="http://127.0.0.1:1",
            supabase_secret_key=SecretStr("sb_secret_1"),
            **values,
        )
        app = build(settings, "worker")
        async with app.router.lifespan_context(app):
            async with db.transaction() as connection:
                await open_alert(connection, "stop_not_obeyed", "a session", {}, datetime.now(UTC))
            await until(lambda: receiver.calls and mailbox.mails)
    assert receiver.types == ["alert.opened"]
    [mail] = mailbox.mails
    assert "a session" in mail["Subject"]
