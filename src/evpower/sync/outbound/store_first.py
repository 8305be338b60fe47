"""Which other clients must go to Supabase before a key that it does not take."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.sync.outbound.store import mark

_OF_ORPHANS: Final = """
select s.id, s.client_id, p.parked_at is not null as parked
  from charging.sessions s
  left join sync.pending p on p.topic = 'client' and p.key = s.client_id
 where s.id = any ($1::uuid[])
"""


async def mark_clients_of(connection: Connection, sessions: Sequence[UUID]) -> set[UUID]:
    """Mark the clients of these to be sent whole; answers the sessions whose client is parked."""
    rows: list[Record] = await connection.fetch(_OF_ORPHANS, sessions)
    wanted = sorted({row["client_id"] for row in rows if not row["parked"]})
    if wanted:
        await mark(connection, "client", wanted, force=True)
    return {row["id"] for row in rows if row["parked"]}


# A contact may be refused because a closed client still has it there: sent again, it has none.
_CLOSED_HOLDERS: Final = """
select c.id, h.id as holder
  from identity.clients c
  join identity.clients h
    on h.status = 'closed' and h.id <> c.id and (h.email = c.email or h.phone = c.phone)
 where c.id = any ($1::uuid[])
"""


async def mark_closed_holders(connection: Connection, clients: Sequence[UUID]) -> set[UUID]:
    """Mark closed clients that had a contact of these. Returns those of these for which one had."""
    rows: list[Record] = await connection.fetch(_CLOSED_HOLDERS, clients)
    holders = sorted({row["holder"] for row in rows})
    if holders:
        await mark(connection, "client", holders, force=True)
    return {row["id"] for row in rows}
