"""SQL of clients that must be sent to Supabase before a key that it refused."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.sync.outbound.store import enqueue

_OF_ORPHANS: Final = """
select s.id, s.client_id, p.parked_at is not null as parked
  from charging.sessions_public s
  left join sync.pending p on p.topic = 'client' and p.key = s.client_id
 where s.id = any ($1::uuid[])
"""


async def enqueue_clients_of(connection: Connection, sessions: Sequence[UUID]) -> set[UUID]:
    """Enqueues the clients of sessions, whole. Returns the sessions with a parked client."""
    rows: list[Record] = await connection.fetch(_OF_ORPHANS, sessions)
    client_ids = sorted({row["client_id"] for row in rows if not row["parked"]})
    if client_ids:
        await enqueue(connection, "client", client_ids, force=True)
    return {row["id"] for row in rows if row["parked"]}


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
