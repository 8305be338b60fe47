"""The SQL of aliases: old ids and id tags of clients."""

from typing import NamedTuple
from uuid import UUID

from evpower.foundation.db import Connection, Record


class UuidMatch(NamedTuple):
    """What a UUID is: a client's own id, or an old id of one."""

    is_client: bool  # False for a closed client whose id is the old id of another one
    alias_of: UUID | None
    is_open: bool


async def find_uuid(connection: Connection, client_id: UUID) -> UuidMatch:
    """Return whether there is such a client, and the client of which it is an old id."""
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
    return UuidMatch(is_open or (status == "closed" and alias_of is None), alias_of, is_open)


async def find_alias(connection: Connection, kind: str, alias: str) -> UUID | None:
    """Return the client of an alias; None: there is none."""
    return await connection.fetchval(
        "select client_id from identity.aliases where kind = $1 and alias = $2", kind, alias
    )


async def aliases_of(connection: Connection, client_id: UUID) -> list[tuple[str, str]]:
    """Return kind and alias of every alias of a client."""
    rows: list[Record] = await connection.fetch(
        "select kind, alias from identity.aliases where client_id = $1 order by kind, alias",
        client_id,
    )
    return [(row["kind"], row["alias"]) for row in rows]
