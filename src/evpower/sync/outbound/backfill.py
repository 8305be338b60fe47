"""Mark everything pending, page by page: for a Supabase that is new, empty or restored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, Database, Record, fetch_one
from evpower.sync.model import TOPICS, OutboxTopic
from evpower.sync.outbound import store

_TABLES: Final[dict[OutboxTopic, str]] = {
    "client": "identity.clients",
    "session": "charging.sessions",
}


@dataclass(frozen=True, slots=True)
class Backfilled:
    """How many keys were marked, by this run and those it carried on."""

    clients: int
    sessions: int


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """`done` of about `total` keys of one topic."""

    topic: OutboxTopic
    done: int
    total: int


async def backfill(
    db: Database,
    topics: Sequence[OutboxTopic] = TOPICS,
    *,
    from_scratch: bool = False,
    page: int = 1000,
    on_progress: Callable[[BackfillProgress], None] = lambda _: None,
) -> Backfilled:
    """Mark every client and session; a run that was stopped is carried on where it was.

    `from_scratch` forgets what Supabase is known to have: all transactions travel again. Without it
    Supabase itself says what it lacks (a gap), one round more for each client that lacks any.
    """
    marked = dict.fromkeys(_TABLES, 0)
    for topic in topics:
        async with db.transaction() as connection:
            total: int = await connection.fetchval(f"select count(*) from {_TABLES[topic]}")
            await connection.execute(
                "insert into sync.backfills as b (topic) values ($1) on conflict (topic) do update"
                " set after = null, marked = 0, started_at = now(), finished_at = null"
                " where b.finished_at is not null",
                topic,
            )
        more = True
        while more:
            async with db.transaction() as connection:
                marked[topic], more = await _mark_page(
                    connection, topic, page, from_scratch=from_scratch
                )
            on_progress(BackfillProgress(topic, marked[topic], total))
    return Backfilled(marked["client"], marked["session"])


async def _mark_page(
    connection: Connection, topic: OutboxTopic, page: int, *, from_scratch: bool
) -> tuple[int, bool]:
    """One page in one transaction: marks and the place reached are kept together."""
    at = await fetch_one(
        connection, "select after, marked from sync.backfills where topic = $1 for update", topic
    )
    rows: list[Record] = await connection.fetch(
        f"select id from {_TABLES[topic]} where $1::uuid is null or id > $1 order by id limit $2",
        at["after"],
        page,
    )
    keys: list[UUID] = [row["id"] for row in rows]
    await store.mark(connection, topic, keys)
    if topic == "client" and from_scratch and keys:
        await store.forget_acknowledged(connection, keys)
    more = len(keys) == page
    done: int = at["marked"] + len(keys)
    await connection.execute(
        "update sync.backfills set after = coalesce($2, after), marked = $3,"
        " finished_at = case when not $4 then now() end where topic = $1",
        topic,
        keys[-1] if keys else None,
        done,
        more,
    )
    return done, more
