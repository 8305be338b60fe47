"""A long transaction in Supabase that holds changes back is seen: the log is not at its end."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from evpower.alerts import list_alerts
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.sync import Puller, status
from evpower.sync.alarms import watch_sync
from evpower.sync.inbound.model_changes import PullResult
from evpower.sync.supabase_rpc import Rpc
from tests.sync.conftest import rpc_to
from tests.sync.pulling import DrainsAll, Scripted, Supabase, emptied, page, person
from tests.sync.scenario import Scenario, Target
from tests.waiting import WAIT_LIMIT_S

LONG_AGO_S = 10 * WAIT_LIMIT_S  # longer than this test takes, however busy the machine is


@pytest.fixture
async def supabase(
    fresh_project: Target, there_fresh: Connection, http: httpx.AsyncClient
) -> Supabase:
    await emptied(fresh_project, there_fresh)
    return Supabase(fresh_project, there_fresh, http)


@pytest.fixture
def puller(db: Database, http: httpx.AsyncClient, settings: Settings, supabase: Supabase) -> Puller:
    return DrainsAll(db, rpc_to(http, supabase.target), settings, supabase.psql)


async def read_to_the_end_long_ago(scenario: Scenario) -> None:
    await scenario.db.execute(
        "update sync.cursors set checked_at = now() - make_interval(secs => $1),"
        " moved_at = now() - make_interval(secs => $1)",
        LONG_AGO_S,
    )


async def pulled(db: Database, rpc: Rpc, settings: Settings) -> PullResult:
    return await Puller(db, rpc, settings, utc_now).pull_once()


async def age_s(db: Database) -> float:
    async with db.connection() as connection:
        age = (await status(connection)).inbound.age_s
    assert age is not None
    return age


async def alarms(db: Database) -> Mapping[str, Any]:
    async with db.transaction() as connection:
        await watch_sync(connection, utc_now())
        return {alert.kind: alert.detail for alert in await list_alerts(connection)}


async def test_a_long_transaction_in_supabase_is_seen_until_it_ends(
    supabase: Supabase, puller: Puller, scenario: Scenario, db: Database
) -> None:
    client = uuid4()
    await supabase.insert_row(client, name="Aida")
    await puller.drain()
    assert await age_s(db) < LONG_AGO_S
    await read_to_the_end_long_ago(scenario)
    async with supabase.target.psql() as late:
        await late.execute("begin")
        await late.execute("select pg_current_xact_id()")
        await supabase.update_row(client, name="held back")
        assert (await puller.pull_once()).is_blocked
        assert await age_s(db) >= LONG_AGO_S
        assert (await alarms(db))["changes_lag"]["minutes"] >= LONG_AGO_S // 60
        await late.execute("commit")
    assert (await puller.drain()).changes == 1
    assert await age_s(db) < LONG_AGO_S
    assert "changes_lag" not in await alarms(db)


async def test_a_page_beside_which_changes_are_held_back_is_not_the_log_s_end(
    db: Database, settings: Settings, scenario: Scenario
) -> None:
    rpc = Scripted()
    someone = person(client={"name": "Aida"})
    rpc.answers["evpower_changes"] = [page(someone) | {"held": True}]
    assert (await pulled(db, rpc, settings)).changes == 1
    assert await scenario.db.fetchval("select checked_at from sync.cursors") is None
    await pulled(db, rpc, settings)
    assert await scenario.db.fetchval("select checked_at from sync.cursors") is not None


async def test_a_moment_s_hold_opens_no_alert(
    db: Database, settings: Settings, scenario: Scenario
) -> None:
    rpc = Scripted()
    await pulled(db, rpc, settings)
    for seconds, kinds in ((200, set[str]()), (400, {"changes_lag"}), (100, {"changes_lag"})):
        rpc.answers["evpower_changes"] = [page() | {"held": True}]
        await scenario.db.execute(
            "update sync.cursors set checked_at = now() - make_interval(secs => $1)", seconds
        )
        await pulled(db, rpc, settings)
        assert set(await alarms(db)) == kinds
    await pulled(db, rpc, settings)
    assert await alarms(db) == {}


async def test_a_process_that_has_just_started_says_nothing_of_the_log(
    db: Database, settings: Settings, scenario: Scenario
) -> None:
    """None ran until now: the log was read long ago."""
    await pulled(db, Scripted(), settings)
    await read_to_the_end_long_ago(scenario)
    async with db.transaction() as connection:
        await watch_sync(connection, utc_now(), is_first=True)
        assert await list_alerts(connection) == []
    assert set(await alarms(db)) == {"changes_lag"}


async def test_a_supabase_that_is_down_opens_no_second_alert(
    db: Database, settings: Settings, scenario: Scenario
) -> None:
    await pulled(db, Scripted(), settings)
    await read_to_the_end_long_ago(scenario)
    await scenario.db.execute(
        "update sync.targets set state = 'down', since = $1 where name = 'changes'",
        utc_now() - timedelta(minutes=6),
    )
    assert set(await alarms(db)) == {"supabase_down"}
