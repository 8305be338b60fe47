"""Deletes old rows in small transactions until none is left: faster than new ones can come."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.loops import Round

BATCH: Final = 5_000  # rows in one transaction: its locks are held for some tens of milliseconds

# Deletes at most this many rows. Returns how many.
Delete = Callable[[Connection, int], Awaitable[int]]


async def purge(
    db: Database, delete: Delete, current: Round | None = None, *, batch: int = BATCH
) -> int:
    """Runs `delete` until it finds less than a batch, or the process stops. Returns the sum."""
    current = current or Round()
    total, deleted = 0, batch
    while deleted >= batch and not current.stopping:
        async with db.transaction() as connection:
            deleted = await delete(connection, batch)
        total += deleted
        current.progress()
    return total


def purging(
    db: Database, clock: Clock, delete: Callable[[Connection, datetime, int], Awaitable[int]]
) -> Callable[[Round], Awaitable[int]]:
    """Returns a loop's work: `delete(connection, now, at_most)` until nothing old is left."""
    return lambda current: purge(db, lambda c, at_most: delete(c, clock(), at_most), current)


def count(command: str) -> int:
    """Returns how many rows a command changed, from PostgreSQL's tag ("DELETE 17")."""
    return int(command.rsplit(" ", 1)[1])
