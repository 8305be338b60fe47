"""Send again: everything parked, or one key whole."""

from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.errors import NotFound
from evpower.sync.model import OutboxTopic
from evpower.sync.outbound import store, store_backfill


async def replay_parked(connection: Connection) -> int:
    """Make every parked key due now; answers how many."""
    return await store.unpark_all(connection)


async def replay(connection: Connection, topic: OutboxTopic, key: UUID) -> None:
    """Send one client with all its transactions, or one session, again from the start.

    Raises NotFound("client_not_found" | "session_not_found").
    """
    if not await store_backfill.exists(connection, topic, key):
        raise NotFound(f"{topic}_not_found", f"no such {topic}: {key}")
    await store.mark(connection, topic, [key], force=True)
