"""SQL of the leases of scheduled runs: which run is due, and which process has it."""

from datetime import datetime
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.sync.reconciliation.store_runs import ScheduledKind


async def plan(connection: Connection, kind: ScheduledKind, due_at: datetime | None) -> None:
    """Makes a kind that is neither leased nor begun due at `due_at` at the latest; None: never."""
    await connection.execute(
        """
        update sync.run_leases set due_at = $2 where kind = $1 and leased_by is null
          and run_id is null and (due_at is null or due_at > $2 or $2::timestamptz is null)
          and due_at is distinct from $2
        """,
        kind,
        due_at,
    )


async def lease(
    connection: Connection, process_id: UUID, now: datetime, until: datetime
) -> ScheduledKind | None:
    """Leases a due kind that is free or whose lease expired, the full run first. None: no such."""
    return await connection.fetchval(
        """
        update sync.run_leases t set leased_by = $1, leased_until = $3
        where kind = (select kind from sync.run_leases where due_at <= $2
         and (leased_until is null or leased_until < $2)
         order by kind limit 1 for update skip locked) returning kind
        """,
        process_id,
        now,
        until,
    )


async def open_run(connection: Connection, kind: ScheduledKind) -> int | None:
    """Returns the run of this kind that was begun and not finished."""
    return await connection.fetchval("select run_id from sync.run_leases where kind = $1", kind)


async def set_run(connection: Connection, kind: ScheduledKind, run_id: int) -> None:
    """Stores the run of this kind."""
    await connection.execute("update sync.run_leases set run_id = $2 where kind = $1", kind, run_id)


async def renew(
    connection: Connection, kind: ScheduledKind, process_id: UUID, until: datetime
) -> bool:
    """Extends the lease. Returns false when another process has it."""
    renewed = await connection.fetchval(
        """
        update sync.run_leases set leased_until = $3 where kind = $1 and leased_by = $2
        returning true
        """,
        kind,
        process_id,
        until,
    )
    return renewed is not None


async def release(
    connection: Connection, kind: ScheduledKind, process_id: UUID, due_at: datetime
) -> None:
    """Ends the lease; any process may continue the run from `due_at` on."""
    await connection.execute(
        """
        update sync.run_leases set leased_by = null, leased_until = null, due_at = $3
        where kind = $1 and leased_by = $2
        """,
        kind,
        process_id,
        due_at,
    )


async def finish(
    connection: Connection, kind: ScheduledKind, process_id: UUID, due_at: datetime | None
) -> None:
    """Ends the lease and the run; the next run of this kind is due at `due_at`."""
    await connection.execute(
        """
        update sync.run_leases set leased_by = null, leased_until = null, run_id = null,
          due_at = $3 where kind = $1 and leased_by = $2
        """,
        kind,
        process_id,
        due_at,
    )


async def last_start(connection: Connection) -> datetime | None:
    """Returns when the last finished run of recent changes began."""
    return await connection.fetchval(
        """
        select started_at from sync.runs where kind = 'recent' and finished_at is not null
        order by id desc limit 1
        """
    )


async def target_error(connection: Connection) -> str:
    """Returns why the relay can't reach Supabase; empty: it can, or has nothing to send."""
    error = await connection.fetchval(
        """
        select coalesce(error, state) from sync.targets where name = 'supabase' and state <> 'up'
          and exists (select from sync.pending where parked_at is null)
        """
    )
    return error or ""
