"""SQL of what must be sent to Supabase before a key that it refused.

What is to be sent already is not enqueued again: with hundreds of keys that name it, it would be a
newer change in each call, so that it is sent from its beginning each time, and never parked.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.sync.model import OutboxTopic
from evpower.sync.outbound.store import enqueue

_OF_ORPHANS: Final = """
select s.id, s.client_id, p.parked_at is not null as parked, coalesce(p.force, false) as is_forced
  from charging.sessions_public s
  left join sync.pending p on p.topic = 'client' and p.key = s.client_id
 where s.id = any ($1::uuid[])
"""


async def enqueue_clients_of(connection: Connection, sessions: Sequence[UUID]) -> set[UUID]:
    """Enqueues the clients of sessions, whole. Returns the sessions with a parked client."""
    rows: list[Record] = await connection.fetch(_OF_ORPHANS, sessions)
    client_ids = sorted(
        {row["client_id"] for row in rows if not (row["parked"] or row["is_forced"])}
    )
    if client_ids:
        await enqueue(connection, "client", client_ids, force=True)
    return {row["id"] for row in rows if row["parked"]}


_STATIONS_OF_ORPHANS: Final = """
select s.id, k.key as station, k.key is null or p.parked_at is not null as in_vain,
       p.key is not null as is_pending
  from charging.sessions_public s
  left join sync.row_keys k on k.topic = 'station' and k.id = s.station_id
  left join sync.pending p on p.topic = k.topic and p.key = k.key
 where s.id = any ($1::uuid[])
"""


async def enqueue_stations_of(connection: Connection, sessions: Sequence[UUID]) -> set[UUID]:
    """Enqueues the stations of sessions. Returns the sessions whose station is parked or unknown.

    One that another call was writing at the same moment is written once more, which is harmless.
    """
    rows: list[Record] = await connection.fetch(_STATIONS_OF_ORPHANS, sessions)
    stations = sorted({row["station"] for row in rows if not (row["in_vain"] or row["is_pending"])})
    if stations:
        await enqueue(connection, "station", stations, force=True)
    return {row["id"] for row in rows if row["in_vain"]}


# A contact may be refused because a closed client still has it in Supabase. When the closed client
# is sent again, its row has no contacts.
_CLOSED_HOLDERS: Final = """
select c.id, h.id as holder
  from identity.clients_public c
  join identity.clients_public h
    on h.status = 'closed' and h.id <> c.id and (h.email = c.email or h.phone = c.phone)
 where c.id = any ($1::uuid[])
"""


async def enqueue_closed_holders(connection: Connection, clients: Sequence[UUID]) -> set[UUID]:
    """Enqueues closed clients with a contact of these clients. Returns those of these clients."""
    rows: list[Record] = await connection.fetch(_CLOSED_HOLDERS, clients)
    holders = sorted({row["holder"] for row in rows})
    if holders:
        await enqueue(connection, "client", holders, force=True)
    return {row["id"] for row in rows}


_NEEDS: Final = """
with rows as materialized (
  select k.key, k.topic, k.id from sync.row_keys k where k.key = any ($1::uuid[])
), moved as materialized (
  select r.key, t.client_id, t.payment_id, t.settlement_id from rows r
    join wallet.transactions_public t
      on t.client_id = split_part(r.id, ':', 1)::uuid
         and t.version = split_part(r.id, ':', 2)::bigint
   where r.topic = 'transaction'
), needs as (
  select r.key, 'client' as topic, p.client_id as need from rows r
    join payments.top_ups_public p on p.invoice_id = r.id where r.topic = 'payment'
  union all
  select m.key, 'client', m.client_id from moved m
  union all
  select m.key, 'session', s.session_id from moved m
    join charging.settlements_public s on s.id = m.settlement_id
  union all
  select m.key, 'payment', k.key from moved m
    join payments.payments_public p on p.id = m.payment_id
    join sync.row_keys k on k.topic = 'payment' and k.id = p.invoice_id
)
select n.key, n.topic, n.need, p.parked_at is not null as parked,
       coalesce(p.force, false) as is_forced
  from needs n left join sync.pending p on p.topic = n.topic and p.key = n.need
"""


async def enqueue_needs_of(connection: Connection, keys: Sequence[UUID]) -> set[UUID]:
    """Enqueues the clients, sessions and bills that rows of payments name.

    Returns the keys of which something is parked: it waits for an operator.
    """
    rows: list[Record] = await connection.fetch(_NEEDS, keys)
    topics: Sequence[OutboxTopic] = ("client", "payment", "session")
    for topic in topics:
        needed = {
            row["need"]
            for row in rows
            if row["topic"] == topic and not (row["parked"] or row["is_forced"])
        }
        if needed:
            await enqueue(connection, topic, sorted(needed), force=True)
    return {row["key"] for row in rows if row["parked"]}
