"""Deletes what is old, in small transactions, until nothing is left: faster than it can come."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.loops import Round

BATCH: Final = 5_000  # rows in one transaction: locks and WAL of some tens of milliseconds

# Deletes at most so many rows; returns how many.
Delete = Callable[[Connection, int], Awaitable[int]]


async def purge(
    db: Database, delete: Delete, current: Round | None = None, *, batch: int = BATCH
) -> int:
    """Run `delete` until it finds less than a batch, or the process stops. Returns the sum."""
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
    """Return a loop's work: `delete(connection, now, at_most)` until nothing old is left."""
    return lambda current: purge(db, lambda c, at_most: delete(c, clock(), at_most), current)


def count(command: str) -> int:
    """Return how many rows PostgreSQL says a command changed ("DELETE 17")."""
    return int(command.rsplit(" ", 1)[1])
