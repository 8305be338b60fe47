"""The hourly comparison reads what changed lately, not everything there is."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from evpower.foundation.db import Connection, Database
from evpower.sync.reconciliation.digests import Part
from evpower.sync.reconciliation.store_runs import page_of_ours, page_sql
from tests.sync.checking import past_every_guard
from tests.sync.scenario import Scenario

EVERYONE = 30_000
LATELY = 20


@pytest.fixture
async def lately(scenario: Scenario) -> dict[Part, set[UUID]]:
    """Many that are old, and a few that changed: by a profile, a top-up, a session."""
    old = "now() - interval '40 days'"
    async with past_every_guard(scenario.db):
        await scenario.db.execute(
            "insert into identity.clients (id, origin, created_at, updated_at)"
            f" select gen_random_uuid(), 'import', {old}, {old} from generate_series(1, $1)",
            EVERYONE,
        )
        await scenario.db.execute(
            "insert into wallet.wallets (client_id, updated_at)"
            " select id, updated_at from identity.clients"
        )
        await scenario.db.execute(
            "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
            " started_at, ended_at, created_at, updated_at)"
            f" select gen_random_uuid(), c.id, 'S', 1, 'settled', 'import', {old}, {old}, {old},"
            f" {old} from identity.clients c"
        )
    clients = [row["id"] for row in await scenario.db.fetch("select id from identity.clients")][
        ::500
    ]
    await scenario.db.execute("vacuum analyze")
    renamed, paid, charged = clients[:LATELY], clients[20:25], clients[25:27]
    await scenario.db.execute(
        "update identity.clients set name = 'New', updated_at = now() where id = any ($1)", renamed
    )
    for client in paid:
        await scenario.top_up(client, 100)
    sessions = {await scenario.session(client, charge=False) for client in charged}
    async with past_every_guard(scenario.db):
        await scenario.db.execute("update wallet.wallets set updated_at = now()")  # says nothing
    return {
        "client": {*renamed, *paid, *charged},
        "profile": {*renamed, *paid, *charged},
        "session": sessions,
    }


@pytest.mark.parametrize("topic", ["profile", "client", "session"])
async def test_a_page_of_what_changed_lately_reads_little(
    topic: Part, lately: dict[Part, set[UUID]], db: Database
) -> None:
    since = datetime.now(UTC) - timedelta(hours=2)
    async with db.connection() as connection:
        keys = await page_of_ours(connection, topic, None, 500, since)
        assert {key.id for key in keys} == lately[topic]
        rest = await page_of_ours(connection, topic, keys[0].id, 1, since)
        assert [key.id for key in rest] == [keys[1].id]
        # Whichever plan a connection keeps for long.
        for mode in ("force_custom_plan", "force_generic_plan"):
            assert await rows_read(connection, page_sql(topic, recent=True), mode, since) < 15_000


async def rows_read(connection: Connection, sql: str, mode: str, since: datetime) -> int:
    """How many rows of tables the statement looked at."""
    name = f"page_{uuid4().hex[:8]}"
    async with connection.transaction():
        await connection.execute(f"set local plan_cache_mode = {mode}")
        await connection.execute(f"prepare {name} (uuid, int, timestamptz) as {sql}")
        plan = await connection.fetchval(
            f"explain (analyze, format json) execute {name} ('{UUID(int=0)}', 500, '{since}')"
        )
        await connection.execute(f"deallocate {name}")
    return _read(json.loads(plan)[0]["Plan"] if isinstance(plan, str) else plan[0]["Plan"])


def _read(plan: dict[str, Any]) -> int:
    own = 0
    if "Relation Name" in plan:
        seen = plan["Actual Rows"] + sum(
            plan.get(name, 0)
            for name in ("Rows Removed by Filter", "Rows Removed by Index Recheck")
        )
        own = int(seen * plan["Actual Loops"])
    return own + sum(_read(child) for child in plan.get("Plans", []))
