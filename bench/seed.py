"""Data to measure on, made in bulk by the database's owner: clients, payments, histories."""

from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection

_PICK_FROM: Final = """
create schema if not exists bench;
create table if not exists bench.clients (n int primary key, id uuid not null);
"""
_CLIENTS: Final = """
with made as (
  insert into identity.clients (id, origin)
  select gen_random_uuid(), 'import' from generate_series(1, $1::int) returning id
) insert into bench.clients select row_number() over () - 1, id from made
"""
_PAYMENTS: Final = """
insert into payments.payments (invoice_id, order_id, client_id, provider, provider_ref, method,
                               amount_minor, status, paid_minor, confirmed_at, credited_ref,
                               expires_at)
select 'bench-invoice-' || g, 'bench-order-' || g, c.id, 'sandbox', 'bench-ref-' || g, 'qr',
       p.amount, case when $3 then 'approved' else 'processing' end,
       case when $3 then p.amount end, case when $3 then now() end,
       case when $3 then 'bench-ref-' || g end, now() + interval '1 hour'
  from (select g, 100 * (1 + g % 1000) as amount,
               (case when $5 then g % $2 else floor(random() * $2) end)::int as n
          from generate_series($1::bigint + 1, $1::bigint + $4::bigint) g) p
  join bench.clients c using (n)
 order by g
"""
_SESSIONS: Final = """
insert into charging.sessions (id, client_id, station_id, connector_id, state, source, started_at,
                               ended_at, energy_wh, cost_minor, billed_elsewhere, created_at)
select gen_random_uuid(), c.id, 'EVP-' || lpad((g % 50)::text, 3, '0') || '-01', 1 + g % 2,
       'finished', 'import', x.at, x.at + interval '40 minutes', 5000 + g * 137, 10000 + g * 135,
       true, x.at
  from generate_series(1, $1::int) g
 cross join bench.clients c
 cross join lateral (select now() - g * interval '1 hour') x (at)
 order by g
"""
_CREDIT: Final = """
select from wallet.credit_many((select array_agg(g) from generate_series($1::bigint, $2) g))
"""
_CREDITED: Final = """
select count(*) from wallet.transactions where payment_id between $1::bigint and $2
"""


async def add_clients(owner: Connection, count: int) -> list[UUID]:
    """Active clients with empty wallets, and `bench.clients(n, id)` to pick them from."""
    await owner.execute(_PICK_FROM)
    await owner.execute(_CLIENTS, count)
    rows = await owner.fetch("select id from bench.clients order by n")
    return [row["id"] for row in rows]


async def add_payments(
    owner: Connection, count: int, *, confirmed: bool, evenly: bool = False
) -> int:
    """Payments of 1 to 1000 som by random clients, or by each in turn.

    Their ids are dense; answers the first.
    """
    last: int = await owner.fetchval("select coalesce(max(id), 0) from payments.payments")
    clients: int = await owner.fetchval("select count(*) from bench.clients")
    await owner.execute(_PAYMENTS, last, clients, confirmed, count, evenly)
    first, newest = await owner.fetchrow(
        "select min(id), max(id) from payments.payments where id > $1", last
    ) or (0, 0)
    if newest - first + 1 != count:
        raise RuntimeError("payment ids have gaps: the database is not ours alone")
    return first


async def credit_all(owner: Connection, first: int, count: int, *, group: int = 500) -> None:
    """Credit a block of confirmed payments, `group` in one transaction."""
    for start in range(first, first + count, group):
        await owner.execute(_CREDIT, start, min(start + group, first + count) - 1)


async def add_sessions(owner: Connection, each: int) -> None:
    """Finished sessions for every client, paid elsewhere."""
    await owner.execute(_SESSIONS, each)


async def settle_down(owner: Connection) -> None:
    """What autovacuum would have done by the time a real database is this large."""
    await owner.execute("vacuum (analyze)")
    await owner.execute("checkpoint")


async def credited(owner: Connection, first: int, count: int) -> int:
    """How many payments of a block have their transaction."""
    transactions: int = await owner.fetchval(_CREDITED, first, first + count - 1)
    return transactions
