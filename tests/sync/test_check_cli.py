"""`evpower sync check` and what `evpower sync status` says of it."""

import os
import subprocess
import sys

import orjson
import pytest

from evpower.foundation.db import Connection
from evpower.sync import Relay
from tests.sync.checking import empty, give_users, past_every_guard
from tests.sync.scenario import Scenario, Target, by_hand
from tests.waiting import COMMAND_S, WAIT_LIMIT_S


@pytest.mark.parametrize("target", ["fresh_project"], indirect=True)
async def test_check_shows_some_and_says_where_the_rest_is(
    dsn: str, target: Target, scenario: Scenario, relay: Relay, there: Connection
) -> None:
    await empty(there)
    await scenario.clients(25)
    await give_users(scenario, there)
    await relay.drain()
    lost = await scenario.db.fetchval("select id from identity.clients order by id desc limit 1")
    async with by_hand(there):
        await there.execute("update public.clients set balance = 3")
    async with past_every_guard(there):
        await there.execute(f"delete from auth.users where id = '{lost}'")
    env = {
        "PATH": os.environ["PATH"],
        "EVPOWER_ENV": "development",
        "EVPOWER_DATABASE_URL": dsn,
        "EVPOWER_SUPABASE_URL": target.local.url,
        "EVPOWER_SUPABASE_SECRET_KEY": target.local.secret_key,
        "EVPOWER_SUPABASE_PUBLISHABLE_KEY": target.local.publishable_key,
        "EVPOWER_SUPABASE_JWT_SECRET": "x" * 40,
        "EVPOWER_SUPABASE_TIMEOUT_S": str(WAIT_LIMIT_S),
    }

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "evpower", "sync", *words],
            capture_output=True, text=True, timeout=COMMAND_S, env=env, check=False,
        )  # fmt: skip

    checked = run("check")
    assert checked.returncode == 1
    assert checked.stdout.count("balance differs (balance_minor)") == 20
    assert f"profile {lost}: reported: no user in Supabase Auth" in checked.stdout
    assert "and 5 more: select * from sync.drift where run_id = 1" in checked.stdout
    assert "25 differ" in checked.stderr
    output = orjson.loads(run("check", "--json").stdout)
    assert (output["run"], output["users"], output["drift"], output["notices"]) == (2, 25, 25, 1)
    repaired = run("check", "--repair")
    assert repaired.returncode == 0, repaired.stderr
    assert "equal, 25 repaired" in repaired.stdout
    status = run("status")
    assert "drift      0 and 1 worth knowing" in status.stdout
    assert "on demand" in status.stdout
    assert "25 clients, 25 differed, 25 repaired" in status.stdout
    (last,) = orjson.loads(run("status", "--json").stdout)["runs"]
    assert (last["kind"], last["closed"], last["error"]) == ("on_demand", 25, None)
