"""SQL of aliases: old ids and id tags that still mean a client."""

from typing import NamedTuple
from uuid import UUID

from evpower.foundation.db import Connection, Record


class Found(NamedTuple):
    """What an id is: a client's own, or an old name of one."""

    is_client: bool  # and not a closed one that became somebody else
    alias_of: UUID | None
    is_open: bool


async def find_uuid(connection: Connection, client_id: UUID) -> Found:
    """Whether there is such a client, and whose old id it is."""
    row = await connection.fetchrow(
        """
        select (select status from identity.clients where id = $1) as status,
          (select client_id from identity.aliases where kind = 'client_id' and alias = $2)
          as alias_of
        """,
        client_id,
        str(client_id),
    )
    status, alias_of = (row["status"], row["alias_of"]) if row is not None else (None, None)
    is_open = status in {"active", "blocked"}
    return Found(is_open or (status == "closed" and alias_of is None), alias_of, is_open)


async def find_alias(connection: Connection, kind: str, alias: str) -> UUID | None:
    """Whose old name this is."""
    found: UUID | None = await connection.fetchval(
        "select client_id from identity.aliases where kind = $1 and alias = $2", kind, alias
    )
    return found


async def aliases_of(connection: Connection, client_id: UUID) -> list[tuple[str, str]]:
    """Every old name of a client: kind and name."""
    rows: list[Record] = await connection.fetch(
        "select kind, alias from identity.aliases where client_id = $1 order by kind, alias",
        client_id,
    )
    return [(row["kind"], row["alias"]) for row in rows]
