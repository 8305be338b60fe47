"""What runs there were, how they stand, and what they left to a person."""

from dataclasses import dataclass
from datetime import datetime

from evpower.client_migration import store
from evpower.client_migration.model import Run, RunState, Trouble, TroubleCount
from evpower.foundation.db import Connection


@dataclass(frozen=True, slots=True)
class Standing:
    """A run with its rows by what became of them."""

    id: int
    source: str
    state: RunState
    started_at: datetime
    rows_read: int
    rows_skipped: int
    adopted: int
    created: int
    added: int  # to clients who were moved before
    conflicts: int
    invalid: int
    left: int  # to do, or failed
    kept: int
    reverted: int
    passwords_to_reset: int


async def resumable(connection: Connection) -> Run | None:
    """The run that was stopped before its end, or the newest one in which rows failed."""
    found = await store.open_run(connection)
    if found is not None:
        return found if found.state == "running" else None
    found = await store.latest_run(connection, ["done"])
    return found if found is not None and await store.count_work(connection, found.id) else None


async def newest(connection: Connection) -> int | None:
    """The number of the newest run."""
    return await store.newest_run(connection)


async def standings(connection: Connection, limit: int = 20) -> list[Standing]:
    """The newest runs first."""
    rows = await store.newest_runs(connection, limit)
    return [Standing(**dict(row)) for row in rows]


async def troubles_of(connection: Connection, run: int, limit: int) -> list[Trouble]:
    """Rows a run did not move, those settled since left out."""
    return await store.troubles(connection, run, limit)


async def count_troubles(connection: Connection, run: int) -> list[TroubleCount]:
    """All of them, counted by plan and reason."""
    return await store.count_troubles(connection, run)
