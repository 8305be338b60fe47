"""SQL of runs and their rows."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from evpower.client_migration.model import (
    RowRefused,
    RowWork,
    Run,
    RunState,
    RunSummary,
    Trouble,
    TroubleCount,
)
from evpower.client_migration.store_plan import COUNT, HOUR_S
from evpower.foundation.db import Connection, Database, Record, fetch_one
from evpower.payments import OPENING

_RUN: Final = "id, run_key, source, state"
_WORK: Final = """
run, line, old_id, plan, client_id, matched_by, email, phone, name, email_confirmed,
phone_confirmed, balance_minor, digest
"""
_LOCK: Final = 0x4944454E  # "IDEN"


def _run(row: Record | None) -> Run | None:
    return Run(**dict(row)) if row is not None else None


async def counted(connection: Connection) -> Record:
    """Returns the counts of the staged rows by plan."""
    return await fetch_one(connection, COUNT)


@asynccontextmanager
async def migration_lock(db: Database) -> AsyncGenerator[None]:
    """Excludes other processes until the block ends. Raises RowRefused("migration_busy").

    An advisory lock of a transaction that does nothing else: it holds no row lock and no snapshot,
    a pooler keeps its connection, and the lock ends with the process.
    """
    async with db.transaction() as connection:
        await connection.execute("set local idle_in_transaction_session_timeout = 0")
        if not await try_lock_here(connection):
            raise RowRefused("migration_busy", "another process works on a run")
        yield


async def try_lock_here(connection: Connection) -> bool:
    """Takes the lock until the transaction ends. Returns false when another process has it."""
    got: bool = await connection.fetchval("select pg_try_advisory_xact_lock($1)", _LOCK)
    return got


async def open_run(connection: Connection) -> Run | None:
    """Returns the run that is not finished."""
    return _run(
        await connection.fetchrow(
            f"select {_RUN} from client_migration.runs where state in ('running', 'reverting')"
        )
    )


async def get_run(connection: Connection, run: int) -> Run | None:
    """Returns a run."""
    return _run(
        await connection.fetchrow(f"select {_RUN} from client_migration.runs where id = $1", run)
    )


async def latest_run(connection: Connection, states: Sequence[RunState]) -> Run | None:
    """Returns the newest run in one of these states that has rows to revert or confirm."""
    return _run(
        await connection.fetchrow(
            f"""
            select {_RUN} from client_migration.runs m where state = any ($1)
              and exists (select from client_migration.run_rows r where r.run = m.id
              and r.plan in ('link', 'create', 'add')) order by id desc limit 1
            """,
            list(states),
        )
    )


async def insert_run(
    connection: Connection, source: str, actor: str, *, rows_read: int, rows_skipped: int
) -> Run | None:
    """Inserts a run; None when another is not finished."""
    return _run(
        await connection.fetchrow(
            f"""
            insert into client_migration.runs (source, actor, rows_read, rows_skipped)
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
    """Sets the state of a run. Returns false when it was not in one of `allowed_from`."""
    changed = await connection.fetchval(
        """
        update client_migration.runs set state = $2,
          finished_at = coalesce(finished_at, case when $2 = 'done' then now() end),
          confirmed_at = case when $2 = 'confirmed' then now() end,
          reverted_at = case when $2 = 'reverted' then now() end
        where id = $1 and state = any ($3) returning true
        """,
        run,
        state,
        list(allowed_from),
    )
    return changed is not None


async def run_keys(connection: Connection) -> set[str]:
    """Returns the keys of all runs: a user with one of them was created by a run."""
    rows: list[Record] = await connection.fetch("select run_key::text from client_migration.runs")
    return {row["run_key"] for row in rows}


async def count_work(connection: Connection, run: int) -> int:
    """Returns how many rows are not done."""
    count: int = await connection.fetchval(
        """
        select count(*) from client_migration.run_rows where run = $1
          and plan in ('link', 'create', 'add') and state in ('planned', 'failed')
        """,
        run,
    )
    return count


async def work_of(connection: Connection, run: int, old_ids: Sequence[str]) -> list[RowWork]:
    """Returns the rows of these old ids that are not done."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {_WORK} from client_migration.run_rows where run = $1 and old_id = any ($2)
          and plan in ('link', 'create', 'add') and state in ('planned', 'failed')
        """,
        run,
        list(old_ids),
    )
    return [RowWork(**dict(row)) for row in rows]


async def record_credited(connection: Connection, work: RowWork) -> None:
    """Stores that the row's balance was credited."""
    await connection.execute(
        "update client_migration.run_rows set carried_at = now() where run = $1 and line = $2",
        work.run,
        work.line,
    )


async def record_trouble(
    connection: Connection, run: int, line: int, reason: str, detail: str, *, conflict: bool
) -> None:
    """Stores why a row was not moved: a conflict for an operator, a failure for --resume."""
    await connection.execute(
        """
        update client_migration.run_rows set reason = $3, detail = $4, updated_at = now(),
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


async def disable_statement_timeout(connection: Connection) -> None:
    """Disables the statement time-out of this transaction, for statements over a whole run."""
    await connection.execute("set local statement_timeout = 0")


async def fail_missing(connection: Connection, run: int) -> int:
    """Stores planned rows as failed that the source does not have any more. Returns how many."""
    rows: list[Record] = await connection.fetch(
        """
        update client_migration.run_rows set state = 'failed', reason = 'gone_from_source',
          updated_at = now() where run = $1 and plan in ('link', 'create', 'add')
          and state = 'planned' returning line
        """,
        run,
        timeout=HOUR_S,
    )
    return len(rows)


async def other_old_id(connection: Connection, client_id: UUID, old_id: str) -> str | None:
    """Returns another old id of the client."""
    other: str | None = await connection.fetchval(
        """
        select alias from identity.aliases
        where client_id = $1 and kind = 'client_id' and alias <> $2 limit 1
        """,
        client_id,
        old_id,
    )
    return other


async def credited_before(connection: Connection, client_id: UUID, old_id: str) -> bool:
    """Returns whether a reverted run credited the balance of this old id to this wallet."""
    row = await connection.fetchval(
        """
        select 1 from client_migration.run_rows
        where client_id = $1 and old_id = $2 and carried_at is not null limit 1
        """,
        client_id,
        old_id,
    )
    return row is not None


async def credited_elsewhere(connection: Connection, client_id: UUID, old_id: str) -> UUID | None:
    """Returns another client to whose wallet the balance of this old id was credited."""
    other: UUID | None = await connection.fetchval(
        """
        select client_id from client_migration.run_rows
        where old_id = $2 and client_id <> $1 and carried_at is not null limit 1
        """,
        client_id,
        old_id,
    )
    return other


async def is_open_client(connection: Connection, client_id: str) -> bool:
    """Returns whether the client exists and is not closed."""
    row = await connection.fetchval(
        "select 1 from identity.clients where id = $1::uuid and status <> 'closed'", client_id
    )
    return row is not None


async def use_async_commit(connection: Connection) -> None:
    """Sets synchronous_commit off: a crash may lose this transaction, and it is redone."""
    await connection.execute("set local synchronous_commit = off")


async def was_reverted(connection: Connection, client_id: UUID) -> bool:
    """Returns whether a revert closed this client."""
    row = await connection.fetchval(
        """
        select 1 from client_migration.run_rows
        where client_id = $1 and plan = 'create' and state = 'reverted' limit 1
        """,
        client_id,
    )
    return row is not None


async def run_summary(connection: Connection, run: int, moved: int) -> RunSummary:
    """Returns the counts of a run; `moved` are the rows moved by this call."""
    row = await connection.fetchrow(
        """
        select count(*) filter (where state in ('done', 'retained')) as done,
          count(*) filter (where plan in ('link', 'create', 'add')
          and state in ('planned', 'failed')) as failed,
          count(*) filter (where plan = 'conflict') as conflicts,
          count(*) filter (where plan = 'invalid') as invalid,
          (select rows_skipped from client_migration.runs where id = $1) as skipped
        from client_migration.run_rows where run = $1
        """,
        run,
    )
    return RunSummary(run=run, moved=moved, **dict(row or {}))


# Rows of run $1, those settled since left out.
_NOT_MOVED: Final = """
from (select r.line, r.old_id,
  case when r.state in ('failed', 'retained') then r.state else r.plan end as plan,
  case when r.state = 'retained' then coalesce(r.note, '') else coalesce(r.reason, '') end
    as reason,
  case when r.state = 'retained' then r.detail else coalesce(r.detail, r.note) end as detail
from client_migration.run_rows r where r.run = $1
  and (r.plan in ('conflict', 'invalid') or r.state in ('failed', 'retained'))
  and not exists (select from identity.aliases a where a.kind = 'client_id'
  and a.alias = r.old_id and a.run is distinct from r.run)) t
"""


async def troubles(connection: Connection, run: int, limit: int) -> list[Trouble]:
    """Returns rows that were not moved."""
    rows: list[Record] = await connection.fetch(
        f"select line, old_id, plan, reason, detail{_NOT_MOVED} order by line limit $2", run, limit
    )
    return [Trouble(**dict(row)) for row in rows]


async def count_troubles(connection: Connection, run: int) -> list[TroubleCount]:
    """Returns the number of rows that were not moved, by plan and reason."""
    rows: list[Record] = await connection.fetch(
        f"select plan, reason, count(*) as rows{_NOT_MOVED} group by 1, 2 order by 1, 2", run
    )
    return [TroubleCount(**dict(row)) for row in rows]


async def newest_run(connection: Connection) -> int | None:
    """Returns the number of the newest run; None before the first."""
    newest: int | None = await connection.fetchval("select max(id) from client_migration.runs")
    return newest


async def newest_runs(connection: Connection, limit: int) -> list[Record]:
    """Returns the newest runs first, each with its rows counted by what became of them."""
    return await connection.fetch(
        """
        select m.id, m.source, m.state, m.started_at, m.rows_read, m.rows_skipped,
          count(*) filter (where r.plan = 'link' and r.state = 'done') as linked,
          count(*) filter (where r.plan = 'create' and r.state = 'done') as created,
          count(*) filter (where r.plan = 'add' and r.state = 'done') as added,
          count(*) filter (where r.plan = 'conflict') as conflicts,
          count(*) filter (where r.plan = 'invalid') as invalid,
          count(*) filter (where r.plan in ('link', 'create', 'add')
          and r.state in ('planned', 'failed', 'reverting')) as left,
          count(*) filter (where r.state = 'retained') as retained,
          count(*) filter (where r.state = 'reverted') as reverted,
          count(*) filter (where r.note = 'password_to_be_reset' and r.state = 'done')
          as passwords_to_reset
        from (select * from client_migration.runs order by id desc limit $1) m
        left join client_migration.run_rows r on r.run = m.id
        group by m.id, m.source, m.state, m.started_at, m.rows_read, m.rows_skipped
        order by m.id desc
        """,
        limit,
    )


async def opening_balances(connection: Connection, clients: Sequence[UUID]) -> dict[UUID, int]:
    """Returns the opening balances in tyiyn that clients have, by client."""
    rows: list[Record] = await connection.fetch(
        """
        select k.id, p.amount_minor
          from unnest($1::uuid[]) as k (id)
          join payments.payments_public p
            on p.provider = 'manual' and p.provider_ref = $2::text || k.id and p.client_id = k.id
        """,
        clients,
        OPENING,
    )
    return {row["id"]: row["amount_minor"] for row in rows}
