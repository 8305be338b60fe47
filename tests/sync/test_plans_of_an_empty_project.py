"""A plan lives as long as its connection: one made on empty tables must be good for full ones."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from evpower.foundation.db import Connection
from tests.sync.changes_log import forget
from tests.sync.scenario import Target

EVERYONE = 3_000
FEW = 10
# Of each: the client, the user, a session, two transactions, notes; some are looked at twice.
ENOUGH = FEW * 25

Call = tuple[str, Mapping[str, Any]]
Asks = Callable[[Sequence[str], Sequence[str]], Call]


def client(key: str) -> dict[str, Any]:
    moment = "2026-11-01T12:00:00Z"
    return {
        "id": key, "email": None, "phone": None, "name": "x", "balance": 12, "held": 0,
        "currency": "KGS", "balance_version": 3, "wallet_revision": 3, "revision": 3,
        "from_version": 2, "status": "active", "created_at": moment, "updated_at": moment,
    }  # fmt: skip


def transaction(key: str) -> dict[str, Any]:
    moment = "2026-11-01T12:00:00Z"
    return {
        "id": str(uuid4()), "client_id": key, "version": 3, "type": "topup", "amount": 2,
        "balance_before": 10, "balance_after": 12, "event_at": moment, "created_at": moment,
    }  # fmt: skip


def session(key: str, owner: str) -> dict[str, Any]:
    moment = "2026-11-01T12:00:00Z"
    return {
        "id": key, "user_id": owner, "client_id": owner, "station_id": "CHR-BGK-001",
        "connector_id": 1, "start_time": moment, "stop_time": moment, "end_time": moment,
        "energy": 1, "energy_consumed": 1, "amount": 2, "total_cost": 2, "status": "stopped",
        "revision": 2, "created_at": moment, "updated_at": moment,
    }  # fmt: skip


def applied(people: Sequence[str], sessions: Sequence[str]) -> Call:
    return "evpower_apply", {
        "clients": [client(key) for key in people],
        "transactions": [transaction(key) for key in people],
        "sessions": [session(key, user) for key, user in zip(sessions, people, strict=True)],
    }


def digest(topic: str, **more: Any) -> Asks:
    def asks(people: Sequence[str], sessions: Sequence[str]) -> Call:
        return "evpower_digest", {
            "topic": topic, "ids": sessions if topic == "sessions" else people, **more
        }  # fmt: skip

    return asks


def walk(function: str, **more: Any) -> Asks:
    """A page at an index's beginning; all rows are behind it."""
    return lambda _people, _sessions: (function, {"after": None, "limit": FEW, **more})


CALLS: dict[str, Asks] = {
    "people by id": lambda people, _: ("evpower_people", {"ids": people}),
    "people in order": walk("evpower_people"),
    "changes": walk("evpower_changes"),
    "clients by id": digest("clients"),
    "clients by id, hashed": digest("clients", chunk=5),
    "clients in order": walk("evpower_digest", topic="clients"),
    "clients in order, short": walk("evpower_digest", topic="clients", short=True),
    "sessions by id": digest("sessions"),
    "sessions by id, hashed": digest("sessions", chunk=5),
    "sessions in order": walk("evpower_digest", topic="sessions"),
    "sessions in order, short": walk("evpower_digest", topic="sessions", short=True),
    "people by id, hashed": digest("people", chunk=5),
    "users in order": walk("evpower_digest", topic="users"),
    "transactions of clients": lambda people, _: (
        "evpower_digest",
        {"topic": "transactions", "clients": [[key, 1] for key in people], "limit": FEW},
    ),
    "apply": applied,
    "archive": lambda people, sessions: (
        "evpower_archive",
        {"clients": [[key, 1] for key in people], "sessions": sessions},
    ),
}


async def call(there: Connection, request: Call) -> Any:
    function, payload = request
    return json.loads(
        await there.fetchval(f"select public.{function}($1::jsonb)", json.dumps(payload))
    )


async def no_one(there: Connection) -> None:
    """Empties the tables and tells the planner."""
    await there.execute(
        "truncate public.transactions, public.charging_sessions, public.clients cascade"
    )
    await there.execute("truncate auth.users cascade")
    await forget(there)
    await there.execute("delete from evpower.pending_contacts")
    for table in ("public.transactions", "public.charging_sessions", "public.clients",
                  "auth.users", "evpower.changes", "evpower.pending_contacts"):  # fmt: skip
        await there.execute(f"vacuum (analyze) {table}")


async def everyone(there: Connection) -> None:
    """Each with a user, two transactions and a session. No table is altered: that ends plans."""
    await there.execute(
        "insert into auth.users (id, email)"
        " select gen_random_uuid(), gen_random_uuid() || '@e.kg' from generate_series(1, $1::int)",
        EVERYONE,
    )
    async with there.transaction():
        await there.execute("set local session_replication_role = replica")  # no guards
        await there.execute(
            "insert into public.clients (id, name, balance, balance_version, wallet_revision,"
            " evpower_revision) select id, 'x', 10, 2, 2, 2 from auth.users"
        )
    await there.execute(
        "insert into public.transactions (client_id, version, type, amount, balance_before,"
        " balance_after) select c.id, v, 'topup', 5, (v - 1) * 5, v * 5"
        " from public.clients c, generate_series(1, 2) v"
    )
    await there.execute(
        "insert into public.charging_sessions (id, user_id, client_id, station_id, revision,"
        " status) select gen_random_uuid(), id, id, 'CHR-BGK-001', 1, 'stopped'"
        " from public.clients"
    )


@pytest.fixture
async def early(target: Target, there: Connection) -> AsyncGenerator[Connection]:
    """A connection that made every call once, for no id and for an unknown id."""
    await no_one(there)
    connection: Connection = await asyncpg.connect(target.dsn)
    # Also what is no function's own setting: a plan for all values from the first call on.
    await connection.execute("set plan_cache_mode = force_generic_plan")
    for asks in CALLS.values():
        begun = connection.transaction()
        await begun.start()
        await leave(connection, [stranger := str(uuid4())])
        await call(connection, asks([stranger], [str(uuid4())]))
        await begun.rollback()
    await everyone(there)
    yield connection
    await connection.close()
    await no_one(there)


async def test_what_was_planned_for_no_one_reads_few_of_everyone(
    early: Connection, there: Connection
) -> None:
    people, sessions = (
        await first_ids(there, "clients"),
        await first_ids(there, "charging_sessions"),
    )
    read = {
        name: await rows_read(early, people, asks(people, sessions)) for name, asks in CALLS.items()
    }
    assert {name: of for name, of in read.items() if sum(of.values()) > ENOUGH} == {}
    # Each call found rows.
    assert {name: of for name, of in read.items() if sum(of.values()) < FEW} == {}


async def leave(there: Connection, people: Sequence[str]) -> None:
    """Their email waits to be carried to the profile; the next reading of changes does it."""
    await there.execute(
        "insert into evpower.pending_contacts (user_id, contact)"
        " select k, 'email' from unnest($1::text[]) k",
        people,
    )


async def first_ids(there: Connection, table: str) -> list[str]:
    rows = await there.fetch(f"select id::text from public.{table} limit {FEW}")
    return [row["id"] for row in rows]


async def rows_read(
    connection: Connection, people: Sequence[str], request: Call
) -> Mapping[str, int]:
    """How many rows of each table the call looked at, by indexes too; nothing stays of it."""
    begun = connection.transaction()
    await begun.start()
    try:
        await leave(connection, people)
        before = await rows_seen(connection)  # what earlier transactions did may still be in it
        await call(connection, request)
        after = await rows_seen(connection)
        return {table: rows - before[table] for table, rows in after.items() if rows}
    finally:
        await begun.rollback()


async def rows_seen(connection: Connection) -> Mapping[str, int]:
    rows = await connection.fetch(
        "select relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as seen"
        " from pg_stat_xact_all_tables where schemaname in ('public', 'auth', 'evpower')"
    )
    return {row["relname"]: row["seen"] for row in rows}
