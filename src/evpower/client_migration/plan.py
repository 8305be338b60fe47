"""Plans what is done with every row of a source; changes nothing outside the plan's tables."""

import csv
from collections.abc import AsyncIterator, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO, TypeVar

from evpower.client_migration import store, store_plan
from evpower.client_migration.model import (
    MigrationProgress,
    PlanCounts,
    PlanResult,
    RowRefused,
    Run,
    SourceRow,
    Trouble,
    TroubleCount,
    no_progress,
)
from evpower.client_migration.remote_users import KnownUser, KnownUsers
from evpower.client_migration.source import RowSource
from evpower.client_migration.store_plan import run_statement
from evpower.foundation.db import Connection, Database
from evpower.foundation.text import spreadsheet_safe
from evpower.identity import Contact, as_uuid

T = TypeVar("T")
_AT_ONCE: Final = 2000
_SHOWN: Final = 50
_REPORT: Final = ("line", "old_id", "plan", "client_id", "matched_by", "reason", "detail")


async def plan(  # noqa: PLR0913 - the inputs of a plan
    db: Database,
    source: RowSource,
    users: KnownUsers,
    *,
    actor: str,
    dry_run: bool,
    verified_users: KnownUsers | None = None,
    trusted: Collection[Contact] = (),
    report: Path | None = None,
    on_progress: MigrationProgress = no_progress,
) -> PlanResult:
    """Reads the source and all users of Supabase; stores the plan, unless it is a dry run.

    `verified_users` are the users as the admin API returns them; they are read only where a rule
    needs to know what is verified and `users` can't tell. Of kinds in `trusted` a confirmed contact
    counts as verified. The working tables are temporary, so it may be stopped anywhere. Raises
    SourceError, RowRefused("migration_open" | "report_not_writable"), Unavailable.
    """
    with ExitStack() as stack:
        file = stack.enter_context(_open_report(report)) if report is not None else None
        return await _plan(
            db,
            source,
            users,
            _PlanOptions(actor, dry_run, verified_users, frozenset(trusted), file),
            on_progress,
        )


@dataclass(frozen=True, slots=True)
class _PlanOptions:
    actor: str
    dry_run: bool
    verified_users: KnownUsers | None
    trusted: frozenset[Contact]
    report: TextIO | None


def _open_report(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise RowRefused("report_not_writable", f"{path}: {error.strerror}") from error


async def _plan(
    db: Database,
    source: RowSource,
    users: KnownUsers,
    plan_options: _PlanOptions,
    on_progress: MigrationProgress,
) -> PlanResult:
    dry_run = plan_options.dry_run
    # One transaction, calls to Supabase included: its tables are temporary, and with a pooler the
    # next transaction may have another connection. It locks no row until the plan is stored, at its
    # end.
    async with db.transaction() as connection:
        await store_plan.allow_idle(connection)
        if not dry_run:
            await refuse_open(connection)
        await run_statement(connection, store_plan.STAGE)
        await _stage_rows(connection, source, on_progress)
        await _stage_users(connection, users, on_progress)
        if plan_options.verified_users is not None and await run_statement(
            connection, store_plan.IS_VERIFICATION_NEEDED
        ):
            await _stage_verified(connection, plan_options.verified_users, on_progress)
            await run_statement(connection, store_plan.KEEP_VERIFIED, list(plan_options.trusted))
        for rule in store_plan.RULES:
            await run_statement(connection, rule)
        counts = PlanCounts(**dict(await store.counted(connection)))
        troubles = tuple(
            Trouble(**dict(row)) for row in await connection.fetch(store_plan.TROUBLES, _SHOWN)
        )
        kinds = tuple(
            TroubleCount(**dict(row)) for row in await connection.fetch(store_plan.TROUBLE_COUNTS)
        )
        if plan_options.report is not None:
            await _write_report(connection, plan_options.report)
        run = None
        if not dry_run and counts.read > counts.skip:
            run = await _keep(connection, source, plan_options.actor, counts)
        await connection.execute(store_plan.FORGET)
    return PlanResult(run, counts, troubles, kinds)


async def refuse_open(connection: Connection) -> None:
    """Raises RowRefused("migration_open") when a run is not finished: runs exclude each other."""
    running = await store.open_run(connection)
    if running is not None:
        raise RowRefused(
            "migration_open",
            f"run {running.id} was not finished: continue it with --resume, "
            f"or revert it with `evpower identity revert --run {running.id}`",
        )


async def _stage_rows(
    connection: Connection, source: RowSource, on_progress: MigrationProgress
) -> None:
    done = 0
    async for rows in _batches(source.rows()):
        await connection.copy_records_to_table(
            "stage_rows",
            schema_name="pg_temp",
            columns=store_plan.ROW_COLUMNS,
            records=[_staged(row) for row in rows],
        )
        done += len(rows)
        on_progress(done, None)


def _staged(row: SourceRow) -> tuple[object, ...]:
    own_id = as_uuid(row.old_id)
    old_id = str(own_id) if own_id is not None else row.old_id
    return (
        row.line, old_id, row.email, row.phone, row.name, row.email_confirmed, row.phone_confirmed,
        list(row.id_tags), row.password, row.balance_minor, row.digest,
        "invalid" if row.invalid else None, row.invalid, row.detail,
        own_id if own_id is not None and own_id.int else None,
    )  # fmt: skip


async def _stage_users(
    connection: Connection, users: KnownUsers, on_progress: MigrationProgress
) -> None:
    done = 0
    async for page in users:
        await connection.copy_records_to_table(
            "stage_users",
            schema_name="pg_temp",
            columns=("id", "is_user", "deleted"),
            records=[(user.id, user.is_user, user.deleted) for user in page],
        )
        await connection.copy_records_to_table(
            "stage_claims",
            schema_name="pg_temp",
            columns=("kind", "value", "id", "verified", "typed"),
            records=[claim for user in page for claim in _claims(user)],
        )
        done += len(page)
        on_progress(done, None)


async def _stage_verified(
    connection: Connection, verified_users: KnownUsers, on_progress: MigrationProgress
) -> None:
    done = 0
    async for page in verified_users:
        await connection.copy_records_to_table(
            "stage_verified",
            schema_name="pg_temp",
            columns=("kind", "value", "id"),
            records=[
                (claim.kind, claim.value, user.id)
                for user in page
                for claim in user.claims
                if claim.verified
            ],
        )
        done += len(page)
        on_progress(done, None)


def _claims(user: KnownUser) -> list[tuple[object, ...]]:
    return [
        (claim.kind, claim.value, user.id, claim.verified, claim.typed) for claim in user.claims
    ]


async def _keep(connection: Connection, source: RowSource, actor: str, counts: PlanCounts) -> Run:
    """Stores the run with all its rows in one transaction."""
    async with connection.transaction():
        await store.disable_statement_timeout(connection)
        run = await store.insert_run(
            connection, source.name, actor, rows_read=counts.read, rows_skipped=counts.skip
        )
        if run is None:
            raise RowRefused("migration_open", "another run has just begun")
        await connection.execute(store_plan.KEEP, run.id, timeout=store_plan.HOUR_S)
    return run


async def _write_report(connection: Connection, file: TextIO) -> None:
    writer = csv.writer(file)
    writer.writerow(_REPORT)
    async with connection.transaction():
        await store.disable_statement_timeout(connection)
        async for row in connection.cursor(store_plan.REPORT, prefetch=_AT_ONCE):
            writer.writerow([_cell(row[column]) for column in _REPORT])


def _cell(value: object) -> object:
    return spreadsheet_safe(value) if isinstance(value, str) else value


async def _batches(rows: AsyncIterator[T], size: int = _AT_ONCE) -> AsyncIterator[list[T]]:
    batch: list[T] = []
    async for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
