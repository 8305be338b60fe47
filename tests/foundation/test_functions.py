"""Functions look for types where their caller can put none."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

import asyncpg
import pytest

from evpower.foundation.db import Connection
from tests.conftest import Server

# Every name of a type that is looked up (bigint and int are syntax: always pg_catalog's).
_SHADOWED: Final = {
    "text": "pg_catalog.text",
    "uuid": "pg_catalog.uuid",
    "jsonb": "pg_catalog.jsonb",
    "bytea": "pg_catalog.bytea",
    "timestamptz": "pg_catalog.timestamptz",
    "int4": "pg_catalog.int4",
    "int8": "pg_catalog.int8",
    "bool": "pg_catalog.bool",
    "name": "pg_catalog.name",
    "oid": "pg_catalog.oid",
}
_LOCKING: Final = [
    "stations.lock_for_start", "stations.queue_command", "stations.claim_command",
    "charging.start_barriers", "charging.begin_start", "tariffs.choose",
]  # fmt: skip
_OURS: Final = "n.nspname !~ '^(pg_|information_schema$)'"


async def test_every_function_has_a_search_path_that_ends_with_pg_temp(owner: Connection) -> None:
    rows = await owner.fetch(
        "select p.oid::regprocedure::text as name,"
        " coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false) as is_safe"
        f" from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {_OURS}"
    )
    assert len(rows) > 20
    assert [row["name"] for row in rows if not row["is_safe"]] == []


async def test_what_locks_reads_anew_and_is_planned_as_one_row(owner: Connection) -> None:
    """A stable function would not see what was committed while it waited for its lock."""
    rows = await owner.fetch(
        "select p.oid::regproc::text as name, p.provolatile = 'v' as is_volatile, p.prorows as rows"
        " from pg_proc p where p.oid = any ($1::text[]::regproc[])",
        _LOCKING,
    )
    assert {row["name"]: (row["is_volatile"], row["rows"]) for row in rows} == {
        name: (True, 0 if name == "charging.begin_start" else 1) for name in _LOCKING
    }


@pytest.fixture
async def member(server: Server, dsn: str) -> AsyncIterator[Connection]:
    """A login with no right but what evpower_app has."""
    name = f"member_{uuid4().hex[:12]}"
    await server.command(f"create role {name} login password 'x' in role evpower_app")
    connection: Connection = await asyncpg.connect(dsn, user=name, password="x")
    yield connection
    await connection.close()
    await server.command(f"drop role {name}")


async def _shadow_types(member: Connection) -> list[str]:
    """Make a domain for each type, whose check notes that it runs as another role than ours."""
    await member.execute(
        "create function pg_temp.note() returns pg_catalog.bool language plpgsql as $$ begin"
        " if current_user <> session_user then raise notice 'ran as %', current_user; end if;"
        " return true; end $$"
    )
    for name, base in _SHADOWED.items():
        await member.execute(f"create domain pg_temp.{name} as {base} check (pg_temp.note())")
    notices: list[str] = []
    member.add_log_listener(lambda _, notice: notices.append(notice.message))
    return notices


async def _call_everything(member: Connection) -> list[str]:
    """Every function it may call, which looks up the types it declares whatever it is given."""
    rows = await member.fetch(
        "select format('select %s(%s)', p.oid::regproc, array_to_string(array(select"
        "   format('null::%s', format_type(t, null)) from unnest(p.proargtypes) t), ', ')) as sql"
        f" from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {_OURS}"
        " and p.prosecdef and p.prorettype <> 'trigger'::regtype"
        " and has_function_privilege(p.oid, 'execute')"
    )
    for row in rows:
        with contextlib.suppress(asyncpg.PostgresError):  # most want more than null
            await member.execute(row["sql"])
    return [row["sql"] for row in rows]


async def _fire_triggers(member: Connection) -> None:
    client, session = uuid4(), uuid4()
    await member.execute("insert into identity.clients (id, origin) values ($1, 'import')", client)
    await member.execute(
        "insert into charging.sessions (id, client_id, station_id, connector_id, state, source)"
        " values ($1, $2, 'A', 1, 'requested', 'evpower')",
        session,
        client,
    )
    await member.execute(
        "insert into payments.payments (invoice_id, order_id, client_id, provider, provider_ref,"
        " method, amount_minor, status, credited_ref, paid_minor, confirmed_at, expires_at)"
        " values ('invoice-1', 'order-1', $1, 'bank', 'ref-1', 'qr', 1000, 'approved', 'ref-1',"
        " 1000, now(), now())",
        client,
    )
    await member.fetch("select * from wallet.credit((select id from payments.payments))")
    await member.fetch("select * from wallet.hold($1, 100)", session)
    await member.fetch("select * from wallet.release_hold($1)", session)
    await member.execute(
        "update charging.sessions set state = 'charging', started_at = now() where id = $1", session
    )


async def test_a_member_of_the_app_role_runs_nothing_as_the_owner(member: Connection) -> None:
    notices = await _shadow_types(member)
    await _fire_triggers(member)
    assert len(await _call_everything(member)) > 9
    assert notices == []


async def test_the_trick_works_where_a_function_looks_in_pg_temp_first(
    member: Connection, owner: Connection
) -> None:
    """What the other tests refuse is real: without it they could not fail."""
    signature = "wallet.hold(uuid, bigint, bigint, int)"
    await owner.execute(f"alter function {signature} set search_path = ''")
    notices = await _shadow_types(member)
    await _call_everything(member)
    assert f"ran as {await owner.fetchval('select current_user')}" in notices
