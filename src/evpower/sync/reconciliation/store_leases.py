"""SQL of the turns: which comparison is due, and whose it is."""

from datetime import datetime
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.sync.reconciliation.store_runs import Turn


async def plan(connection: Connection, kind: Turn, due_at: datetime | None) -> None:
    """A turn nobody has begun is due then at the latest; None: never."""
    await connection.execute(
        """
        update sync.check_turns set due_at = $2 where kind = $1 and leased_by is null
          and check_id is null and (due_at is null or due_at > $2 or $2::timestamptz is null)
          and due_at is distinct from $2
        """,
        kind,
        due_at,
    )


async def lease(connection: Connection, me: UUID, now: datetime, until: datetime) -> Turn | None:
    """Take a due turn that nobody has, or whose worker is gone: the nightly one first."""
    return await connection.fetchval(
        """
        update sync.check_turns t set leased_by = $1, leased_until = $3
        where kind = (select kind from sync.check_turns where due_at <= $2
         and (leased_until is null or leased_until < $2)
         order by kind limit 1 for update skip locked) returning kind
        """,
        me,
        now,
        until,
    )


async def begun(connection: Connection, kind: Turn) -> int | None:
    """The comparison that was begun and not ended."""
    return await connection.fetchval("select check_id from sync.check_turns where kind = $1", kind)


async def begin(connection: Connection, kind: Turn, check_id: int) -> None:
    """Note which comparison the turn runs."""
    await connection.execute(
        "update sync.check_turns set check_id = $2 where kind = $1", kind, check_id
    )


async def hold(connection: Connection, kind: Turn, me: UUID, until: datetime) -> bool:
    """Keep the turn; false when another worker took it."""
    kept = await connection.fetchval(
        """
        update sync.check_turns set leased_until = $3 where kind = $1 and leased_by = $2
        returning true
        """,
        kind,
        me,
        until,
    )
    return kept is not None


async def give_back(connection: Connection, kind: Turn, me: UUID, due_at: datetime) -> None:
    """Somebody carries on, from then."""
    await connection.execute(
        """
        update sync.check_turns set leased_by = null, leased_until = null, due_at = $3
        where kind = $1 and leased_by = $2
        """,
        kind,
        me,
        due_at,
    )


async def end(connection: Connection, kind: Turn, me: UUID, due_at: datetime | None) -> None:
    """The comparison ended; the next one is due then."""
    await connection.execute(
        """
        update sync.check_turns set leased_by = null, leased_until = null, check_id = null,
          due_at = $3 where kind = $1 and leased_by = $2
        """,
        kind,
        me,
        due_at,
    )


async def last_start(connection: Connection) -> datetime | None:
    """When the last comparison of what changed lately began, of those that ended."""
    return await connection.fetchval(
        """
        select started_at from sync.checks where kind = 'hot' and finished_at is not null
        order by id desc limit 1
        """
    )


async def target_trouble(connection: Connection) -> str:
    """Why the relay can't reach Supabase; empty: it can, or has nothing to try it with."""
    why = await connection.fetchval(
        """
        select coalesce(error, state) from sync.targets where name = 'supabase' and state <> 'up'
          and exists (select from sync.pending where parked_at is null)
        """
    )
    return why or ""
