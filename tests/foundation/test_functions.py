"""Functions look for types where their caller can put none."""

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID, uuid4

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
_OURS: Final = "n.nspname !~ '^(pg_|information_schema$)'"


async def test_every_function_has_a_search_path_that_ends_with_pg_temp(owner: Connection) -> None:
    rows = await owner.fetch(
        "select p.oid::regprocedure::text as name,"
        " coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false) as is_safe"
        f" from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {_OURS}"
    )
    assert len(rows) > 20
    assert [row["name"] for row in rows if not row["is_safe"]] == []


@pytest.fixture
async def member(server: Server, dsn: str) -> AsyncIterator[Connection]:
    """A login with no right but what evpower_app has."""
    name = f"member_{uuid4().hex[:12]}"
    await server.command(f"create role {name} login password 'x' in role evpower_app")
    connection: Connection = await asyncpg.connect(dsn, user=name, password="x")
    yield connection
    await connection.close()
    await server.command(f"drop role {name}")


async def _shadow_types(member: Connection) -> None:
    """Make a domain for each type, whose check notes whoever evaluates it."""
    await member.execute(
        "create function pg_temp.note() returns pg_catalog.bool language plpgsql as $$ begin"
        " if current_user <> session_user then"
        "   perform pg_catalog.set_config('evil.ran_as', current_user, false); end if;"
        " return true; end $$"
    )
    for name, base in _SHADOWED.items():
        await member.execute(f"create domain pg_temp.{name} as {base} check (pg_temp.note())")


async def _ran_as(member: Connection) -> str:
    return await member.fetchval("select pg_catalog.current_setting('evil.ran_as', true)") or ""


async def test_a_member_of_the_app_role_runs_nothing_as_the_owner(
    member: Connection, owner: Connection
) -> None:
    client, session = uuid4(), uuid4()
    await _shadow_types(member)
    # What the processes do with tables, and so every trigger; then every function they may call.
    await member.execute("insert into identity.clients (id, origin) values ($1, 'import')", client)
    await member.execute(
        "insert into charging.sessions (id, client_id, station_id, connector_id, state, source)"
        " values ($1, $2, 'A', 1, 'requested', 'evpower')",
        session,
        client,
    )
    payment = await _payment(member, client)
    await member.execute(
        "update payments.payments set status = 'approved', paid_minor = amount_minor,"
        " confirmed_at = now(), credited_ref = 'ref-0' where id = $1",
        payment,
    )
    await member.fetch("select * from wallet.credit($1)", payment)
    await member.fetch("select * from wallet.hold($1, 100)", session)
    await member.fetch("select * from wallet.extend_hold($1, 200)", session)
    await member.fetch("select * from wallet.release_hold($1)", session)
    await member.execute(
        "update charging.sessions set state = 'charging', started_at = now() where id = $1", session
    )
    await member.execute(
        "update charging.sessions set state = 'finished', ended_at = now(), cost_minor = 300"
        " where id = $1",
        session,
    )
    settlement = await member.fetchval(
        "select cause_id from wallet.charge_many("
        " array(select id from charging.sessions where id = $1))",
        session,
    )
    await member.fetch(
        "select * from wallet.correct($1, 310, 0, (select ended_at from charging.sessions"
        " where id = $1), 'test', 'test')",
        session,
    )
    refund = await member.fetchval(
        "insert into wallet.refunds (client_id, settlement_id, amount_minor, actor, reason)"
        " values ($1, $2, 100, 'test', 'test') returning id",
        client,
        settlement,
    )
    await member.fetch("select * from wallet.refund_many(array[$1::bigint])", refund)
    order: str = await owner.fetchval(
        "select order_id from payments.payments where id = $1", await _payment(member, client)
    )
    await member.fetch(
        "select * from payments.confirm_many(array['bank'], array['event-1'],"
        " array[pg_catalog.sha256('')], array[$1], array['ref-1'], array['approved'],"
        " array[1000::bigint], array['KGS'], array[0::bigint], array[null::timestamptz])",
        order,
    )
    await member.fetch("select payments.forget_unknown_events(now(), 10)")
    balance: int = await owner.fetchval(
        "select balance_minor from wallet.wallets where client_id = $1", client
    )
    assert (balance, await _ran_as(member)) == (1000 - 310 + 100 + 1000, "")


async def test_every_function_a_member_may_call_was_called(owner: Connection) -> None:
    rows = await owner.fetch(
        "select p.oid::regproc::text as name from pg_proc p"
        f" join pg_namespace n on n.oid = p.pronamespace where {_OURS} and p.prosecdef"
        " and p.prorettype <> 'trigger'::regtype"
        " and has_function_privilege('evpower_app', p.oid, 'execute')"
    )
    # `charge` and `refund` by their plurals, which call them.
    assert {row["name"] for row in rows} == {
        f"wallet.{name}"
        for name in (
            "credit", "credit_many", "hold", "extend_hold", "release_hold",
            "charge", "charge_many", "correct", "refund", "refund_many",
        )
    } | {"payments.confirm_many", "payments.forget_unknown_events"}  # fmt: skip


async def test_the_trick_works_where_a_function_looks_in_pg_temp_first(
    member: Connection, owner: Connection
) -> None:
    """What the other tests refuse is real: without it they could not fail."""
    await owner.execute("alter function wallet.hold(uuid, bigint) set search_path = ''")
    await _shadow_types(member)
    await member.fetch("select * from wallet.hold($1, 100)", uuid4())
    assert await _ran_as(member) == await owner.fetchval("select current_user")


async def _payment(member: Connection, client: UUID) -> int:
    return await member.fetchval(
        "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
        " amount_minor, expires_at) values ('invoice-' || gen_random_uuid(),"
        " 'order-' || gen_random_uuid(), $1, 'bank', 'qr', 1000, now()) returning id",
        client,
    )
