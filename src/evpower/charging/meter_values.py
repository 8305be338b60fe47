"""Takes a station's meter values: energy, running cost, and what flows after an end."""

from datetime import datetime, timedelta
from typing import Final

from evpower import alerts, stations
from evpower.charging import free_period, store_steps
from evpower.charging import store_running as store
from evpower.charging.bind_values import bind_values
from evpower.charging.clocks import learn_clock
from evpower.charging.course import tallied_anew
from evpower.charging.events import BehaviourKind, Changes, Reading, StationReadings
from evpower.charging.keep_limits import keep_limits
from evpower.charging.meter_start import with_start
from evpower.charging.register import TOLERANCE_WH, Outcome, tolerance_wh
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.charging.running import MeteredProgress, RunningTransaction, StoredValue, advance
from evpower.charging.settle import End, bill_again
from evpower.charging.steps import begin_stop
from evpower.charging.store_transactions import stop_came_at
from evpower.charging.waits import without_wait
from evpower.foundation.db import Connection
from evpower.foundation.failpoints import Failpoint, hit

GROWTH_IS_FINAL_AFTER: Final = timedelta(hours=24)
CLOSING_VALUE_WITHIN: Final = timedelta(minutes=5)
_CLOSING: Final = "the stop had no register, and the closing value came after it"


async def meter_values(
    connection: Connection,
    event: StationReadings,
    *,
    now: datetime,
    rules: Rules = DEFAULT_RULES,
    is_like_earlier: bool = False,
) -> Changes:
    """Stores meter values and moves the session they belong to on; never raises for a value.

    They begin and end no transaction. Values of one that has ended cost nothing: they are its
    tail, or, where its end was estimated, the base of its next bill.

    `is_like_earlier`: they have no time, and look like some that came before: sent again, or of a
    car that takes nothing. Those count that say what the register shows by now.
    """
    station = await stations.lock_station(connection, event.station_id)
    running = await bind_values(connection, event)
    if is_like_earlier:
        if running is None or running.transaction.ended_at is not None:
            return Changes()
        event = event.replace(readings=_standing(running, event))
    if running is None:
        values = [StoredValue(reading) for reading in event.readings]
        await store.insert_values(connection, event, event.connector, None, values)
        return Changes()
    changes = await take_values(
        connection, running, event, is_paid_only=station.paid_only, now=now, rules=rules
    )
    hit(Failpoint.PROGRESS_UNCOMMITTED)
    return changes


def _standing(running: RunningTransaction, event: StationReadings) -> tuple[Reading, ...]:
    """Returns the values that are where the register stands."""
    last = running.progress.register.last
    return tuple(
        reading for reading in event.readings if last is not None and reading.energy_wh == last.wh
    )


async def take_values(
    connection: Connection,
    running: RunningTransaction,
    event: StationReadings,
    *,
    is_paid_only: bool,
    now: datetime,
    rules: Rules,
) -> Changes:
    """Stores meter values of a transaction, and moves it on. The caller has locked its station."""
    transaction = running.transaction
    if event.signed:
        await store.insert_signed(connection, transaction.id, event.signed, event.received_at)
    if transaction.ended_at is not None:
        return await _after_end(connection, running, event, now=now, rules=rules)
    if running.progress.register.begun is None:
        running = await with_start(connection, running, event.readings)
    running = await learn_clock(connection, running, event)
    step = advance(running, event.readings, event.received_at)
    await store.insert_values(connection, event, transaction.connector, transaction.id, step.values)
    outcomes = step.outcomes
    notes = _off_the_protocol(event, step, outcomes)
    if step.is_above_power and running.progress.register.suspects:
        await _alert(connection, running, "register_above_power", now)
        notes.add("register_above_power")
    if "register_jumped" in notes:
        await _alert(connection, running, "register_jumped", now)
    is_flowing = _has_grown(running, step)
    running = running.replace(progress=step.progress)
    if "return" in outcomes:
        running = running.replace(progress=await tallied_anew(connection, running))
    if step.progress.close_reason == "station_booted":  # the station resumed the transaction
        running = running.replace(progress=without_wait(running, rules))
    changes = await keep_limits(
        connection,
        running,
        is_flowing=is_flowing,
        is_unwanted=await free_period.is_unwanted(
            connection, transaction, is_paid_only=is_paid_only
        ),
        now=now,
        rules=rules,
    )
    changes.notes |= notes
    return changes


def _off_the_protocol(
    event: StationReadings, step: MeteredProgress, outcomes: set[Outcome]
) -> set[BehaviourKind]:
    """Returns what is off in values of a transaction that runs."""
    notes: set[BehaviourKind] = set()
    if "segment" in outcomes:
        notes.add("register_restarted")
    if "jump" in outcomes:
        notes.add("register_jumped")
    if not (outcomes or event.signed or step.progress.register.has_values):
        notes.add("register_absent")
    return notes


async def _after_end(
    connection: Connection,
    running: RunningTransaction,
    event: StationReadings,
    *,
    now: datetime,
    rules: Rules,
) -> Changes:
    """Takes values of a transaction that has ended, by the register as they show it since.

    After an estimated end energy is the base of its next bill; after the station's own it is tail.
    """
    transaction = running.transaction
    if transaction.end_kind != "estimated" and await _is_closing(connection, running, now):
        closing = advance(running, event.readings, event.received_at)
        if _has_grown(running, closing) and not closing.outcomes & {"segment", "jump"}:
            changes = await _bill_closing(connection, running, event, closing, now)
            changes.notes.add("values_after_stop")
            return changes
    progress = running.progress
    since = (
        progress if progress.after_end is None else progress.replace(register=progress.after_end)
    )
    step = advance(running.replace(progress=since), event.readings, event.received_at)
    if transaction.end_kind == "estimated":
        return await _after_estimate(connection, running, event, step, now=now, rules=rules)
    changes = await _tail(connection, running, event, step, now=now, rules=rules)
    changes.notes.add("values_after_stop")
    return changes


async def _after_estimate(
    connection: Connection,
    running: RunningTransaction,
    event: StationReadings,
    step: MeteredProgress,
    *,
    now: datetime,
    rules: Rules,
) -> Changes:
    """Stops what flows after an estimated end, and bills it later.

    A register that restarts and stands still replaces none: a stop that comes late may be of the
    one before.
    """
    if "jump" in step.outcomes:
        await _alert(connection, running, "register_jumped", now)
    if not _has_grown(running, step):
        await _store_uncounted(connection, running, event, step)
        progress = running.progress.replace(after_end=step.progress.register)
        await store.update_progress(connection, running.transaction.id, progress)
        return Changes()
    transaction = running.transaction
    await store.insert_values(connection, event, transaction.connector, transaction.id, step.values)
    due_at = now + GROWTH_IS_FINAL_AFTER
    running = running.replace(progress=step.progress.replace(after_end=None, rebill_due_at=due_at))
    return await _stop_again(connection, running, "energy_after_close", now=now, rules=rules)


async def _tail(
    connection: Connection,
    running: RunningTransaction,
    event: StationReadings,
    step: MeteredProgress,
    *,
    now: datetime,
    rules: Rules,
) -> Changes:
    """Sums what flows after the station's own stop, and stops it."""
    await _store_uncounted(connection, running, event, step)
    before, after = running.progress, step.progress.register
    tail_wh = max(before.tail_wh, after.exact_wh - before.register.exact_wh)
    running = running.replace(progress=before.replace(after_end=after, tail_wh=tail_wh))
    least_wh = TOLERANCE_WH
    if after.last is not None:
        least_wh = tolerance_wh(before.register.last or after.last, after.last)
    if tail_wh == before.tail_wh or tail_wh <= least_wh:  # it grows no more, or is none
        await store.update_progress(connection, running.transaction.id, running.progress)
        return Changes()
    changes = await _stop_again(connection, running, "energy_after_stop", now=now, rules=rules)
    changes.notes.add("energy_after_stop")
    return changes


def _has_grown(running: RunningTransaction, step: MeteredProgress) -> bool:
    """Returns whether energy flowed that the register of a transaction does not have."""
    return step.progress.register.exact_wh > running.progress.register.exact_wh


async def _store_uncounted(
    connection: Connection,
    running: RunningTransaction,
    event: StationReadings,
    step: MeteredProgress,
) -> None:
    """Stores values of an ended transaction that count for no bill."""
    transaction = running.transaction
    values = [value.replace(sample=None) for value in step.values]
    await store.insert_values(connection, event, transaction.connector, transaction.id, values)


async def _is_closing(connection: Connection, running: RunningTransaction, now: datetime) -> bool:
    """Returns whether a stop without a register came a moment ago: its closing value may follow."""
    transaction = running.transaction
    if transaction.meter_stop_wh is not None or transaction.ended_at is None:
        return False
    came_at = await stop_came_at(connection, transaction)
    return now - came_at <= CLOSING_VALUE_WITHIN


async def _bill_closing(
    connection: Connection,
    running: RunningTransaction,
    event: StationReadings,
    step: MeteredProgress,
    now: datetime,
) -> Changes:
    """Bills the closing value that came after its stop."""
    transaction = running.transaction
    await store.insert_values(connection, event, transaction.connector, transaction.id, step.values)
    running = running.replace(progress=step.progress.replace(after_end=None))
    await store.update_progress(connection, transaction.id, running.progress)
    assert transaction.ended_at is not None, "it has ended"  # noqa: S101
    end = End(step.progress.energy_wh, transaction.ended_at, "", is_estimated=False)
    return await bill_again(connection, running, end, why=_CLOSING, now=now)


async def _stop_again(
    connection: Connection,
    running: RunningTransaction,
    kind: alerts.AlertKind,
    *,
    now: datetime,
    rules: Rules,
) -> Changes:
    """Alerts the operator, and asks the station to stop what is over; stores the progress."""
    transaction = running.transaction
    await _alert(connection, running, kind, now)
    await store.update_progress(connection, transaction.id, running.progress)
    if running.progress.stop_step is None:
        return await begin_stop(connection, transaction, kind, rules=rules, now=now)
    await store_steps.look_now(connection, transaction.id, now)
    return Changes()


async def _alert(
    connection: Connection, running: RunningTransaction, kind: alerts.AlertKind, now: datetime
) -> None:
    transaction = running.transaction
    detail = {"station": transaction.station_id, "connector": transaction.connector}
    await alerts.open_alert(connection, kind, f"transaction {transaction.id}", detail, now)
