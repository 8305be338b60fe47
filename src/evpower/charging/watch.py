"""Watches running transactions: stops that are due, ends without a stop, stations that are away."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from evpower import stations
from evpower.charging import store_ends
from evpower.charging import store_running as store
from evpower.charging.closing import bill_growth, close_estimated
from evpower.charging.events import Changes
from evpower.charging.keep_limits import keep_limits
from evpower.charging.limits import LIMIT_REASONS
from evpower.charging.request_stop import StopRequest, request_stop
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.charging.running import RunningTransaction
from evpower.charging.steps import ACTOR, follow_up
from evpower.charging.store_ends import Due, DueKind
from evpower.foundation.bus import Bus
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.failpoints import Failpoint, hit
from evpower.foundation.loops import AT_ONCE, Loop, Pause, Round
from evpower.stations import Station

BATCH: Final = 100
WATCH_POLL_S: Final = 1.0
FIRST_VALUES_WITHIN: Final = timedelta(minutes=2)  # after a station is back
IDLE_FOR: Final = timedelta(minutes=60)
AT_A_TIME: Final = 4  # transactions beside each other
log: Final = structlog.get_logger()
_AGAIN_AFTER: Final = timedelta(seconds=10)  # while a station is away, an end is looked at so often


async def find_due(
    connection: Connection,
    now: datetime,
    rules: Rules,
    transaction_id: int | None = None,
    *,
    ahead: timedelta = timedelta(0),
) -> list[Due]:
    """Returns what is due, at most `BATCH`; or only of this transaction.

    `ahead`: also what will be due so soon.
    """
    return await store_ends.due(
        connection,
        now,
        horizon=now + ahead,
        silent_before=now - rules.close_after_no_frame,
        lost_before=now - rules.notify_lost_after,
        idle_for=IDLE_FOR,
        transaction_id=transaction_id,
        limit=BATCH,
    )


async def watch_transaction(
    connection: Connection, due: Due, *, now: datetime, rules: Rules = DEFAULT_RULES
) -> Changes:
    """Does what is due of a transaction, unless it is due no more."""
    station = await stations.lock_station(connection, due.station_id)
    kinds = [item.kind for item in await find_due(connection, now, rules, due.id)]
    if due.kind not in kinds:
        return Changes()
    running = await store.load(connection, due.id)
    act: dict[DueKind, Callable[[], Awaitable[Changes]]] = {
        "rebill": lambda: bill_growth(connection, running, now=now),
        "close": lambda: _close(connection, running, station, now=now, rules=rules),
        "silent": lambda: close_estimated(connection, due.id, "no_frames", now=now, rules=rules),
        "stop": lambda: _stop(connection, running, now=now, rules=rules),
        "idle": lambda: _stop_idle(connection, running, now=now, rules=rules),
        "step": lambda: follow_up(connection, running, now=now, rules=rules),
        "lost": lambda: _notify(connection, running, now),
    }
    return await act[due.kind]()


async def _stop(
    connection: Connection, running: RunningTransaction, *, now: datetime, rules: Rules
) -> Changes:
    """Stops a session at its limit. While the station is away, no stop would reach it.

    What it has delivered comes with its first values when it is back, so it has a while for them.
    """
    is_new = running.progress.stop_due_at is None
    if is_new or await stations.is_online(connection, running.transaction.station_id, now):
        return await keep_limits(connection, running, is_flowing=False, now=now, rules=rules)
    later = running.progress._replace(stop_due_at=now + FIRST_VALUES_WITHIN)
    await store.update_progress(connection, running.transaction.id, later)
    return Changes()


async def _close(
    connection: Connection,
    running: RunningTransaction,
    station: Station,
    *,
    now: datetime,
    rules: Rules,
) -> Changes:
    """Ends a transaction that seems to be over; `Available` counts on a live connection only.

    A stop that was not answered in time, and a station that was retired, wait for none.
    """
    progress = running.progress
    reason = progress.close_reason or "other"
    if (
        reason == "became_available"
        and station.retired_at is None
        and not _is_unanswered(running, now, rules)
        and not await stations.is_online(connection, station.id, now)
    ):
        later = progress._replace(close_due_at=now + _AGAIN_AFTER)
        await store.update_progress(connection, running.transaction.id, later)
        return Changes()
    return await close_estimated(connection, running.transaction.id, reason, now=now, rules=rules)


def _is_unanswered(running: RunningTransaction, now: datetime, rules: Rules) -> bool:
    """Returns whether a person's stop was not carried out in time."""
    session = running.session
    return (
        session is not None
        and session.stop_requested_at is not None
        and session.stop_reason not in LIMIT_REASONS
        and session.stop_requested_at + rules.close_after_stop <= now
    )


async def _stop_idle(
    connection: Connection, running: RunningTransaction, *, now: datetime, rules: Rules
) -> Changes:
    """Asks for the stop of a session whose values show no energy, though no car pauses it."""
    session = running.session
    assert session is not None, "only sessions are idle"  # noqa: S101
    request = StopRequest(session.id, None, ACTOR, "no_energy")
    return (await request_stop(connection, request, now=now, rules=rules)).changes


async def _notify(connection: Connection, running: RunningTransaction, now: datetime) -> Changes:
    session = running.session
    assert session is not None, "only sessions have a driver"  # noqa: S101
    await store_ends.set_station_lost(connection, session.id, now)
    return Changes(sessions={session.id})


def watch_loop(
    db: Database, bus: Bus, clock: Clock, rules: Rules, *, poll_s: float = WATCH_POLL_S
) -> Loop:
    """Returns the loop that does what is due of running transactions, each at its time."""
    watch = Watch(db, bus, clock, rules, poll_s=poll_s)
    return Loop("charging_watch", watch.run_once, period_s=poll_s)


class Watch:
    """Looks a period ahead, and does each thing at its moment; the rows alone are its memory."""

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

    async def run_once(self, current: Round) -> Pause | None:
        """Does what is due, and returns until when nothing is."""
        now = self._clock()
        if self._has_to_look(now):
            async with self._db.connection() as connection:
                self._coming = await find_due(connection, now, self._rules, ahead=self._period)
            self._looked_at, self._has_more = now, len(self._coming) >= BATCH
        items = [due for due in self._coming if due.at <= now]
        del self._coming[: len(items)]
        await self._do(items, current)
        if self._has_more and not self._coming:
            return AT_ONCE
        next_at = (self._looked_at or now) + self._period
        if self._coming:
            next_at = min(next_at, self._coming[0].at)
        return Pause(max((next_at - self._clock()).total_seconds(), 0))

    def _has_to_look(self, now: datetime) -> bool:
        if self._looked_at is None or (self._has_more and not self._coming):
            return True
        return not self._looked_at <= now < self._looked_at + self._period

    async def _do(self, items: list[Due], current: Round) -> None:
        """Does these, some beside each other.

        One that fails does not keep the others from it: its error is raised at the end.
        """
        places = asyncio.Semaphore(AT_A_TIME)

        async def do_one(due: Due) -> None:
            async with places:
                if not current.stopping:
                    await self._do_one(due)
                    current.progress()

        results = await asyncio.gather(*(do_one(due) for due in items), return_exceptions=True)
        for due, error in zip(items, results, strict=True):
            if error is not None:
                log.warning("transaction_watch_failed", transaction=due.id, due=due.kind)
        for error in results:
            if error is not None:
                raise error

    async def _do_one(self, due: Due) -> None:
        async with self._db.transaction() as connection:
            changes = await watch_transaction(connection, due, now=self._clock(), rules=self._rules)
        hit(Failpoint.STEP_COMMITTED)
        changes.publish(self._bus)
