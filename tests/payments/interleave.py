"""Two confirmations that overlap for certain: the second begins before the first commits."""

import asyncio

import asyncpg

from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.payments import Confirmation, Confirmer, Event
from evpower.payments.store import confirm_many
from tests.waiting import until


async def two_at_once(db: Database, dsn: str, first: Event, second: Event) -> Confirmation:
    """Apply `first`, begin `second`, which must wait for it, commit, and return the second's."""
    connection: Connection = await asyncpg.connect(dsn)
    watcher: Connection = await asyncpg.connect(dsn)
    confirmer = Confirmer(db, LocalBus())
    try:
        async with connection.transaction():
            [done] = await confirm_many(connection, [first])
            assert done.outcome == "confirmed"
            task = asyncio.create_task(confirmer.confirm(second))

            async def waits() -> bool:
                return task.done() or await watcher.fetchval(
                    "select exists (select from pg_stat_activity"
                    " where datname = current_database() and wait_event_type = 'Lock')"
                )

            await until(waits, "the second confirmation neither waits nor ends")
        return await task
    finally:
        await confirmer.close()
        await watcher.close()
        await connection.close()
