"""Watches running transactions: does what is due of each at its moment."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import structlog

from evpower.charging.due import BATCH, find_due, watch_transaction
from evpower.charging.events import Changes
from evpower.charging.limit_stop import (
    OutdatedDraft,
    StopDraft,
    draft_stop,
    rehearse,
    write_draft,
)
from evpower.charging.rules import Rules
from evpower.charging.store_ends import KINDS, Due, DueKey
from evpower.foundation.backoff import Backoff
from evpower.foundation.bus import Bus
from evpower.foundation.clock import Clock
from evpower.foundation.db import LOST, Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.failpoints import Failpoint, hit
from evpower.foundation.loops import AT_ONCE, FAILURES, Loop, Pause, Round

WATCH_POLL_S: Final = 1.0
AT_A_TIME: Final = 4  # transactions beside each other
log: Final = structlog.get_logger()
DRAFTED_BEFORE: Final = timedelta(milliseconds=50)  # the moment of a stop
_MOST_REHEARSED: Final = 1_000
_PERIODS_AHEAD: Final = 1.5  # a look sees these; the next one is begun after one
_BACKOFF: Final = Backoff(1.0, 30.0)  # of each thing that fails
_LOOP: Final = "charging_watch"


def watch_loop(
    db: Database, bus: Bus, clock: Clock, rules: Rules, *, poll_s: float = WATCH_POLL_S
) -> Loop:
    """Returns the loop that does what is due of running transactions, each at its time."""
    watch = Watch(db, bus, clock, rules, poll_s=poll_s)
    return Loop(_LOOP, watch.run_once, period_s=poll_s)


class _Retry(NamedTuple):
    """A thing that failed: it is left alone between two moments."""

    failures: int  # in a row
    since: datetime
    until: datetime


class Watch:
    """Looks ahead, and does each thing at its moment; the rows alone are its memory.

    A look takes a while, so the next one is begun while what is known goes on at its moments. A
    limit's stop is drafted shortly before its own. A thing that fails has a back-off of its own.
    """

    def __init__(
        self, db: Database, bus: Bus, clock: Clock, rules: Rules, *, poll_s: float = WATCH_POLL_S
    ) -> None:
        self._db = db
        self._bus = bus
        self._clock = clock
        self._rules = rules
        self._period = timedelta(seconds=poll_s)
        self._coming: list[Due] = []  # the earliest first
        self._looked_at: datetime | None = None
        self._has_more = False
        self._places = asyncio.Semaphore(AT_A_TIME)
        self._rehearsed: set[int] = set()  # backends, by their ids
        self._handled: set[DueKey] = set()  # since the last look was begun
        self._under_way: set[DueKey] = set()
        self._retries: dict[DueKey, _Retry] = {}

    async def run_once(self, current: Round) -> Pause | None:
        """Does what is due, and returns until when nothing is.

        One that fails does not keep the others from it: its error is recorded, and it is tried
        again after its back-off. Raises only the error of a look.
        """
        errors: list[BaseException] = []
        look: asyncio.Task[None] | None = None
        tasks: set[asyncio.Task[None]] = set()  # the look, too
        try:
            while True:
                now = self._clock()
                if not current.stopping and not errors:
                    if look not in tasks and self._has_to_look(now, is_busy=bool(tasks)):
                        look = asyncio.create_task(self._look(now, current))
                        tasks.add(look)
                    tasks |= {asyncio.create_task(self._do(due, current)) for due in self._due(now)}
                if not tasks:
                    break
                begins_more = not current.stopping and not errors
                done, tasks = await asyncio.wait(
                    tasks,
                    timeout=self._wait_s(now, is_looking=look in tasks) if begins_more else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                errors += [error for task in done if (error := task.exception()) is not None]
        finally:
            for task in tasks:  # the round itself is cancelled
                task.cancel()
            self._under_way.clear()
        if errors:
            raise errors[0]
        if self._has_more and not self._coming:
            return AT_ONCE
        return Pause(self._wait_s(now, is_looking=False) or 0)

    def _has_to_look(self, now: datetime, *, is_busy: bool) -> bool:
        if self._looked_at is None:
            return True
        if self._has_more and not self._coming:
            return not is_busy
        return not self._looked_at <= now < self._looked_at + self._period

    async def _look(self, now: datetime, current: Round) -> None:
        self._handled.clear()
        limit = BATCH + len(self._retries)  # however many fail, others have their places
        async with self._db.connection() as connection:
            listed = await find_due(
                connection,
                now,
                self._rules,
                ahead=self._period * _PERIODS_AHEAD,
                every=True,
                limit=limit,
            )
        self._has_more = len(listed) >= limit
        if not self._has_more:  # what is not due any more can't fail
            keys = {due.key for due in listed}
            self._retries = {key: self._retries[key] for key in self._retries.keys() & keys}
        self._coming = self._chosen(listed)
        self._looked_at = now
        current.progress()

    def _chosen(self, listed: Sequence[Due]) -> list[Due]:
        """Returns what is begun next: of each transaction the most final thing.

        One that failed hides no other of its transaction, and is left out while it waits.
        """
        now = self._clock()
        hidden: set[int] = set()  # transactions
        chosen: set[DueKey] = set()
        for due in sorted(listed, key=lambda due: KINDS.index(due.kind)):
            if due.id in hidden:
                continue
            if due.key not in self._retries:
                hidden.add(due.id)
            if not self._waits(due, now):
                chosen.add(due.key)
        chosen -= self._handled | self._under_way  # begun meanwhile
        return [due for due in listed if due.key in chosen]

    def _waits(self, due: Due, now: datetime) -> bool:
        retry = self._retries.get(due.key)
        return retry is not None and retry.since <= now < retry.until

    def _due(self, now: datetime) -> list[Due]:
        """Returns what begins now, and forgets it."""
        items = [due for due in self._coming if _begins_at(due) <= now]
        self._coming = [due for due in self._coming if _begins_at(due) > now]
        keys = {due.key for due in items}
        self._handled |= keys
        self._under_way |= keys
        return items

    def _wait_s(self, now: datetime, *, is_looking: bool) -> float | None:
        """Returns in how many seconds something begins or it looks; None: not before a task ends.

        What has to wait for a task is no moment: the watch would be awake all the time.
        """
        moments = [_begins_at(due) for due in self._coming]
        waits = is_looking or (self._has_more and not self._coming)
        if self._looked_at is not None and not waits:
            moments.append(self._looked_at + self._period)
        return max((min(moments) - now).total_seconds(), 0) if moments else None

    async def _do(self, due: Due, current: Round) -> None:
        """Does one, some beside each other."""
        async with self._places:
            if current.stopping:
                return
            try:
                changes = await self._changes(due)
                hit(Failpoint.STEP_COMMITTED)
                changes.publish(self._bus)
            except Exception as error:  # noqa: BLE001 - recorded, and the others go on
                self._fail(due, error, current)
            else:
                self._retries.pop(due.key, None)
            finally:
                self._under_way.discard(due.key)
            current.progress()

    def _fail(self, due: Due, error: Exception, current: Round) -> None:
        """Records that one failed. A database that is busy or away is no fault of its own."""
        now, last = self._clock(), self._retries.get(due.key)
        failures = 0 if last is None else last.failures
        if isinstance(error, Unavailable):
            code, pause = error.code, self._period / 2  # until the next look
            log.warning("transaction_watch_delayed", transaction=due.id, due=due.kind, code=code)
        else:
            code, failures = type(error).__name__, failures + 1
            pause = timedelta(seconds=_BACKOFF.pause_s(failures))
            log.error(
                "transaction_watch_failed",
                transaction=due.id,
                due=due.kind,
                failures=failures,
                exc_info=error if failures == 1 else None,
            )
        self._retries[due.key] = _Retry(failures, now, now + pause)
        FAILURES.labels(_LOOP, code).inc()
        current.failed(code)

    async def _changes(self, due: Due) -> Changes:
        """Does what is due at its moment, by its draft if there is one; returns what it changed."""
        async with self._db.connection() as connection:
            draft = await self._draft(connection, due) if due.kind == "stop" else None
            early = min(due.at - self._clock(), DRAFTED_BEFORE)  # the clock may have been set back
            if early > timedelta(0):
                await asyncio.sleep(early.total_seconds())
            now = max(self._clock(), due.at)  # a timer may fire a fraction of a millisecond early
            changes = None if draft is None else await self._write(connection, draft, now)
            if changes is not None:
                return changes
            async with connection.transaction():
                return await watch_transaction(connection, due, now=now, rules=self._rules)

    async def _write(
        self, connection: Connection, draft: StopDraft, now: datetime
    ) -> Changes | None:
        """Returns what a draft changed; None: nothing, whatever kept it from being written."""
        try:
            async with connection.transaction():
                return await write_draft(connection, draft, now=now, rules=self._rules)
        except OutdatedDraft:
            return None
        except LOST:
            raise
        except Exception:
            log.exception("stop_draft_failed", transaction=draft.running.transaction.id)
            return None

    async def _draft(self, connection: Connection, due: Due) -> StopDraft | None:
        """Returns the draft of a stop; None: it goes without, also where drafting fails."""
        try:
            draft = await draft_stop(connection, due, self._rules)
            if draft is not None and due.at > self._clock():
                await self._rehearse(connection, draft, due)
        except LOST:
            raise
        except Exception:
            log.exception("stop_draft_failed", transaction=due.id)
            return None
        return draft

    async def _rehearse(self, connection: Connection, draft: StopDraft, due: Due) -> None:
        """Rehearses a draft where the connection never wrote one."""
        backend = connection.get_server_pid()
        if backend in self._rehearsed:
            return
        with suppress(OutdatedDraft):
            await rehearse(connection, draft, now=due.at, rules=self._rules)
        if len(self._rehearsed) >= _MOST_REHEARSED:
            self._rehearsed.clear()
        self._rehearsed.add(backend)


def _begins_at(due: Due) -> datetime:
    return due.at - DRAFTED_BEFORE if due.kind == "stop" else due.at
