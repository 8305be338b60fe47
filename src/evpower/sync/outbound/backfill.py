"""Enqueues everything page by page, or single keys: for a new, empty or restored Supabase."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import NotFound
from evpower.sync.model import TOPICS, ComparedTopic
from evpower.sync.outbound import store, store_backfill, store_rows


@dataclass(frozen=True, slots=True)
class BackfillResult:
    """How many keys were enqueued, by this run and the stopped runs it continued."""

    clients: int
    sessions: int


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """`done` of about `total` keys of one topic."""

    topic: ComparedTopic
    done: int
    total: int


async def backfill(
    db: Database,
    topics: Sequence[ComparedTopic] = TOPICS,
    *,
    from_scratch: bool = False,
    page: int = 1000,
    on_progress: Callable[[BackfillProgress], None] = lambda _: None,
) -> BackfillResult:
    """Enqueues clients, sessions, stations, tariffs; a run that was stopped continues where it was.

    `from_scratch` resets what Supabase is known to have, so that all transactions are sent again.
    Without it Supabase reports what it lacks (a gap), which costs one more call for such clients.
    """
    enqueued = dict.fromkeys(TOPICS, 0)
    for topic in topics:
        async with db.transaction() as connection:
            total = await store_backfill.count_keys(connection, topic)
            await store_backfill.begin(connection, topic)
        more = True
        while more:
            async with db.transaction() as connection:
                enqueued[topic], more = await _enqueue_page(
                    connection, topic, page, from_scratch=from_scratch
                )
            on_progress(BackfillProgress(topic, enqueued[topic], total))
    if topics == TOPICS:
        async with db.transaction() as connection:
            await store_rows.enqueue_all(connection)
    return BackfillResult(enqueued["client"], enqueued["session"])


async def _enqueue_page(
    connection: Connection, topic: ComparedTopic, page: int, *, from_scratch: bool
) -> tuple[int, bool]:
    """Enqueues one page. The entries and the position are stored in one transaction."""
    after, enqueued_before = await store_backfill.progress(connection, topic)
    keys = await store_backfill.next_keys(connection, topic, after, page)
    await store.enqueue(connection, topic, keys)
    if topic == "client" and from_scratch and keys:
        await store.forget_acknowledged(connection, keys)
    more = len(keys) == page
    done = enqueued_before + len(keys)
    await store_backfill.advance(connection, topic, keys[-1] if keys else None, done, more=more)
    return done, more


async def replay_parked(connection: Connection) -> int:
    """Makes every parked entry due now. Returns how many."""
    return await store.unpark_all(connection)


async def replay(connection: Connection, topic: ComparedTopic, key: UUID) -> None:
    """Enqueues a client with all its transactions, or a session, to be sent from the start.

    Raises NotFound("client_not_found" | "session_not_found").
    """
    if not await store_backfill.exists(connection, topic, key):
        raise NotFound(f"{topic}_not_found", f"no such {topic}: {key}")
    await store.enqueue(connection, topic, [key], force=True)
