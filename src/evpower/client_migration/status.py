"""What runs there were, how they stand, and what they left to a person."""

from dataclasses import dataclass
from datetime import datetime

from evpower.client_migration import store
from evpower.client_migration.model import Run, RunState, Trouble, TroubleCount
from evpower.foundation.db import Connection, Record


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
    found: int | None = await connection.fetchval("select max(id) from identity.migrations")
    return found


async def standings(connection: Connection, limit: int = 20) -> list[Standing]:
    """The newest runs first."""
    rows: list[Record] = await connection.fetch(
        "select m.id, m.source, m.state, m.started_at, m.rows_read, m.rows_skipped,"
        " count(*) filter (where r.plan = 'adopt' and r.state = 'done') as adopted,"
        " count(*) filter (where r.plan = 'create' and r.state = 'done') as created,"
        " count(*) filter (where r.plan = 'add' and r.state = 'done') as added,"
        " count(*) filter (where r.plan = 'conflict') as conflicts,"
        " count(*) filter (where r.plan = 'invalid') as invalid,"
        " count(*) filter (where r.plan in ('adopt', 'create', 'add')"
        "   and r.state in ('planned', 'failed', 'reverting')) as left,"
        " count(*) filter (where r.state = 'kept') as kept,"
        " count(*) filter (where r.state = 'reverted') as reverted,"
        " count(*) filter (where r.note = 'password_to_be_reset' and r.state = 'done')"
        "   as passwords_to_reset"
        " from (select * from identity.migrations order by id desc limit $1) m"
        " left join identity.migration_rows r on r.run = m.id"
        " group by m.id, m.source, m.state, m.started_at, m.rows_read, m.rows_skipped"
        " order by m.id desc",
        limit,
    )
    return [Standing(**dict(row)) for row in rows]


async def troubles_of(connection: Connection, run: int, limit: int) -> list[Trouble]:
    """Rows a run did not move, those settled since left out."""
    return await store.troubles(connection, run, limit)


async def count_troubles(connection: Connection, run: int) -> list[TroubleCount]:
    """All of them, counted by plan and reason."""
    return await store.count_troubles(connection, run)
