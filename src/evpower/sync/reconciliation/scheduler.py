"""Comparisons that run by themselves: what changed lately each hour, everything each night.

Once in the whole cluster: whoever leases the turn's row runs it, keeps its place with every page,
and whoever comes after a crash carries on from there. It is slow on purpose, and waits while
Supabase does not answer.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from evpower.config import Settings
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.ids import new_uuid
from evpower.foundation.loops import AT_ONCE, Loop, Round
from evpower.foundation.loops import Pause as LoopPause
from evpower.sync import metrics
from evpower.sync.errors import SyncError, TargetRefuses
from evpower.sync.reconciliation import store_leases, store_runs
from evpower.sync.reconciliation.compare_page import Comparison, WaitBetweenPages
from evpower.sync.reconciliation.run import Check, Checked, summary
from evpower.sync.reconciliation.store_runs import CheckRow, Turn
from evpower.sync.supabase_rpc import Rpc

LEASE_S: Final = 120.0  # longer than a page may take, with its calls and what it waits for
_LOOK_S: Final = 15.0
_AGAIN_S: Final = 60.0  # after Supabase did not answer
_REFUSED_AGAIN_S: Final = 600.0
_KEEP_DAYS: Final = 90
_FORGOTTEN_AT_ONCE: Final = 10_000
_OVERLAP: Final = 2  # hot: how many periods back, so that nothing falls between two
_LONGEST_BACK: Final = timedelta(hours=26)  # further back the nightly comparison has looked
_log: Final = structlog.get_logger()


class LeaseLost(Exception):
    """Another worker took the turn over: this one was too slow, or thought dead."""


@dataclass(frozen=True, slots=True)
class LeasedRun:
    """What came of a turn: its comparison ended (`found`), or waits and why."""

    kind: Turn
    check_id: int
    found: Checked | None = None
    waits: str = ""


class ReconciliationScheduler:
    """Any number may run, in any number of processes; each turn is one worker's."""

    def __init__(
        self,
        db: Database,
        rpc: Rpc,
        settings: Settings,
        clock: Clock,
        *,
        batch: int = 500,
        pause: WaitBetweenPages | None = None,
        new_id: Callable[[], UUID] = new_uuid,
    ) -> None:
        self._db = db
        self._rpc = rpc
        self._settings = settings
        self._clock = clock
        self._batch = batch
        self._pause = pause
        self._me = new_id()

    def loop(self) -> Loop:
        """Return the loop that takes turns as they come due; one under way is carried on later."""
        return Loop("reconcile", self._round, period_s=_LOOK_S)

    async def run(self, stop: asyncio.Event) -> None:
        """Take turns until `stop` is set."""
        await self.loop().run(stop)

    async def _round(self, current: Round) -> LoopPause | None:
        taken = await self.turn(current)
        if taken is None:
            return None
        if taken.waits and not current.stopping:
            current.failed("check_waits")
        return AT_ONCE

    async def turn(self, current: Round | None = None) -> LeasedRun | None:
        """Take one due turn as far as it goes; None when none is due or another worker has it."""
        now = self._clock()
        async with self._db.transaction() as connection:
            await self._plan(connection, now)
            kind = await store_leases.lease(connection, self._me, now, _until(now))
            if kind is None:
                return None
            row = await self._row(connection, kind, now)
        if waits := await self._supabase_is_down():
            return await self._put_off(row, kind, waits, _AGAIN_S)
        try:
            return await self._work(row, kind, current or Round())
        except LeaseLost:
            _log.warning("check_was_taken_over", kind=kind, check_id=row.id)
            return LeasedRun(kind, row.id, waits="taken over")
        except TargetRefuses as error:
            _log.error("supabase_refuses_check", kind=kind, error=str(error))
            return await self._put_off(row, kind, str(error), _REFUSED_AGAIN_S)
        except SyncError as error:
            _log.warning("check_waits_for_supabase", kind=kind, error=str(error))
            return await self._put_off(row, kind, str(error), _AGAIN_S)

    async def _plan(self, connection: Connection, now: datetime) -> None:
        """Turns nobody has begun are due by the settings of today."""
        nightly = next_at(self._settings.check_at, now)
        await store_leases.plan(connection, "all", nightly)
        hourly = self._settings.check_hot_s
        hot_at = now + timedelta(seconds=hourly) if hourly > 0 else None
        await store_leases.plan(connection, "hot", hot_at)

    async def _row(self, connection: Connection, kind: Turn, now: datetime) -> CheckRow:
        """The comparison this turn began, or a new one."""
        begun = await store_leases.begun(connection, kind)
        row = await store_runs.check_row(connection, begun) if begun is not None else None
        if row is None:
            since = await self._since(connection, now) if kind == "hot" else None
            row = await store_runs.begin(
                connection, kind, repair=self._settings.check_repair, since=since, now=now
            )
            await store_leases.begin(connection, kind, row.id)
        return row

    async def _since(self, connection: Connection, now: datetime) -> datetime:
        """From some time before the last one began: what it found under way is looked at again."""
        period = timedelta(seconds=self._settings.check_hot_s)
        last = await store_leases.last_start(connection)
        begin = min(now, last) if last is not None else now
        return max(begin - _OVERLAP * period, now - _LONGEST_BACK)

    async def _work(self, row: CheckRow, kind: Turn, current: Round) -> LeasedRun:
        comparison = Comparison(
            self._db,
            self._rpc,
            batch=self._batch,
            since=row.since,
            **({} if self._pause is None else {"pause": self._pause}),
        )
        check = Check(comparison, row, clock=self._clock)

        async def hold(connection: Connection) -> None:
            now = self._clock()
            if not await store_leases.hold(connection, kind, self._me, _until(now)):
                raise LeaseLost

        while not check.done:
            current.progress()
            if current.stopping:
                await self._give_back(kind, self._clock())
                return LeasedRun(kind, row.id, waits="stopped")
            began = time.perf_counter()
            await check.step(hold)
            # At most half of the time: Supabase and the database belong to the drivers.
            took_s = time.perf_counter() - began
            await self._rest(current, max(self._settings.check_pause_s, min(took_s, LEASE_S / 4)))
        return LeasedRun(kind, row.id, await self._end(check, kind))

    async def _end(self, check: Check, kind: Turn) -> Checked:
        now = self._clock()
        found = summary(check)
        metrics.CHECK_SUCCESS.labels(kind).set(now.timestamp())
        async with self._db.transaction() as connection:
            await store_runs.forget_old(connection, now, _KEEP_DAYS, _FORGOTTEN_AT_ONCE)
            if kind == "all":
                due = next_at(self._settings.check_at, now)
            else:
                due = now + timedelta(seconds=self._settings.check_hot_s or _REFUSED_AGAIN_S)
            await store_leases.end(connection, kind, self._me, due)
        told = _log.info if found.equal else _log.error
        told(
            "check_ended",
            kind=kind,
            check_id=found.check_id,
            clients=found.clients,
            sessions=found.sessions,
            differ=found.differ,
            healed=found.healed,
            in_flight=found.in_flight,
        )
        return found

    async def _supabase_is_down(self) -> str:
        """What the relay knows; without anything to send it would not notice the return."""
        async with self._db.connection() as connection:
            return await store_leases.target_trouble(connection)

    async def _put_off(self, row: CheckRow, kind: Turn, why: str, seconds: float) -> LeasedRun:
        async with self._db.transaction() as connection:
            await store_runs.note_error(connection, row.id, why)
        await self._give_back(kind, self._clock() + timedelta(seconds=seconds))
        return LeasedRun(kind, row.id, waits=why)

    async def _give_back(self, kind: Turn, due_at: datetime) -> None:
        async with self._db.transaction() as connection:
            await store_leases.give_back(connection, kind, self._me, due_at)

    async def _rest(self, current: Round, seconds: float) -> None:
        if self._pause is not None:
            await self._pause(seconds)
        else:
            current.progress()
            await current.pause(seconds)


def next_at(at: str, now: datetime) -> datetime | None:
    """The next moment the clock shows `at` (HH:MM, UTC) after now; None: never."""
    if not at:
        return None
    hour, minute = (int(part) for part in at.split(":"))
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)


def _until(now: datetime) -> datetime:
    return now + timedelta(seconds=LEASE_S)
