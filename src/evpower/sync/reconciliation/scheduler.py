"""Scheduled runs: recent changes each hour, everything each night.

A run is made once in the whole cluster: the process that leases the row of its kind runs it and
stores its position with every page; after a crash another process continues from there. It is slow
on purpose, and waits while Supabase does not respond.
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
from evpower.sync.reconciliation.run import ReconciliationRun, RunResult, summary
from evpower.sync.reconciliation.store_runs import RunRow, ScheduledKind
from evpower.sync.supabase_rpc import Rpc

LEASE_S: Final = 120.0  # longer than a page may take, with its calls and pauses
_POLL_S: Final = 15.0
_RETRY_S: Final = 60.0  # after Supabase did not respond
_REFUSED_RETRY_S: Final = 600.0
KEEP_DAYS: Final = 90
_DELETED_AT_ONCE: Final = 10_000
_OVERLAP: Final = 2  # recent: how many periods it goes back, so that runs overlap
_LONGEST_BACK: Final = timedelta(hours=26)  # older changes were in the nightly run
_log: Final = structlog.get_logger()


class LeaseLost(Exception):
    """Another process leased this kind: this process was too slow, or its lease expired."""


@dataclass(frozen=True, slots=True)
class LeasedRun:
    """The outcome of a leased run: it finished (`result`), or was postponed (`postponed`: why)."""

    kind: ScheduledKind
    run_id: int
    result: RunResult | None = None
    postponed: str = ""


class ReconciliationScheduler:
    """Any number of schedulers may run in any number of processes; a run is leased by one."""

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
        self._process_id = new_id()

    def loop(self) -> Loop:
        """Returns the loop that makes due runs; a run stopped with it is continued later."""
        return Loop("reconcile", self._round, period_s=_POLL_S)

    async def run(self, stop: asyncio.Event) -> None:
        """Makes due runs until `stop` is set."""
        await self.loop().run(stop)

    async def _round(self, current: Round) -> LoopPause | None:
        leased = await self.run_due(current)
        if leased is None:
            return None
        if leased.postponed and not current.stopping:
            current.failed("run_postponed")
        return AT_ONCE

    async def run_due(self, current: Round | None = None) -> LeasedRun | None:
        """Runs what is due as far as possible; None: nothing is due, or another process has it."""
        now = self._clock()
        async with self._db.transaction() as connection:
            await self._plan(connection, now)
            kind = await store_leases.lease(connection, self._process_id, now, _until(now))
            if kind is None:
                return None
            row = await self._row(connection, kind, now)
        if postponed := await self._supabase_error():
            return await self._postpone(row, kind, postponed, _RETRY_S)
        try:
            return await self._work(row, kind, current or Round())
        except LeaseLost:
            _log.warning("reconciliation_lease_lost", kind=kind, run_id=row.id)
            return LeasedRun(kind, row.id, postponed="lease lost")
        except TargetRefuses as error:
            _log.error("reconciliation_refused", kind=kind, error=str(error))
            return await self._postpone(row, kind, str(error), _REFUSED_RETRY_S)
        except SyncError as error:
            _log.warning("reconciliation_postponed", kind=kind, error=str(error))
            return await self._postpone(row, kind, str(error), _RETRY_S)

    async def _plan(self, connection: Connection, now: datetime) -> None:
        """Sets when kinds that are not begun are due, by the current settings."""
        nightly = next_at(self._settings.check_at, now)
        await store_leases.plan(connection, "full", nightly)
        hourly = self._settings.check_recent_s
        recent_at = now + timedelta(seconds=hourly) if hourly > 0 else None
        await store_leases.plan(connection, "recent", recent_at)

    async def _row(self, connection: Connection, kind: ScheduledKind, now: datetime) -> RunRow:
        """Returns the open run of this kind, or a new one."""
        open_run = await store_leases.open_run(connection, kind)
        row = await store_runs.run_row(connection, open_run) if open_run is not None else None
        if row is None:
            since = await self._since(connection, now) if kind == "recent" else None
            row = await store_runs.begin(
                connection, kind, repair=self._settings.check_repair, since=since, now=now
            )
            await store_leases.set_run(connection, kind, row.id)
        return row

    async def _since(self, connection: Connection, now: datetime) -> datetime:
        """Returns a time before the last run began, so that keys then in flight are compared."""
        period = timedelta(seconds=self._settings.check_recent_s)
        last = await store_leases.last_start(connection)
        begin = min(now, last) if last is not None else now
        return max(begin - _OVERLAP * period, now - _LONGEST_BACK)

    async def _work(self, row: RunRow, kind: ScheduledKind, current: Round) -> LeasedRun:
        comparison = Comparison(
            self._db,
            self._rpc,
            row.kind,
            batch=self._batch,
            since=row.since,
            **({} if self._pause is None else {"pause": self._pause}),
        )
        run = ReconciliationRun(comparison, row, clock=self._clock)

        async def renew_lease(connection: Connection) -> None:
            now = self._clock()
            if not await store_leases.renew(connection, kind, self._process_id, _until(now)):
                raise LeaseLost

        while not run.done:
            current.progress()
            if current.stopping:
                await self._release(kind, self._clock())
                return LeasedRun(kind, row.id, postponed="stopped")
            started = time.perf_counter()
            await run.step(renew_lease)
            # A pause as long as the page took: the load on Supabase and the database stays below
            # one half.
            took_s = time.perf_counter() - started
            await self._pause_between_pages(
                current, max(self._settings.check_pause_s, min(took_s, LEASE_S / 4))
            )
        return LeasedRun(kind, row.id, await self._end(run, kind))

    async def _end(self, run: ReconciliationRun, kind: ScheduledKind) -> RunResult:
        now = self._clock()
        result = summary(run)
        metrics.CHECK_SUCCESS.labels(kind).set(now.timestamp())
        async with self._db.transaction() as connection:
            await store_runs.delete_old(connection, now, KEEP_DAYS, _DELETED_AT_ONCE)
            if kind == "full":
                due = next_at(self._settings.check_at, now)
            else:
                due = now + timedelta(seconds=self._settings.check_recent_s or _REFUSED_RETRY_S)
            await store_leases.finish(connection, kind, self._process_id, due)
        log = _log.info if result.equal else _log.error
        log(
            "reconciliation_finished",
            kind=kind,
            run_id=result.run_id,
            clients=result.clients,
            sessions=result.sessions,
            differ=result.differ,
            closed=result.closed,
            in_flight=result.in_flight,
        )
        return result

    async def _supabase_error(self) -> str:
        """Returns why Supabase is unavailable, as the relay saw it; empty: it is available."""
        async with self._db.connection() as connection:
            return await store_leases.target_error(connection)

    async def _postpone(
        self, row: RunRow, kind: ScheduledKind, reason: str, seconds: float
    ) -> LeasedRun:
        async with self._db.transaction() as connection:
            await store_runs.store_error(connection, row.id, reason)
        await self._release(kind, self._clock() + timedelta(seconds=seconds))
        return LeasedRun(kind, row.id, postponed=reason)

    async def _release(self, kind: ScheduledKind, due_at: datetime) -> None:
        async with self._db.transaction() as connection:
            await store_leases.release(connection, kind, self._process_id, due_at)

    async def _pause_between_pages(self, current: Round, seconds: float) -> None:
        if self._pause is not None:
            await self._pause(seconds)
        else:
            current.progress()
            await current.pause(seconds)


def next_at(at: str, now: datetime) -> datetime | None:
    """Returns the next time of day `at` (HH:MM, UTC) after now; None: never."""
    if not at:
        return None
    hour, minute = (int(part) for part in at.split(":"))
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)


def _until(now: datetime) -> datetime:
    return now + timedelta(seconds=LEASE_S)
