"""`evpower push`: keys, status, and doctor's line."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from click.testing import Result
from pydantic import SecretStr
from typer.testing import CliRunner

from evpower.cli.app import app
from evpower.cli.doctor_push import look_at_push
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection
from evpower.push import push_problems, read_private_key
from tests.push.scenario import settings_for

WAITING = """
with client as (insert into identity.clients (id, origin) values (gen_random_uuid(), 'import')
                returning id),
     device as (insert into push.devices
                  (client_id, kind, address, host, p256dh, auth, vapid_key, platform, language,
                   created_at, seen_at)
                select id, 'web', 'https://a.example/secret', 'a.example',
                       decode(repeat('04', 65), 'hex'), decode(repeat('01', 16), 'hex'), 'key',
                       'web', 'ru', $1, $1 from client returning id)
insert into push.messages
  (device_id, session_id, event, facts, created_at, due_at, expires_at, error)
select id, gen_random_uuid(), 'stopped', '{}', $1, $1, $1, 'HTTP 503' from device
"""


async def command(dsn: str, *words: str, **env: str) -> Result:
    """In a thread of its own: a command runs an event loop of its own."""
    names = {"EVPOWER_DATABASE_URL": dsn, "EVPOWER_ENV": "development"} | env
    with ThreadPoolExecutor(1) as pool:
        call = lambda: CliRunner().invoke(app, ["push", *words], env=names)  # noqa: E731
        return await asyncio.get_running_loop().run_in_executor(pool, call)


async def test_a_printed_key_is_one_that_can_be_set(dsn: str) -> None:
    done = await command(dsn, "keys")
    assert done.exit_code == 0
    [line] = done.stdout.splitlines()
    name, _, key = line.partition("=")
    assert name == "EVPOWER_PUSH_VAPID_PRIVATE_KEY"
    assert push_problems(settings_for(push_vapid_private_key=SecretStr(key))) == []
    assert read_private_key(key).public in done.stderr
    assert key not in done.stderr


async def test_status_shows_what_waits_and_no_address(dsn: str, owner: Connection) -> None:
    await owner.execute(WAITING, utc_now())
    done = await command(dsn, "status")
    assert done.exit_code == 0
    assert "not set up" in done.stdout
    assert "web  1 devices, 1 messages waiting: HTTP 503" in done.stdout
    assert "secret" not in done.stdout
    rows = json.loads((await command(dsn, "status", "--json")).stdout)
    assert rows["web_push_configured"] is False
    assert rows["kinds"]["web"]["devices"] == rows["kinds"]["web"]["waiting"] == 1
    assert rows["kinds"]["fcm"]["devices"] == 0


@pytest.mark.parametrize(
    ("late", "values", "ok"),
    [
        (timedelta(0), {}, True),
        (timedelta(hours=1), {}, False),
        (timedelta(hours=1), {"push_vapid_private_key": SecretStr("")}, True),
    ],
)
async def test_doctor_says_whether_messages_are_sent(
    dsn: str, owner: Connection, late: timedelta, values: dict[str, Any], ok: Any
) -> None:
    await owner.execute(WAITING, utc_now() - late)
    [finding] = await look_at_push(settings_for(database_url=SecretStr(dsn), **values))
    assert finding.ok is ok
    assert "1 web" in finding.detail
    assert ("HTTP 503" in finding.detail) == (ok is False)


async def test_doctor_does_not_repeat_what_is_wrong_with_the_settings(dsn: str) -> None:
    settings = settings_for(database_url=SecretStr(dsn), push_contact="")
    assert await look_at_push(settings) == []
