"""SQL that writes rows down as done, with the aliases that come of them."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from evpower.client_migration.model import RowWork
from evpower.foundation.db import Connection, Record
from evpower.identity.aliases import as_uuid

_DONE: Final = """
with moved as (
  update identity.migration_rows r
     set state = 'done', reason = null, detail = null, note = d.note, updated_at = now()
    from unnest($2::bigint[], $3::text[]) as d (line, note)
   where r.run = $1 and r.line = d.line and r.state in ('planned', 'failed')
  returning r.run, r.old_id, r.client_id, r.id_tags, r.plan
), named as (
  insert into identity.aliases (kind, alias, client_id, run)
  select 'client_id', old_id, client_id, run from moved where plan <> 'add'
  union all
  select 'id_tag', t.tag, m.client_id, m.run from moved m cross join unnest(m.id_tags) as t (tag)
   where not exists (select from identity.aliases a
                      where a.kind = 'id_tag' and a.alias = t.tag and a.client_id = m.client_id)
  returning 1
) select (select count(*) from moved) as moved, (select count(*) from named) as named
"""


async def done(
    connection: Connection, works: Sequence[RowWork], notes: Sequence[str | None]
) -> int:
    """Write the aliases of rows of one run and mark them done; answers how many were not yet.

    May raise UniqueViolationError.
    """
    if not works:
        return 0
    row = await connection.fetchrow(_DONE, works[0].run, [one.line for one in works], list(notes))
    moved: int = row["moved"] if row is not None else 0
    return moved


async def added(connection: Connection, work: RowWork) -> bool:
    """The same for a row that only adds; false: it was done. May raise UniqueViolationError."""
    return await done(connection, [work], [None]) > 0


async def odd(connection: Connection, works: Sequence[RowWork]) -> set[UUID]:
    """Clients that need a look of their own; those who are there are locked, in their order.

    Closed; or, where a user is adopted, with another old id, or with an old id that is the id of
    another open client.
    """
    ids = sorted({one.client_id for one in works})
    rows: list[Record] = await connection.fetch(
        "select id, status from identity.clients where id = any ($1) order by id for no key update",
        ids,
    )
    found: set[UUID] = {row["id"] for row in rows if row["status"] == "closed"}
    adopted = [one for one in works if one.plan == "adopt"]
    if not adopted:
        return found
    own = [as_uuid(one.old_id) for one in adopted]
    rows = await connection.fetch(
        """
        select w.client_id
         from unnest($1::uuid[], $2::text[], $3::uuid[]) as w (client_id, old_id, own_id)
        where exists (select from identity.aliases a where a.client_id = w.client_id
                         and a.kind = 'client_id' and a.alias <> w.old_id)
           or exists (select from identity.clients c where c.id = w.own_id
                         and c.id <> w.client_id and c.status <> 'closed')
        """,
        [one.client_id for one in adopted],
        [one.old_id for one in adopted],
        own,
    )
    return found | {row["client_id"] for row in rows}
