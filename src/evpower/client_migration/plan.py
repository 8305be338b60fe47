"""Decide for every row of a source what is to become of it; nothing outside is changed by that."""

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
    Planned,
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
from evpower.identity.aliases import as_uuid
from evpower.identity.model import Contact

T = TypeVar("T")
_AT_ONCE: Final = 2000
_SHOWN: Final = 50
_REPORT: Final = ("line", "old_id", "plan", "client_id", "matched_by", "reason", "detail")


async def plan(  # noqa: PLR0913 - what, from where, how
    db: Database,
    source: RowSource,
    people: KnownUsers,
    *,
    actor: str,
    dry_run: bool,
    proofs: KnownUsers | None = None,
    trusted: Collection[Contact] = (),
    report: Path | None = None,
    on_progress: MigrationProgress = no_progress,
) -> Planned:
    """Read the source and everybody in Supabase, decide, and keep the plan unless it is a dry run.

    `proofs` are the users as the admin API writes them, walked where `people` can't tell what is
    proven and it matters; of kinds in `trusted` what is confirmed is. The tables it works in are
    temporary: it may be stopped anywhere. Raises SourceError, Refused("migration_open",
    "report_not_writable"), Unavailable.
    """
    with ExitStack() as stack:
        file = stack.enter_context(_written(report)) if report is not None else None
        return await _plan(
            db,
            source,
            people,
            _PlanOptions(actor, dry_run, proofs, frozenset(trusted), file),
            on_progress,
        )


@dataclass(frozen=True, slots=True)
class _PlanOptions:
    actor: str
    dry_run: bool
    proofs: KnownUsers | None
    trusted: frozenset[Contact]
    report: TextIO | None


def _written(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise RowRefused("report_not_writable", f"{path}: {error.strerror}") from error


async def _plan(
    db: Database,
    source: RowSource,
    people: KnownUsers,
    plan_options: _PlanOptions,
    on_progress: MigrationProgress,
) -> Planned:
    dry_run = plan_options.dry_run
    # One transaction, over calls to Supabase too: its tables are temporary, and a pooler would lend
    # another connection to the next one. It locks no row before the plan is stored, at its end.
    async with db.transaction() as connection:
        await store_plan.allow_idle(connection)
        if not dry_run:
            await refuse_open(connection)
        await run_statement(connection, store_plan.STAGE)
        await _stage_rows(connection, source, on_progress)
        await _stage_people(connection, people, on_progress)
        if plan_options.proofs is not None and await run_statement(
            connection, store_plan.IS_PROOF_WANTED
        ):
            await _stage_proofs(connection, plan_options.proofs, on_progress)
            await run_statement(connection, store_plan.KEEP_PROVEN, list(plan_options.trusted))
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
    return Planned(run, counts, troubles, kinds)


async def refuse_open(connection: Connection) -> None:
    """One run at a time. Raises Refused("migration_open")."""
    running = await store.open_run(connection)
    if running is not None:
        raise RowRefused(
            "migration_open",
            f"run {running.id} was not finished: carry on with --resume, "
            f"or take it back with `evpower identity revert --run {running.id}`",
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
        row.line, old_id, row.email, row.phone, row.name, row.email_proof, row.phone_proof,
        list(row.id_tags), row.password, row.balance_minor, row.digest,
        "invalid" if row.wrong else None, row.wrong, row.detail,
        own_id if own_id is not None and own_id.int else None,
    )  # fmt: skip


async def _stage_people(
    connection: Connection, people: KnownUsers, on_progress: MigrationProgress
) -> None:
    done = 0
    async for page in people:
        await connection.copy_records_to_table(
            "stage_people",
            schema_name="pg_temp",
            columns=("id", "is_user", "deleted"),
            records=[(one.id, one.is_user, one.deleted) for one in page],
        )
        await connection.copy_records_to_table(
            "stage_claims",
            schema_name="pg_temp",
            columns=("kind", "value", "id", "proven", "typed"),
            records=[claim for one in page for claim in _claims(one)],
        )
        done += len(page)
        on_progress(done, None)


async def _stage_proofs(
    connection: Connection, proofs: KnownUsers, on_progress: MigrationProgress
) -> None:
    done = 0
    async for page in proofs:
        await connection.copy_records_to_table(
            "stage_proofs",
            schema_name="pg_temp",
            columns=("kind", "value", "id"),
            records=[
                (claim.kind, claim.value, one.id)
                for one in page
                for claim in one.claims
                if claim.proven
            ],
        )
        done += len(page)
        on_progress(done, None)


def _claims(one: KnownUser) -> list[tuple[object, ...]]:
    return [(claim.kind, claim.value, one.id, claim.proven, claim.typed) for claim in one.claims]


async def _keep(connection: Connection, source: RowSource, actor: str, counts: PlanCounts) -> Run:
    """The run and all its rows at once: there is no half a plan."""
    async with connection.transaction():
        await store.be_patient(connection)
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
        await store.be_patient(connection)
        async for row in connection.cursor(store_plan.REPORT, prefetch=_AT_ONCE):
            writer.writerow([_harmless(row[column]) for column in _REPORT])


def _harmless(value: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    return (
        f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
    )


async def _batches(rows: AsyncIterator[T], size: int = _AT_ONCE) -> AsyncIterator[list[T]]:
    batch: list[T] = []
    async for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
