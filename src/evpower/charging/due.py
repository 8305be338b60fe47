"""What is due of running transactions: stops, ends without a stop, stations that are away."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from evpower import stations
from evpower.charging import store_ends
from evpower.charging import store_running as store
from evpower.charging.closing import bill_growth, close_estimated
from evpower.charging.events import Changes
from evpower.charging.keep_limits import keep_limits
from evpower.charging.request_stop import StopRequest, request_stop
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.charging.running import RunningTransaction
from evpower.charging.steps import ACTOR, follow_up
from evpower.charging.store_ends import Due, DueBounds, DueKind
from evpower.charging.waits import answer_due_at
from evpower.foundation.db import Connection
from evpower.stations import Station

BATCH: Final = 100
VALUES_MISSING_AFTER: Final = 2  # intervals
FIRST_VALUES_WITHIN: Final = timedelta(minutes=2)  # after a station is back
IDLE_FOR: Final = timedelta(minutes=60)
# Ends after which the stop of the station is missing.
_WITHOUT_STOP: Final = frozenset({"became_available", "station_booted"})
_AGAIN_AFTER: Final = timedelta(seconds=10)  # while a station is away, an end is looked at so often


async def find_due(
    connection: Connection,
    now: datetime,
    rules: Rules,
    transaction_id: int | None = None,
    *,
    ahead: timedelta = timedelta(0),
    every: bool = False,
    limit: int | None = None,
) -> list[Due]:
    """Returns what is due, at most `limit` (`BATCH`); or only of this transaction.

    `ahead`: also what will be due so soon. `every`: not only the most final of each transaction.
    """
    return await store_ends.due(
        connection,
        now,
        horizon=now + ahead,
        bounds=DueBounds(
            silent_before=now - rules.close_after_no_frame,
            lost_before=now - rules.notify_lost_after,
            idle_for=IDLE_FOR,
        ),
        transaction_id=transaction_id,
        every=every,
        limit=BATCH if limit is None else limit,
    )


async def watch_transaction(
    connection: Connection, due: Due, *, now: datetime, rules: Rules = DEFAULT_RULES
) -> Changes:
    """Does what is due of a transaction, unless it is due no more."""
    station = await stations.lock_station(connection, due.station_id)
    still_due = await find_due(connection, now, rules, due.id, every=True)
    if due.kind not in {item.kind for item in still_due}:
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
    changes = await act[due.kind]()
    if changes.notes:  # seldom: no frame shows it
        await stations.count_deviations(
            connection,
            [stations.Deviation(station.id, kind, 1, None, now) for kind in sorted(changes.notes)],
        )
    return changes


async def _stop(
    connection: Connection, running: RunningTransaction, *, now: datetime, rules: Rules
) -> Changes:
    """Stops a session at its limit. While the station is away, no stop would reach it.

    What it has delivered comes with its first values when it is back, so it has a while for them.
    """
    is_new = running.progress.stop_due_at is None
    if is_new or await stations.is_online(connection, running.transaction.station_id, now):
        return await keep_limits(connection, running, is_flowing=False, now=now, rules=rules)
    later = running.progress.replace(stop_due_at=now + FIRST_VALUES_WITHIN)
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
    ):
        again_after = None
        if not await stations.is_online(connection, station.id, now):
            again_after = _AGAIN_AFTER
        elif await _may_run_elsewhere(connection, running, now):
            again_after = rules.close_after_available
        if again_after is not None:
            later = progress.replace(close_due_at=now + again_after)
            await store.update_progress(connection, running.transaction.id, later)
            return Changes()
    changes = await close_estimated(
        connection, running.transaction.id, reason, now=now, rules=rules
    )
    if reason in _WITHOUT_STOP:
        changes.notes.add("stop_missing")
    return changes


async def _may_run_elsewhere(
    connection: Connection, running: RunningTransaction, now: datetime
) -> bool:
    """Returns whether a charge may be on another connector than the one that was guessed for it.

    Its values still come, or another connector is in use by no other charge.
    """
    if not running.transaction.is_connector_guessed:
        return False
    last_at = running.progress.last_value_at
    if last_at is not None and now - last_at <= VALUES_MISSING_AFTER * running.interval:
        return True
    return await store_ends.is_another_used(
        connection, running.transaction.station_id, running.transaction.connector
    )


def _is_unanswered(running: RunningTransaction, now: datetime, rules: Rules) -> bool:
    """Returns whether a person's stop was not carried out in time."""
    due_at = answer_due_at(running, rules)
    return due_at is not None and due_at <= now


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
