"""Public views cost nothing: they are plain projections, read by the indexes of their tables."""

import re
from typing import Any

import orjson

from evpower.charging.model import STATUS_OF
from evpower.foundation.db import Connection, Database
from evpower.sync.model import CLIENT_STATUS
from tests.snapshots.test_sql_across_slices import SCHEMAS, public_views

# A statement on the view, and the same one on the tables.
READS = {
    "stations by id": (
        """select location_id from stations.stations_public where id = $1::text""",
        """select location_id from stations.stations where id = $1::text""",
    ),
    "stations of a location": (
        """
        select id from stations.stations_public where location_id = $1::text order by id
        """,
        """select id from stations.stations where location_id = $1::text order by id""",
    ),
    "connectors of a station": (
        """
        select rated_power_kw from stations.connectors_public where station_id = $1::text
        order by number
        """,
        """
        select rated_power_w from stations.connectors where station_id = $1::text order by
        number
        """,
    ),
    "locations by id": (
        """select name from stations.locations_public where id = any ($1::text[])""",
        """select name from stations.locations where id = any ($1::text[])""",
    ),
    "clients by id": (
        """select public_status from identity.clients_public where id = any ($1::uuid[])""",
        """select status from identity.clients where id = any ($1::uuid[])""",
    ),
    "clients by a verified email": (
        """
        select id from identity.clients_public where email = $1::text and
        email_verified and status <> 'closed'
        """,
        """
        select id from identity.clients where email = $1::text and email_verified and
        status <> 'closed'
        """,
    ),
    "clients in the order of their ids": (
        """
        select id, status from identity.clients_public where id > $1::uuid order by id
        limit 100
        """,
        """
        select id, status from identity.clients where id > $1::uuid order by id limit
        100
        """,
    ),
    "clients that changed lately": (
        """select id from identity.clients_public where updated_at > $1::timestamptz""",
        """select id from identity.clients where updated_at > $1::timestamptz""",
    ),
    "clients whose status no operator mapped": (
        """
        select id from identity.clients_public where unmapped_status = $1::text order
        by id limit 100
        """,
        """
        select id from identity.clients where unmapped_status = $1::text order by id
        limit 100
        """,
    ),
    "sessions by id": (
        """
        select status, energy_kwh, cost_som from charging.sessions_public where id =
        any ($1::uuid[])
        """,
        """
        select state, energy_wh, cost_minor from charging.sessions where id = any
        ($1::uuid[])
        """,
    ),
    "sessions by recording": (
        """
        select id, status from charging.sessions_public where client_id = $1::uuid and
        (created_at, id) < ($2::timestamptz, $1) order by created_at desc, id desc
        limit 50
        """,
        """
        select id, state from charging.sessions where client_id = $1::uuid and
        (created_at, id) < ($2::timestamptz, $1) order by created_at desc, id desc
        limit 50
        """,
    ),
    "sessions by start": (
        """
        select id, status from charging.sessions_public where client_id = $1::uuid and
        (start_time, id) < ($2::timestamptz, $1) order by start_time desc, id desc
        limit 50
        """,
        """
        select id, state from charging.sessions where client_id = $1::uuid and
        (coalesce(started_at, created_at), id) < ($2::timestamptz, $1) order by
        coalesce(started_at, created_at) desc, id desc limit 50
        """,
    ),
    "sessions that changed lately": (
        """
        select client_id from charging.sessions_public where updated_at >
        $1::timestamptz
        """,
        """select client_id from charging.sessions where updated_at > $1::timestamptz""",
    ),
    "progress by session": (
        """select energy_kwh, revision from charging.progress_public where session_id = $1::uuid""",
        """select energy_wh, revision from charging.progress where session_id = $1::uuid""",
    ),
    "settlements by id": (
        """select session_id from charging.settlements_public where id = $1::bigint""",
        """select session_id from charging.settlements where id = $1::bigint""",
    ),
    "payments by id": (
        """select invoice_id from payments.payments_public where id = $1::bigint""",
        """select invoice_id from payments.payments where id = $1::bigint""",
    ),
    "payments by the provider's reference": (
        """
        select amount_som from payments.payments_public where provider = 'manual' and
        provider_ref = $1::text
        """,
        """
        select amount_minor from payments.payments where provider = 'manual' and
        provider_ref = $1::text
        """,
    ),
    "balances by client": (
        """
        select balance_som, version from wallet.balances where client_id = any
        ($1::uuid[])
        """,
        """
        select balance_minor, version from wallet.wallets where client_id = any
        ($1::uuid[])
        """,
    ),
    "transactions with their causes": (
        """
        select kind, amount_som, payment_id, settlement_id from
        wallet.transactions_public where client_id = $1::uuid and version > $2::bigint
        order by version
        """,
        """
        select t.kind, t.amount_minor, coalesce(t.payment_id, r.payment_id),
        coalesce(t.settlement_id, r.settlement_id) from wallet.transactions t left
        join wallet.refunds r on r.id = t.refund_id where t.client_id = $1::uuid and
        version > $2::bigint order by version
        """,
    ),
    "transactions without their causes": (
        """
        select kind, amount_minor from wallet.transactions_public where client_id =
        $1::uuid and version > $2::bigint order by version
        """,
        """
        select kind, amount_minor from wallet.transactions where client_id = $1::uuid
        and version > $2::bigint order by version
        """,
    ),
    "transactions made lately": (
        """
        select client_id from wallet.transactions_public where created_at >
        $1::timestamptz
        """,
        """select client_id from wallet.transactions where created_at > $1::timestamptz""",
    ),
}


async def plan_of(connection: Connection, sql: str) -> list[tuple[str, ...]]:
    """Returns the generic plan of a statement: each node with its table, index and condition."""
    nulls = ", ".join(["null"] * len(set(re.findall(r"\$\d", sql))))
    async with connection.transaction():
        await connection.execute(
            f"set local plan_cache_mode = force_generic_plan; prepare looked_at as {sql}"
        )
        plan = await connection.fetchval(f"explain (format json) execute looked_at ({nulls})")
        await connection.execute("deallocate looked_at")
    return list(_nodes(orjson.loads(plan)[0]["Plan"]))


def _nodes(plan: dict[str, Any]) -> list[tuple[str, ...]]:
    keys = ("Node Type", "Relation Name", "Index Name", "Index Cond", "Recheck Cond")
    own = tuple(re.sub(r"\b\w\.", "", str(plan.get(key, ""))) for key in keys)
    return [own, *(node for part in plan.get("Plans", ()) for node in _nodes(part))]


async def test_views_are_read_by_the_plans_of_their_tables(db: Database) -> None:
    async with db.connection() as connection:
        for name, (on_view, on_table) in READS.items():
            plan = await plan_of(connection, on_view)
            assert plan == await plan_of(connection, on_table), name
            assert any(index for _, _, index, *_ in plan), name


async def test_a_public_view_is_a_plain_projection(db: Database) -> None:
    async with db.connection() as connection:
        rows = await connection.fetch(
            "select schemaname || '.' || viewname as name, definition from pg_views"
            " where schemaname = any ($1)",
            list(SCHEMAS),
        )
    assert {row["name"] for row in rows} == public_views()
    for row in rows:
        body = row["definition"].lower()
        assert not re.search(
            r"group by|distinct|order by|\blimit\b|union|over \(|where|\(\s*select", body
        )
        assert body.count("join") == len(re.findall(r"left join \S+ (\w) on \(*\(\1\.id = ", body))


async def test_the_apps_words_are_those_of_python(owner: Connection) -> None:
    for view, column, words in (
        ("charging.sessions_public", "state", STATUS_OF),
        ("identity.clients_public", "status", CLIENT_STATUS),
    ):
        definition: str = await owner.fetchval("select pg_get_viewdef($1::regclass)", view)
        case = re.search(r"CASE.*?\bEND(?= AS (public_)?status)", definition, re.DOTALL)
        assert case is not None
        expression = re.sub(r"\b[cs]\.", "x.", case[0])
        shown = await owner.fetch(
            f"select x.{column}, {expression} as shown from unnest($1::text[]) x ({column})",
            list(words),
        )
        assert {row[column]: row["shown"] for row in shown} == words
