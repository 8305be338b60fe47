"""The SQL of aliases: old ids and id tags of clients."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import read_row


class UuidMatch(NamedTuple):
    """What a UUID is: a client's own id, or an old id of one."""

    is_client: bool  # False for a closed client whose id is the old id of another one
    alias_of: UUID | None
    is_open: bool


async def find_uuid(connection: Connection, client_id: UUID) -> UuidMatch:
    """Returns whether there is such a client, and the client of which it is an old id."""
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
    """Returns the client of an alias; None: there is none."""
    return await connection.fetchval(
        "select client_id from identity.aliases where kind = $1 and alias = $2", kind, alias
    )


async def client_of_tag(connection: Connection, folded: str, spelling: str) -> UUID | None:
    """Returns the client of an id tag.

    Where several have it, the one in whose spelling it comes, else the oldest.
    """
    return await connection.fetchval(
        """
        select client_id from identity.aliases
         where kind = 'id_tag' and identity.folded_tag(alias) = $1
         order by alias <> $2, created_at, alias limit 1
        """,
        folded,
        spelling,
    )


class NewAlias(NamedTuple):
    """An old name of a client; an id tag in the form in which it is compared."""

    kind: Literal["client_id", "id_tag"]
    alias: str
    client_id: UUID


async def add_aliases(connection: Connection, run: int, aliases: Sequence[NewAlias]) -> None:
    """Stores aliases that a run of the client migration found; a client's own id tags are skipped.

    Raises asyncpg.UniqueViolationError when another client has one.
    """
    await connection.execute(
        """
        with named as (
          select distinct kind, client_id,
            case kind when 'id_tag' then identity.folded_tag(alias) else alias end as alias
            from unnest($2::text[], $3::text[], $4::uuid[]) as n (kind, alias, client_id)
        )
        insert into identity.aliases (kind, alias, client_id, run)
        select n.kind, coalesce(other.alias, n.alias), n.client_id, $1
          from named n
          left join lateral (  -- its own spelling is not unique, so that of the other is inserted
            select a.alias from identity.aliases a
             where n.kind = 'id_tag' and a.kind = 'id_tag'
               and identity.folded_tag(a.alias) = n.alias limit 1) other on true
         where n.kind = 'client_id'
            or n.alias <> '' and not exists (
                 select from identity.aliases a
                  where a.kind = 'id_tag' and identity.folded_tag(a.alias) = n.alias
                    and a.client_id = n.client_id)
        """,
        run,
        [new.kind for new in aliases],
        [new.alias for new in aliases],
        [new.client_id for new in aliases],
    )


async def remove_aliases(
    connection: Connection, run: int, client_ids: Sequence[UUID], *, timeout_s: float
) -> int:
    """Deletes the aliases that a run gave to these clients. Returns how many."""
    rows: list[Record] = await connection.fetch(
        """
        delete from identity.aliases
         where run = $1 and client_id = any ($2::uuid[])
        returning alias
        """,
        run,
        client_ids,
        timeout=timeout_s,
    )
    return len(rows)


async def remove_client_aliases(connection: Connection, run: int, client_id: UUID) -> None:
    """Deletes the aliases that a run gave to a client, and all its id tags."""
    await connection.execute(
        "delete from identity.aliases where client_id = $2 and (run = $1 or kind = 'id_tag')",
        run,
        client_id,
    )


async def confirm_aliases(connection: Connection, run: int, *, timeout_s: float) -> None:
    """Makes the aliases of a run final."""
    await connection.execute(
        "update identity.aliases set confirmed_at = now() where run = $1 and confirmed_at is null",
        run,
        timeout=timeout_s,
    )


@dataclass(frozen=True, slots=True)
class IdTag:
    """A card of a client."""

    tag: str  # as it is stored; those of a migration by 0.1.0 have separators
    client_id: UUID
    run: int | None  # of the client migration that added it; None: an operator did
    created_at: datetime


async def add_id_tag(connection: Connection, tag: str, client_id: UUID) -> str:
    """Gives a card to a client; returns added, repeated, of_another or not_found."""
    return await connection.fetchval("select identity.add_id_tag($1, $2)", tag, client_id)


class RemovedIdTag(NamedTuple):
    """A spelling of a card, and the client whose it was."""

    tag: str
    client_id: UUID


async def remove_id_tag(connection: Connection, tag: str) -> list[RemovedIdTag]:
    """Takes a card from all who have it."""
    rows = await connection.fetch(
        "select alias, client_id from identity.remove_id_tag($1) order by 1", tag
    )
    return [RemovedIdTag(row["alias"], row["client_id"]) for row in rows]


async def list_id_tags(
    connection: Connection, client_id: UUID | None, tag: str | None, limit: int
) -> list[IdTag]:
    """Returns cards of clients, the newest first."""
    rows = await connection.fetch(
        """
        select alias as tag, client_id, run, created_at from identity.aliases
         where kind = 'id_tag' and ($1::uuid is null or client_id = $1)
           and ($2::text is null or identity.folded_tag(alias) = $2)
         order by created_at desc, alias limit $3
        """,
        client_id,
        tag,
        limit,
    )
    return [read_row(IdTag, row) for row in rows]


@dataclass(frozen=True, slots=True)
class SharedIdTag:
    """A card that several clients have, each in another spelling."""

    spellings: Sequence[str]  # the oldest first
    client_ids: Sequence[UUID]  # of each


async def list_shared_id_tags(connection: Connection, limit: int) -> list[SharedIdTag]:
    """Returns the cards that several clients have."""
    rows = await connection.fetch(
        """
        select array_agg(a.alias order by a.created_at, a.alias) as spellings,
          array_agg(a.client_id order by a.created_at, a.alias) as client_ids
          from (select distinct identity.folded_tag(alias) as tag from identity.aliases
                 where kind = 'id_tag' and alias ~ '[^0-9a-z]') o  -- any other is as it is compared
          join identity.aliases a on a.kind = 'id_tag' and identity.folded_tag(a.alias) = o.tag
         where o.tag <> ''
         group by o.tag having count(distinct a.client_id) > 1
         order by o.tag limit $1
        """,
        limit,
    )
    return [read_row(SharedIdTag, row) for row in rows]
