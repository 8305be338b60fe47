"""SQL of runs: their rows, what was done with each, and the aliases that came of it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from evpower.client_migration.model import (
    Done,
    RowRefused,
    RowWork,
    Run,
    RunState,
    Trouble,
    TroubleCount,
)
from evpower.client_migration.store_plan import COUNT, HOUR_S
from evpower.foundation.db import Connection, Database, Record, fetch_one

_RUN: Final = "id, mark, source, state"
_WORK: Final = """
run, line, old_id, plan, client_id, matched_by, email, phone, name, email_proof, phone_proof,
balance_minor, digest
"""
_LOCK: Final = 0x4944454E  # "IDEN"


def _run(row: Record | None) -> Run | None:
    return Run(**dict(row)) if row is not None else None


async def counted(connection: Connection) -> Record:
    """The staged rows by plan."""
    return await fetch_one(connection, COUNT)


@asynccontextmanager
async def alone(db: Database) -> AsyncGenerator[None]:
    """Be the only process at it until the block ends. Raises Refused("migration_busy").

    The lock is a transaction's, which does nothing else: it holds no row and no snapshot, a pooler
    keeps its connection, and the lock goes with the process.
    """
    async with db.transaction() as connection:
        await connection.execute("set local idle_in_transaction_session_timeout = 0")
        if not await try_lock_here(connection):
            raise RowRefused("migration_busy", "another process is at a run")
        yield


async def try_lock_here(connection: Connection) -> bool:
    """Be the only process at it until this transaction ends."""
    got: bool = await connection.fetchval("select pg_try_advisory_xact_lock($1)", _LOCK)
    return got


async def open_run(connection: Connection) -> Run | None:
    """The run that was not finished."""
    return _run(
        await connection.fetchrow(
            f"select {_RUN} from identity.migrations where state in ('running', 'reverting')"
        )
    )


async def get_run(connection: Connection, run: int) -> Run | None:
    """Read one run."""
    return _run(
        await connection.fetchrow(f"select {_RUN} from identity.migrations where id = $1", run)
    )


async def latest_run(connection: Connection, states: Sequence[RunState]) -> Run | None:
    """The newest run in one of these states that has anything to revert or confirm."""
    return _run(
        await connection.fetchrow(
            f"""
            select {_RUN} from identity.migrations m where state = any ($1)
              and exists (select from identity.migration_rows r where r.run = m.id
              and r.plan in ('adopt', 'create', 'add')) order by id desc limit 1
            """,
            list(states),
        )
    )


async def insert_run(
    connection: Connection, source: str, actor: str, *, rows_read: int, rows_skipped: int
) -> Run | None:
    """Begin a run; None when another is open."""
    return _run(
        await connection.fetchrow(
            f"""
            insert into identity.migrations (source, actor, rows_read, rows_skipped)
            values ($1, $2, $3, $4) on conflict do nothing returning {_RUN}
            """,
            source,
            actor,
            rows_read,
            rows_skipped,
        )
    )


async def set_state(
    connection: Connection, run: int, state: RunState, allowed_from: Sequence[RunState]
) -> bool:
    """Move a run on; false when it was not in one of `allowed_from`."""
    found = await connection.fetchval(
        """
        update identity.migrations set state = $2,
          finished_at = coalesce(finished_at, case when $2 = 'done' then now() end),
          confirmed_at = case when $2 = 'confirmed' then now() end,
          reverted_at = case when $2 = 'reverted' then now() end
        where id = $1 and state = any ($3) returning true
        """,
        run,
        state,
        list(allowed_from),
    )
    return found is not None


async def marks(connection: Connection) -> set[str]:
    """The marks of every run: who bears one was created by us."""
    rows: list[Record] = await connection.fetch("select mark::text from identity.migrations")
    return {row["mark"] for row in rows}


async def count_work(connection: Connection, run: int) -> int:
    """How many rows are left to do."""
    count: int = await connection.fetchval(
        """
        select count(*) from identity.migration_rows where run = $1
          and plan in ('adopt', 'create', 'add') and state in ('planned', 'failed')
        """,
        run,
    )
    return count


async def work_of(connection: Connection, run: int, old_ids: Sequence[str]) -> list[RowWork]:
    """The rows of these old ids that are left to do."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {_WORK} from identity.migration_rows where run = $1 and old_id = any ($2)
          and plan in ('adopt', 'create', 'add') and state in ('planned', 'failed')
        """,
        run,
        list(old_ids),
    )
    return [RowWork(**dict(row)) for row in rows]


async def record_carried(connection: Connection, work: RowWork) -> None:
    """The row's balance went into its wallet."""
    await connection.execute(
        "update identity.migration_rows set carried_at = now() where run = $1 and line = $2",
        work.run,
        work.line,
    )


async def record_trouble(
    connection: Connection, run: int, line: int, reason: str, detail: str, *, conflict: bool
) -> None:
    """Why a planned row was not moved; a conflict is for a person, a failure for --resume."""
    await connection.execute(
        """
        update identity.migration_rows set reason = $3, detail = $4, updated_at = now(),
          state = case when $5 then state else 'failed' end,
          plan = case when $5 then 'conflict' else plan end
        where run = $1 and line = $2 and state in ('planned', 'failed')
        """,
        run,
        line,
        reason,
        detail[:500],
        conflict,
    )


async def be_patient(connection: Connection) -> None:
    """Let this transaction's statements, over all rows of a run, take their time."""
    await connection.execute("set local statement_timeout = 0")


async def fail_missing(connection: Connection, run: int) -> int:
    """Rows the source no longer has as they were planned."""
    rows: list[Record] = await connection.fetch(
        """
        update identity.migration_rows set state = 'failed', reason = 'gone_from_source',
          updated_at = now() where run = $1 and plan in ('adopt', 'create', 'add')
          and state = 'planned' returning line
        """,
        run,
        timeout=HOUR_S,
    )
    return len(rows)


async def other_old_id(connection: Connection, client_id: UUID, old_id: str) -> str | None:
    """Another old id of this client."""
    found: str | None = await connection.fetchval(
        """
        select alias from identity.aliases
        where client_id = $1 and kind = 'client_id' and alias <> $2 limit 1
        """,
        client_id,
        old_id,
    )
    return found


async def carried_before(connection: Connection, client_id: UUID, old_id: str) -> bool:
    """Whether the balance of this very old client went into this wallet in a run taken back."""
    found = await connection.fetchval(
        """
        select 1 from identity.migration_rows
        where client_id = $1 and old_id = $2 and carried_at is not null limit 1
        """,
        client_id,
        old_id,
    )
    return found is not None


async def carried_elsewhere(connection: Connection, client_id: UUID, old_id: str) -> UUID | None:
    """Another client into whose wallet the balance of this old client went before."""
    found: UUID | None = await connection.fetchval(
        """
        select client_id from identity.migration_rows
        where old_id = $2 and client_id <> $1 and carried_at is not null limit 1
        """,
        client_id,
        old_id,
    )
    return found


async def is_open_client(connection: Connection, client_id: str) -> bool:
    """Whether there is such a client, and not closed."""
    found = await connection.fetchval(
        "select 1 from identity.clients where id = $1::uuid and status <> 'closed'", client_id
    )
    return found is not None


async def lose_in_a_crash(connection: Connection) -> None:
    """Don't wait for the disk: what a crash of the database takes is simply done again."""
    await connection.execute("set local synchronous_commit = off")


async def was_reverted(connection: Connection, client_id: UUID) -> bool:
    """Whether a revert of ours closed this client."""
    found = await connection.fetchval(
        """
        select 1 from identity.migration_rows
        where client_id = $1 and plan = 'create' and state = 'reverted' limit 1
        """,
        client_id,
    )
    return found is not None


async def standing(connection: Connection, run: int, moved: int) -> Done:
    """How a run stands."""
    row = await connection.fetchrow(
        """
        select count(*) filter (where state in ('done', 'kept')) as done,
          count(*) filter (where plan in ('adopt', 'create', 'add')
          and state in ('planned', 'failed')) as failed,
          count(*) filter (where plan = 'conflict') as conflicts,
          count(*) filter (where plan = 'invalid') as invalid,
          (select rows_skipped from identity.migrations where id = $1) as skipped
        from identity.migration_rows where run = $1
        """,
        run,
    )
    return Done(run=run, moved=moved, **dict(row or {}))


# Rows of run $1, those settled since left out.
_NOT_MOVED: Final = """
from (select r.line, r.old_id,
  case when r.state in ('failed', 'kept') then r.state else r.plan end as plan,
  coalesce(r.reason, '') as reason, coalesce(r.detail, r.note) as detail
from identity.migration_rows r where r.run = $1
  and (r.plan in ('conflict', 'invalid') or r.state in ('failed', 'kept'))
  and not exists (select from identity.aliases a where a.kind = 'client_id'
  and a.alias = r.old_id and a.run is distinct from r.run)) t
"""


async def troubles(connection: Connection, run: int, limit: int) -> list[Trouble]:
    """Rows that were not moved."""
    rows: list[Record] = await connection.fetch(
        f"select line, old_id, plan, reason, detail{_NOT_MOVED} order by line limit $2", run, limit
    )
    return [Trouble(**dict(row)) for row in rows]


async def count_troubles(connection: Connection, run: int) -> list[TroubleCount]:
    """Rows that were not moved, counted by plan and reason."""
    rows: list[Record] = await connection.fetch(
        f"select plan, reason, count(*) as rows{_NOT_MOVED} group by 1, 2 order by 1, 2", run
    )
    return [TroubleCount(**dict(row)) for row in rows]


async def newest_run(connection: Connection) -> int | None:
    """Returns the number of the newest run; None before the first."""
    found: int | None = await connection.fetchval("select max(id) from identity.migrations")
    return found


async def newest_runs(connection: Connection, limit: int) -> list[Record]:
    """Returns the newest runs first, each with its rows counted by what became of them."""
    return await connection.fetch(
        """
        select m.id, m.source, m.state, m.started_at, m.rows_read, m.rows_skipped,
          count(*) filter (where r.plan = 'adopt' and r.state = 'done') as adopted,
          count(*) filter (where r.plan = 'create' and r.state = 'done') as created,
          count(*) filter (where r.plan = 'add' and r.state = 'done') as added,
          count(*) filter (where r.plan = 'conflict') as conflicts,
          count(*) filter (where r.plan = 'invalid') as invalid,
          count(*) filter (where r.plan in ('adopt', 'create', 'add')
          and r.state in ('planned', 'failed', 'reverting')) as left,
          count(*) filter (where r.state = 'kept') as kept,
          count(*) filter (where r.state = 'reverted') as reverted,
          count(*) filter (where r.note = 'password_to_be_reset' and r.state = 'done')
          as passwords_to_reset
        from (select * from identity.migrations order by id desc limit $1) m
        left join identity.migration_rows r on r.run = m.id
        group by m.id, m.source, m.state, m.started_at, m.rows_read, m.rows_skipped
        order by m.id desc
        """,
        limit,
    )
