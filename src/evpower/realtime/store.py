"""All SQL of live updates. It only reads, always for many clients at once."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.rows import read_row
from evpower.realtime.model import BalanceState

NEWEST: Final = 3  # sessions of a client that are sent when a notification was lost
# Rows are reached by key (lateral, offset 0), so that a plan made on empty tables stays good later.
_BALANCES: Final = """
select w.client_id, w.currency, w.balance_minor, w.held_minor, w.version, w.revision, w.updated_at,
       c.status = 'closed' as closed
  from unnest($1::uuid[]) as requested (id)
 cross join lateral (select * from wallet.balances w where w.client_id = requested.id offset 0) w
 cross join lateral (
   select c.status from identity.clients_public c where c.id = requested.id offset 0) c
"""
_NEWEST: Final = f"""
(select * from charging.sessions_public s where s.client_id = requested.id
  order by s.created_at desc, s.id desc limit {NEWEST}) s
"""
_CHANGED_BALANCES: Final = """
select known.id
  from unnest($1::uuid[], $2::bigint[]) as known (id, revision)
 cross join lateral (select w.revision from wallet.balances w
                      where w.client_id = known.id offset 0) w
 cross join lateral (
   select c.status from identity.clients_public c where c.id = known.id offset 0) c
 where w.revision <> known.revision or c.status = 'closed'
"""
_CHANGED_SESSIONS: Final = f"""
select s.id
  from unnest($1::uuid[]) as requested (id)
 cross join lateral {_NEWEST}
  left join unnest($2::uuid[], $3::bigint[]) as known (id, revision) on known.id = s.id
  left join lateral (select p.revision from charging.progress_public p
                      where p.session_id = s.id and s.state in ('charging', 'stopping') limit 1) p
    on true
 where s.revision + coalesce(p.revision, 0) is distinct from known.revision
"""


async def balances(connection: Connection, client_ids: Sequence[UUID]) -> list[BalanceState]:
    """Returns the balances of clients; clients that do not exist are left out."""
    return [read_row(BalanceState, row) for row in await connection.fetch(_BALANCES, client_ids)]


async def changed_balances(
    connection: Connection, client_ids: Sequence[UUID], revisions: Sequence[int]
) -> list[UUID]:
    """Returns clients whose wallet has another revision than given, and closed clients."""
    rows = await connection.fetch(_CHANGED_BALANCES, client_ids, revisions)
    return [row["id"] for row in rows]


async def changed_sessions(
    connection: Connection,
    client_ids: Sequence[UUID],
    session_ids: Sequence[UUID],
    revisions: Sequence[int],
) -> list[UUID]:
    """Returns the newest sessions of the clients whose revision differs from the given one."""
    rows = await connection.fetch(_CHANGED_SESSIONS, client_ids, session_ids, revisions)
    return [row["id"] for row in rows]
