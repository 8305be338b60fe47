"""All SQL of a backfill, and of whether a key exists."""

from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, Record, fetch_one
from evpower.sync.model import OutboxTopic

_TABLES: Final[dict[OutboxTopic, str]] = {
    "client": "identity.clients_public",
    "session": "charging.sessions_public",
}


async def exists(connection: Connection, topic: OutboxTopic, key: UUID) -> bool:
    """Returns whether EvPower has this client or session."""
    is_there: bool = await connection.fetchval(
        f"select exists (select from {_TABLES[topic]} where id = $1)", key
    )
    return is_there


async def count_keys(connection: Connection, topic: OutboxTopic) -> int:
    """Returns how many keys of this topic there are."""
    count: int = await connection.fetchval(f"select count(*) from {_TABLES[topic]}")
    return count


async def begin(connection: Connection, topic: OutboxTopic) -> None:
    """Begins a backfill; one that was stopped before its end stays where it was."""
    await connection.execute(
        """
        insert into sync.backfills as b (topic) values ($1) on conflict (topic) do update
        set after = null, enqueued = 0, started_at = now(), finished_at = null
        where b.finished_at is not null
        """,
        topic,
    )


async def progress(connection: Connection, topic: OutboxTopic) -> tuple[UUID | None, int]:
    """Returns the last key and how many were enqueued; locked until the transaction ends."""
    row = await fetch_one(
        connection, "select after, enqueued from sync.backfills where topic = $1 for update", topic
    )
    return row["after"], row["enqueued"]


async def next_keys(
    connection: Connection, topic: OutboxTopic, after: UUID | None, limit: int
) -> list[UUID]:
    """Returns the keys after this one, in order."""
    rows: list[Record] = await connection.fetch(
        f"select id from {_TABLES[topic]} where $1::uuid is null or id > $1 order by id limit $2",
        after,
        limit,
    )
    return [row["id"] for row in rows]


async def advance(
    connection: Connection, topic: OutboxTopic, last: UUID | None, enqueued: int, *, more: bool
) -> None:
    """Stores the last key reached; without `more` the backfill is finished."""
    await connection.execute(
        """
        update sync.backfills set after = coalesce($2, after), enqueued = $3,
          finished_at = case when not $4 then now() end where topic = $1
        """,
        topic,
        last,
        enqueued,
        more,
    )
