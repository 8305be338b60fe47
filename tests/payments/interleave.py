"""Runs two confirmations that always overlap: the second begins before the first commits."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import asyncpg

from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.payments.confirm import Confirmer
from evpower.payments.model import Confirmation, Event
from evpower.payments.store import confirm_many
from tests.conftest import as_owner
from tests.waiting import until


async def lock_waits(watcher: Connection) -> int:
    """Return how many connections of this database wait for a lock."""
    return await watcher.fetchval(
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and wait_event_type = 'Lock'"
    )


async def two_at_once(db: Database, dsn: str, first: Event, second: Event) -> Confirmation:
    """Apply `first`, begin `second`, commit `first`; returns the confirmation of `second`."""
    confirmer = Confirmer(db, LocalBus())
    try:
        return await _overlap(dsn, first, confirmer.confirm(second))
    finally:
        await confirmer.close()


async def two_statements(dsn: str, first: Event, second: Event) -> Confirmation:
    """As `two_at_once`, without the retries of a Confirmer."""
    connection: Connection = await asyncpg.connect(as_owner(dsn))

    async def apply() -> Confirmation:
        [done] = await confirm_many(connection, [second])
        return done

    try:
        return await _overlap(dsn, first, apply())
    finally:
        await connection.close()


async def _overlap(
    dsn: str, first: Event, second: Coroutine[Any, Any, Confirmation]
) -> Confirmation:
    connection: Connection = await asyncpg.connect(as_owner(dsn))
    watcher: Connection = await asyncpg.connect(as_owner(dsn))
    task: asyncio.Task[Confirmation] | None = None
    try:
        async with connection.transaction():
            [done] = await confirm_many(connection, [first])
            assert done.outcome in {"confirmed", "refunded"}
            task = running = asyncio.create_task(second)

            async def waits() -> bool:
                return running.done() or await lock_waits(watcher) > 0

            await until(waits, "the second confirmation neither waits nor ends")
        return await running
    finally:
        if task is None:
            second.close()
        await watcher.close()
        await connection.close()
