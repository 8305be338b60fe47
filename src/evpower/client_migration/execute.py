"""Executes a plan. A run that was interrupted anywhere is completed by calling it again.

The id of a user is in the plan before the user is created, and the user has the run's key, so a
second attempt recognises its own users. Alias, client and balance of a row are one transaction.
Rows between Auth and that transaction are few, and after a crash they are done again.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NoReturn, cast

from evpower.client_migration import store
from evpower.client_migration.model import (
    CreditBalance,
    MigrationProgress,
    NotMoved,
    RowWork,
    Run,
    RunStopped,
    RunSummary,
    SourceError,
    SourceRow,
    no_progress,
)
from evpower.client_migration.rate_limiter import RateLimiter
from evpower.client_migration.record import PreparedRow, Recorder, record_trouble
from evpower.client_migration.retry_policy import RetryPolicy
from evpower.client_migration.source import RowSource
from evpower.client_migration.users import Users
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError
from evpower.identity import Confirm, Contact, Profile, SupabaseAdmin, as_uuid, record_act

_AT_ONCE: Final = 200
_PREPARED_AHEAD: Final = 200  # rows whose users exist and that are not recorded yet
_RECORDERS: Final = 2


@dataclass(frozen=True, slots=True)
class ExecuteOptions:
    """Options of a run: the rate limit, concurrent calls, and randomness.

    `trusted`: kinds of contacts that count as verified when Auth has them confirmed, as in the
    plan.
    """

    rate_limiter: RateLimiter
    at_once: int = 8
    confirm: Confirm = "auto"
    trusted: frozenset[Contact] = frozenset()
    jitter: Callable[[], float] = random.random


async def execute(  # noqa: PLR0913 - the inputs of a run
    db: Database,
    admin: SupabaseAdmin,
    source: RowSource,
    run: Run,
    *,
    credit_balance: CreditBalance,
    options: ExecuteOptions,
    actor: str,
    stop: asyncio.Event | None = None,
    on_progress: MigrationProgress = no_progress,
) -> RunSummary:
    """Executes the rows of a run that are not done, reading its source again.

    Raises SourceError, and RunStopped when Supabase or the database does not respond, Supabase
    refuses our key, or `stop` was set; a repeated call then continues the run.
    """
    async with store.migration_lock(db):
        async with db.transaction() as connection:
            total = await store.count_work(connection, run.id)
            run_keys = await store.run_keys(connection)
        retries = RetryPolicy(options.rate_limiter, options.jitter)
        users = Users(admin, run, run_keys, options.confirm, options.trusted, retries)
        prepared: asyncio.Queue[PreparedRow | None] = asyncio.Queue(_PREPARED_AHEAD)
        recorders = [Recorder(db, credit_balance, prepared) for _ in range(_RECORDERS)]
        stop = stop or asyncio.Event()
        runner = _Runner(db, users, run, options.at_once, stop, prepared, total, on_progress)
        await runner.run_all(source, recorders)
        moved = sum(recorder.moved for recorder in recorders)
    async with db.transaction() as connection:
        await store.disable_statement_timeout(connection)
        await store.fail_missing(connection, run.id)
        await store.set_state(connection, run.id, "done", ["running", "done"])
        if moved:
            await record_act(
                connection,
                actor=actor,
                action="identity.migrate",
                subject=f"migration:{run.id}",
                details={"source": run.source, "moved": moved},
            )
        return await store.run_summary(connection, run.id, moved)


@dataclass(slots=True)
class _Runner:
    db: Database
    users: Users
    run: Run
    at_once: int
    stop: asyncio.Event
    prepared: asyncio.Queue[PreparedRow | None]
    total: int
    on_progress: MigrationProgress
    processed: int = 0
    queue: asyncio.Queue[tuple[RowWork, SourceRow] | None] = field(
        default_factory=lambda: asyncio.Queue(_AT_ONCE)
    )

    async def run_all(self, source: RowSource, recorders: list[Recorder]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for recorder in recorders:
                    tasks.create_task(recorder.run(self._count))
                workers = [tasks.create_task(self._worker()) for _ in range(self.at_once)]
                await self._feed(source)
                for _ in workers:
                    await self.queue.put(None)
                await asyncio.wait(workers)
                for _ in recorders:
                    await self.prepared.put(None)
        except ExceptionGroup as group:
            _raise_first(group)
        if self.stop.is_set():
            raise RunStopped("stopped")

    async def _feed(self, source: RowSource) -> None:
        batch: dict[str, SourceRow] = {}
        async with aclosing(source.rows()) as rows:
            async for row in rows:
                if self.stop.is_set():
                    return
                client_id = as_uuid(row.old_id)
                if row.invalid is None:
                    batch[str(client_id) if client_id is not None else row.old_id] = row
                if len(batch) == _AT_ONCE:
                    await self._enqueue(batch)
                    batch = {}
            await self._enqueue(batch)

    async def _enqueue(self, batch: dict[str, SourceRow]) -> None:
        async with self.db.transaction() as connection:
            works = await store.work_of(connection, self.run.id, list(batch))
        for work in works:
            await self.queue.put((work, batch[work.old_id]))

    async def _worker(self) -> None:
        while (item := await self.queue.get()) is not None:
            if self.stop.is_set():
                continue
            work, row = item
            try:
                prepared = await self._prepare(work, row)
            except NotMoved as trouble:
                await record_trouble(self.db, work, trouble)
                self._count(1)
            else:
                await self.prepared.put(prepared)

    async def _prepare(self, work: RowWork, row: SourceRow) -> PreparedRow:
        if row.digest != work.digest:
            raise NotMoved("changed_since_the_plan")
        profile, note = _profile(work), None
        if work.plan == "create":
            note = await self.users.create(work, row.password_hash)
            if row.password == "unknown":  # noqa: S105 - a kind of hash
                note = "password_to_be_reset"
        elif work.plan == "link":
            profile = (await self.users.matched_user(work)).profile
        return PreparedRow(work, profile, note)

    def _count(self, rows: int) -> None:
        self.processed += rows
        self.on_progress(self.processed, self.total)


def _profile(work: RowWork) -> Profile:
    """Returns the profile of a user to create; contacts confirmed in Auth are verified."""
    return Profile(
        email=work.email,
        phone=work.phone,
        name=work.name,
        email_verified=work.email is not None and work.email_confirmed == "yes",
        phone_verified=work.phone is not None and work.phone_confirmed == "yes",
    )


def _raise_first(group: ExceptionGroup[Exception]) -> NoReturn:
    """Raises the error of the group that an operator can act on."""
    for kind in (RunStopped, SourceError, EvPowerError):
        for error in _leaves(group):
            if isinstance(error, kind):
                raise error from group
    raise group


def _leaves(error: Exception) -> list[Exception]:
    if isinstance(error, ExceptionGroup):
        inner = cast("ExceptionGroup[Exception]", error).exceptions
        return [leaf for child in inner for leaf in _leaves(child)]
    return [error]
