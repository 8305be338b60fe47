"""SQL that stores rows as done."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from evpower.client_migration.model import RowWork
from evpower.foundation.db import Connection, Record
from evpower.identity import NewAlias, add_aliases, as_uuid

_DONE: Final = """
update client_migration.run_rows r
   set state = 'done', reason = null, detail = null, note = d.note, updated_at = now()
  from unnest($2::bigint[], $3::text[]) as d (line, note)
 where r.run = $1 and r.line = d.line and r.state in ('planned', 'failed')
returning r.old_id, r.client_id, r.id_tags, r.plan
"""


async def done(
    connection: Connection, works: Sequence[RowWork], notes: Sequence[str | None]
) -> int:
    """Stores rows of one run as done, with their aliases. Returns how many were not done before.

    Raises UniqueViolationError when another client has an alias.
    """
    if not works:
        return 0
    rows: list[Record] = await connection.fetch(
        _DONE, works[0].run, [work.line for work in works], list(notes)
    )
    aliases = [
        NewAlias("client_id", row["old_id"], row["client_id"])
        for row in rows
        if row["plan"] != "add"
    ]
    aliases += [NewAlias("id_tag", tag, row["client_id"]) for row in rows for tag in row["id_tags"]]
    await add_aliases(connection, works[0].run, aliases)
    return len(rows)


async def added(connection: Connection, work: RowWork) -> bool:
    """Stores one row as done. Returns false when it was before. Raises UniqueViolationError."""
    return await done(connection, [work], [None]) > 0


async def special_clients(connection: Connection, works: Sequence[RowWork]) -> set[UUID]:
    """Returns clients that must be recorded separately; existing ones are locked in their order.

    They are closed; or, where a user is linked, have another old id, or an old id that is the id
    of another open client.
    """
    ids = sorted({work.client_id for work in works})
    rows: list[Record] = await connection.fetch(
        "select id, status from identity.clients where id = any ($1) order by id for no key update",
        ids,
    )
    special: set[UUID] = {row["id"] for row in rows if row["status"] == "closed"}
    linked = [work for work in works if work.plan == "link"]
    if not linked:
        return special
    old_ids_as_uuid = [as_uuid(work.old_id) for work in linked]
    rows = await connection.fetch(
        """
        select w.client_id
         from unnest($1::uuid[], $2::text[], $3::uuid[]) as w (client_id, old_id, own_id)
        where exists (select from identity.aliases a where a.client_id = w.client_id
                         and a.kind = 'client_id' and a.alias <> w.old_id)
           or exists (select from identity.clients c where c.id = w.own_id
                         and c.id <> w.client_id and c.status <> 'closed')
        """,
        [work.client_id for work in linked],
        [work.old_id for work in linked],
        old_ids_as_uuid,
    )
    return special | {row["client_id"] for row in rows}
