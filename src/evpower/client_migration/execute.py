"""Carry out a plan. Whatever is cut off anywhere is finished by running it again.

The id of a user is in the plan before the user is created, and the run's mark is in the user, so a
second try knows its own. Alias, client and balance of a row are one transaction; rows on their way
from Auth to that transaction are few, and a crash loses nothing of them that is not done again.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NoReturn, cast

from evpower.client_migration import store
from evpower.client_migration.model import (
    Carry,
    Done,
    MigrationProgress,
    NotMoved,
    RowWork,
    Run,
    SourceError,
    SourceRow,
    Stopped,
    no_progress,
)
from evpower.client_migration.rate_limiter import RateLimiter
from evpower.client_migration.record import Made, Recorder, note_trouble
from evpower.client_migration.retry_policy import RetryPolicy
from evpower.client_migration.source import RowSource
from evpower.client_migration.users import Users
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError
from evpower.identity.aliases import as_uuid
from evpower.identity.audit import record_act
from evpower.identity.model import Confirm, Contact, Profile
from evpower.identity.supabase_admin import SupabaseAdmin

_AT_ONCE: Final = 200
_MADE_AHEAD: Final = 200  # users not written down yet
_RECORDERS: Final = 2


@dataclass(frozen=True, slots=True)
class How:
    """How a run goes about it: calls per second and at once, and what is random or slow in it.

    `trusted`: kinds of contacts that are proven by being confirmed in Auth, as in the plan.
    """

    pace: RateLimiter
    at_once: int = 8
    confirm: Confirm = "auto"
    trusted: frozenset[Contact] = frozenset()
    jitter: Callable[[], float] = random.random


async def execute(  # noqa: PLR0913 - what, from where, how
    db: Database,
    admin: SupabaseAdmin,
    source: RowSource,
    run: Run,
    *,
    carry: Carry,
    how: How,
    actor: str,
    stop: asyncio.Event | None = None,
    on_progress: MigrationProgress = no_progress,
) -> Done:
    """Do what is left of a run, reading its source again.

    Raises SourceError, and Stopped when Supabase or the database does not answer, refuses our key,
    or `stop` was set; then the rest is done by running it again.
    """
    async with store.alone(db):
        async with db.transaction() as connection:
            total = await store.count_work(connection, run.id)
            marks = await store.marks(connection)
        retries = RetryPolicy(how.pace, how.jitter)
        users = Users(admin, run, marks, how.confirm, how.trusted, retries)
        made: asyncio.Queue[Made | None] = asyncio.Queue(_MADE_AHEAD)
        recorders = [Recorder(db, carry, made) for _ in range(_RECORDERS)]
        stop = stop or asyncio.Event()
        runner = _Runner(db, users, run, how.at_once, stop, made, total, on_progress)
        await runner.run_all(source, recorders)
        moved = sum(one.moved for one in recorders)
    async with db.transaction() as connection:
        await store.be_patient(connection)
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
        return await store.standing(connection, run.id, moved)


@dataclass(slots=True)
class _Runner:
    db: Database
    users: Users
    run: Run
    at_once: int
    stop: asyncio.Event
    made: asyncio.Queue[Made | None]
    total: int
    on_progress: MigrationProgress
    seen: int = 0
    queue: asyncio.Queue[tuple[RowWork, SourceRow] | None] = field(
        default_factory=lambda: asyncio.Queue(_AT_ONCE)
    )

    async def run_all(self, source: RowSource, recorders: list[Recorder]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for one in recorders:
                    tasks.create_task(one.run(self._count))
                workers = [tasks.create_task(self._worker()) for _ in range(self.at_once)]
                await self._feed(source)
                for _ in workers:
                    await self.queue.put(None)
                await asyncio.wait(workers)
                for _ in recorders:
                    await self.made.put(None)
        except ExceptionGroup as group:
            _raise_one(group)
        if self.stop.is_set():
            raise Stopped("stopped")

    async def _feed(self, source: RowSource) -> None:
        batch: dict[str, SourceRow] = {}
        async with aclosing(source.rows()) as rows:
            async for row in rows:
                if self.stop.is_set():
                    return
                client_id = as_uuid(row.old_id)
                if row.wrong is None:
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
                made = await self._make(work, row)
            except NotMoved as trouble:
                await note_trouble(self.db, work, trouble)
                self._count(1)
            else:
                await self.made.put(made)

    async def _make(self, work: RowWork, row: SourceRow) -> Made:
        if row.digest != work.digest:
            raise NotMoved("changed_since_the_plan")
        profile, note = _profile(work), None
        if work.plan == "create":
            note = await self.users.create(work, row.password_hash)
            if row.password == "unknown":  # noqa: S105 - a kind of hash
                note = "password_to_be_reset"
        elif work.plan == "adopt":
            profile = (await self.users.adopt(work)).profile
        return Made(work, profile, note)

    def _count(self, rows: int) -> None:
        self.seen += rows
        self.on_progress(self.seen, self.total)


def _profile(work: RowWork) -> Profile:
    """Of a user to create: what Auth is told to be confirmed is verified."""
    return Profile(
        email=work.email,
        phone=work.phone,
        name=work.name,
        email_verified=work.email is not None and work.email_proof == "yes",
        phone_verified=work.phone is not None and work.phone_proof == "yes",
    )


def _raise_one(group: ExceptionGroup[Exception]) -> NoReturn:
    """The error a person can do something about."""
    for kind in (Stopped, SourceError, EvPowerError):
        for error in _leaves(group):
            if isinstance(error, kind):
                raise error from group
    raise group


def _leaves(error: Exception) -> list[Exception]:
    if isinstance(error, ExceptionGroup):
        inner = cast("ExceptionGroup[Exception]", error).exceptions
        return [leaf for one in inner for leaf in _leaves(one)]
    return [error]
