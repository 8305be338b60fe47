"""The state of runs, and the rows they did not move."""

from dataclasses import dataclass
from datetime import datetime

from evpower.client_migration import store
from evpower.client_migration.model import Run, RunState, Trouble, TroubleCount
from evpower.foundation.db import Connection


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run with the number of its rows by outcome."""

    id: int
    source: str
    state: RunState
    started_at: datetime
    rows_read: int
    rows_skipped: int
    linked: int
    created: int
    added: int  # to clients who were moved before
    conflicts: int
    invalid: int
    left: int  # not done, or failed
    retained: int
    reverted: int
    passwords_to_reset: int


async def resumable(connection: Connection) -> Run | None:
    """Returns the run that was stopped before its end, or the newest one with failed rows."""
    run = await store.open_run(connection)
    if run is not None:
        return run if run.state == "running" else None
    run = await store.latest_run(connection, ["done"])
    return run if run is not None and await store.count_work(connection, run.id) else None


async def newest(connection: Connection) -> int | None:
    """Returns the number of the newest run."""
    return await store.newest_run(connection)


async def run_statuses(connection: Connection, limit: int = 20) -> list[RunStatus]:
    """Returns the newest runs first."""
    rows = await store.newest_runs(connection, limit)
    return [RunStatus(**dict(row)) for row in rows]


async def troubles_of(connection: Connection, run: int, limit: int) -> list[Trouble]:
    """Returns rows a run did not move, without those that another run moved."""
    return await store.troubles(connection, run, limit)


async def count_troubles(connection: Connection, run: int) -> list[TroubleCount]:
    """Returns the number of all such rows, by plan and reason."""
    return await store.count_troubles(connection, run)
