"""Mark everything pending, page by page: for a Supabase that is new, empty or restored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evpower.foundation.db import Connection, Database
from evpower.sync.model import TOPICS, OutboxTopic
from evpower.sync.outbound import store, store_backfill


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
    marked = dict.fromkeys(TOPICS, 0)
    for topic in topics:
        async with db.transaction() as connection:
            total = await store_backfill.count_keys(connection, topic)
            await store_backfill.begin(connection, topic)
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
    after, already_marked = await store_backfill.progress(connection, topic)
    keys = await store_backfill.next_keys(connection, topic, after, page)
    await store.mark(connection, topic, keys)
    if topic == "client" and from_scratch and keys:
        await store.forget_acknowledged(connection, keys)
    more = len(keys) == page
    done = already_marked + len(keys)
    await store_backfill.advance(connection, topic, keys[-1] if keys else None, done, more=more)
    return done, more
