"""Carry out a plan. Whatever is cut off anywhere is finished by running it again.

The id of a user is in the plan before the user is created, and the run's mark is in the user, so a
second try knows its own. Alias, client and balance of a row are one transaction.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NoReturn, TypeVar, cast

import asyncpg
import structlog

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, EvPowerError, Invalid, Unavailable
from evpower.identity import clients
from evpower.identity import store as client_store
from evpower.identity.aliases import as_uuid
from evpower.identity.audit import record_act
from evpower.identity.errors import AuthBusy, AuthDenied, AuthRefused, AuthUnanswered
from evpower.identity.migrate import store
from evpower.identity.migrate.model import (
    Carry,
    Done,
    Progress,
    Refused,
    Run,
    SourceError,
    SourceRow,
    Stopped,
    Work,
    no_progress,
)
from evpower.identity.migrate.pace import Pace
from evpower.identity.migrate.source import Source
from evpower.identity.model import AuthUser, Confirm, MovedUser, Profile
from evpower.identity.register import UNVERIFIED
from evpower.identity.supabase_admin import SupabaseAdmin

T = TypeVar("T")
MARK: Final = "evpower_migration"
_EXISTS: Final = {"email_exists", "phone_exists", "user_already_exists", "conflict"}
_AT_ONCE: Final = 200
_TRIES: Final = 6
_FIRST_WAIT_S: Final = 0.5
_MAX_WAIT_S: Final = 30.0
_FAILURES_IN_A_ROW: Final = 20

_log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class How:
    """How a run goes about it: calls per second and at once, and what is random or slow in it."""

    pace: Pace
    at_once: int = 8
    confirm: Confirm = "auto"
    jitter: Callable[[], float] = random.random


class _NotMoved(Exception):
    """This row stays: a conflict is for a person, anything else is tried again by --resume."""

    def __init__(self, reason: str, detail: str = "", *, conflict: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.conflict = conflict


async def execute(  # noqa: PLR0913 - what, from where, how
    db: Database,
    admin: SupabaseAdmin,
    source: Source,
    run: Run,
    *,
    carry: Carry,
    how: How,
    actor: str,
    stop: asyncio.Event | None = None,
    on_progress: Progress = no_progress,
) -> Done:
    """Do what is left of a run, reading its source again.

    Raises SourceError, and Stopped when Supabase or the database does not answer, refuses our key,
    or `stop` was set; then the rest is done by running it again.
    """
    async with db.connection() as connection:
        if not await store.try_lock(connection):
            raise Refused("migration_busy", "another process is at this run")
        try:
            async with db.connection() as other:
                total = await store.count_work(other, run.id)
                marks = await store.marks(other)
            stop = stop or asyncio.Event()
            runner = _Runner(db, admin, run, carry, how, stop, marks, total, on_progress)
            await runner.run_all(source)
        finally:
            await store.unlock(connection)
    async with db.transaction() as connection:
        await store.be_patient(connection)
        await store.fail_missing(connection, run.id)
        await store.set_state(connection, run.id, "done", ["running", "done"])
        if runner.moved:
            await record_act(
                connection,
                actor=actor,
                action="identity.migrate",
                subject=f"migration:{run.id}",
                details={"source": run.source, "moved": runner.moved},
            )
        return await store.standing(connection, run.id, runner.moved)


@dataclass(slots=True)
class _Runner:
    db: Database
    admin: SupabaseAdmin
    run: Run
    carry: Carry
    how: How
    stop: asyncio.Event
    marks: set[str]
    total: int
    on_progress: Progress
    moved: int = 0
    seen: int = 0
    failures: int = 0
    queue: asyncio.Queue[tuple[Work, SourceRow] | None] = field(
        default_factory=lambda: asyncio.Queue(_AT_ONCE)
    )

    async def run_all(self, source: Source) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                workers = [tasks.create_task(self._worker()) for _ in range(self.how.at_once)]
                await self._feed(source)
                for _ in workers:
                    await self.queue.put(None)
        except ExceptionGroup as group:
            _raise_one(group)
        if self.stop.is_set():
            raise Stopped("stopped")

    async def _feed(self, source: Source) -> None:
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
        async with self.db.connection() as connection:
            works = await store.work_of(connection, self.run.id, list(batch))
        for work in works:
            await self.queue.put((work, batch[work.old_id]))

    async def _worker(self) -> None:
        while (item := await self.queue.get()) is not None:
            if self.stop.is_set():
                continue
            await self._one(*item)
            self.seen += 1
            self.on_progress(self.seen, self.total)

    async def _one(self, work: Work, row: SourceRow) -> None:
        try:
            _require_unchanged(work, row)
            if work.plan == "create":
                user, note = await self._create(work, row.password_hash)
                if row.password == "unknown":  # noqa: S105 - a kind of hash
                    note = "password_to_be_reset"
            else:
                user, note = await self._adopt(work), None
            await self._record(work, user, note)
        except _NotMoved as trouble:
            _log.warning("client_not_moved", line=work.line, reason=trouble.reason)
            async with self.db.transaction() as connection:
                await store.record_trouble(
                    connection,
                    work.run,
                    work.line,
                    trouble.reason,
                    trouble.detail,
                    conflict=trouble.conflict,
                )
            return
        self.moved += 1

    async def _create(self, work: Work, password_hash: str | None) -> tuple[AuthUser, str | None]:
        """Create the user, or find the one an earlier try created."""
        wish = _wish(work, password_hash, self.run, self.how.confirm)
        try:
            return await self._patiently(lambda: self._import(wish)), None
        except AuthRefused as refusal:
            if refusal.code != "validation_failed" or password_hash is None:
                raise self._refused(refusal) from refusal
        # A hash this Auth can't read: the person sets a new password.
        wish = _wish(work, None, self.run, self.how.confirm)
        try:
            return await self._patiently(lambda: self._import(wish)), "password_to_be_reset"
        except AuthRefused as refusal:
            raise self._refused(refusal) from refusal

    async def _import(self, wish: MovedUser) -> AuthUser:
        try:
            return await self.admin.import_user(wish)
        except (AuthRefused, AuthUnanswered) as error:
            if isinstance(error, AuthRefused) and error.code not in _EXISTS:
                raise
            existing = await self.admin.get_user(wish.id)  # Auth says 500 to a taken id, too
            if existing is None or str(existing.app_metadata.get(MARK)) not in self.marks:
                raise
            return existing

    @staticmethod
    def _refused(refusal: AuthRefused) -> _NotMoved:
        # Taken since the plan was made, by somebody who may or may not be this client.
        return _NotMoved(refusal.code, f"Supabase Auth answered {refusal}")

    async def _adopt(self, work: Work) -> AuthUser:
        """Look at the user once more: what was proven must be so still."""
        user = await self._patiently(lambda: self.admin.get_user(work.client_id))
        if user is None:
            raise _NotMoved("user_gone", str(work.client_id), conflict=True)
        still = (
            work.matched_by in {"id", "decision"}
            or (work.matched_by == "email" and user.email_proven and user.email == work.email)
            or (work.matched_by == "phone" and user.phone_proven and user.phone == work.phone)
        )
        if not still:
            raise _NotMoved("no_longer_proven", str(work.client_id), conflict=True)
        return user

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call Auth in turn, again after a while when it is busy or does not answer."""
        wait_s, last = _FIRST_WAIT_S, ""
        answered = False
        for _ in range(_TRIES):
            await self.how.pace.turn()
            delay_s = wait_s * (0.5 + self.how.jitter())
            try:
                answer = await call()
            except AuthDenied as error:
                raise Stopped(f"Supabase refuses the key: {error}") from error
            except AuthBusy as error:  # everybody waits
                answered, last = False, str(error)
                self.how.pace.pause(delay_s)
            except Unavailable as error:
                answered, last = isinstance(error, AuthUnanswered), str(error)
                await self.how.pace.sleep(delay_s)
            else:
                self.failures = 0
                return answer
            wait_s = min(2 * wait_s, _MAX_WAIT_S)
        self.failures += 1
        if answered and self.failures < _FAILURES_IN_A_ROW:
            raise _NotMoved("auth_failed", last)
        raise Stopped(last)

    async def _record(self, work: Work, user: AuthUser, note: str | None) -> None:
        for left in reversed(range(_TRIES)):
            try:
                async with self.db.transaction() as connection:
                    await self._write(connection, work, user, note)
            except Unavailable as error:  # a deadlock with whoever makes the same clients, say
                if error.code != "database_busy" or not left:
                    raise Stopped(f"EvPower's database: {error.detail}") from error
            except asyncpg.UniqueViolationError as error:
                taken = "alias_taken" if error.table_name == "aliases" else "contact_taken"
                conflict = work.plan == "adopt"
                raise _NotMoved(taken, error.detail or "", conflict=conflict) from error
            except (Conflict, Invalid) as error:
                conflict = work.plan == "adopt"
                raise _NotMoved(error.code, error.detail, conflict=conflict) from error
            else:
                return

    async def _write(
        self, connection: Connection, work: Work, user: AuthUser, note: str | None
    ) -> None:
        """Client, aliases and balance of one row."""
        if not work.balance_minor:  # lost in a crash, it is simply done again
            await connection.execute("set local synchronous_commit = off")
        adopt = work.plan == "adopt"
        profile = user.profile if adopt else Profile(work.email, work.phone, work.name)
        client = await clients.ensure(connection, work.client_id, profile, "import")
        if client.status == "closed":
            if not await store.was_reverted(connection, client.id):
                raise _NotMoved("client_closed", str(client.id), conflict=adopt)
            await client_store.set_status(connection, client.id, "active", ["closed"])
        if adopt and work.matched_by != "decision":
            await clients.lock_client(connection, client.id)
            other = await store.other_old_id(connection, client.id, work.old_id)
            if other is not None:
                detail = f"{client.id} was {other}"
                raise _NotMoved("user_has_another_old_id", detail, conflict=True)
        if not await store.record_done(connection, work, note):
            return
        if work.balance_minor:
            await self._carry(connection, work)

    async def _carry(self, connection: Connection, work: Work) -> None:
        if await self.carry(connection, work.client_id, work.old_id, work.balance_minor):
            await store.record_carried(connection, work)
        # The wallet had an opening balance of that amount. It is this one if the client is the same
        # record in both, or if a run that was taken back had carried it.
        elif as_uuid(work.old_id) != work.client_id and not await store.carried_before(
            connection, work.client_id, work.old_id
        ):
            conflict = work.plan == "adopt"
            raise _NotMoved("opening_balance_exists", str(work.client_id), conflict=conflict)


def _require_unchanged(work: Work, row: SourceRow) -> None:
    if row.digest != work.digest:
        raise _NotMoved("changed_since_the_plan")


def _wish(work: Work, password_hash: str | None, run: Run, confirm: Confirm) -> MovedUser:
    """The user to create: what the old system had confirmed is, what it had not is only said."""
    email_proven, phone_proven = work.email_proof == "yes", work.phone_proof == "yes"
    auto = confirm == "auto"
    mark: dict[str, object] = {MARK: str(run.mark)}
    if work.email is not None and not email_proven and auto:
        mark |= UNVERIFIED
    return MovedUser(
        id=work.client_id,
        email=work.email,
        email_confirm=email_proven or auto,
        phone=work.phone if phone_proven or work.email is None else None,
        phone_confirm=phone_proven,
        told_phone=work.phone,
        name=work.name,
        password_hash=password_hash,
        app_metadata=mark,
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
