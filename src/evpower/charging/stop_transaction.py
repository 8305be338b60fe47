"""Takes a station's end of a transaction: binds it, ends the session, bills it; always answers."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from evpower import alerts, stations
from evpower.charging import bind, store_transactions
from evpower.charging import store_running as store
from evpower.charging.events import Changes, StationStop, StopAnswer, register_read
from evpower.charging.learn_meter import learn_end
from evpower.charging.meter_start import with_start
from evpower.charging.model import StationTransaction
from evpower.charging.our_time import our_time, right_time
from evpower.charging.register import FinalEnergy, MeterPoint, at_end, finish, point
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.charging.running import RunningTransaction, StoredValue, advance, bounded
from evpower.charging.settle import End, bill_again, quarantine, settle
from evpower.charging.steps import end_steps
from evpower.foundation.db import Connection
from evpower.foundation.failpoints import Failpoint, hit
from evpower.tariffs import Sample

# OCPP's reasons, and the words of later versions; others are "other".
_REASONS: Final = {
    "deauthorized": "deauthorized", "emergencystop": "emergency_stop",
    "evdisconnected": "ev_disconnected", "hardreset": "hard_reset", "local": "stopped_at_station",
    "other": "other", "powerloss": "power_loss", "reboot": "reboot", "remote": "remote",
    "softreset": "soft_reset", "unlockcommand": "unlocked",
}  # fmt: skip
# Of a stop that was not asked for: they don't say why. A car that took nothing says more.
_UNEXPLAINED: Final = frozenset({"other", "stopped_at_station", "remote"})
_AT_ONCE: Final = timedelta(minutes=2)
# Of a stop that was asked for, where a step forced it.
_FORCED: Final = frozenset({"unlocked", "soft_reset", "reboot"})
_FORCING: Final = frozenset({"unlock", "reset", "give_up"})
_LATE_STOP: Final = "the station's own stop, with its register, came after the end"


async def stop_transaction(
    connection: Connection, event: StationStop, *, now: datetime, rules: Rules = DEFAULT_RULES
) -> StopAnswer:
    """Ends the transaction that a station means, and bills its session once.

    The same stop again changes nothing; without a time it is the next one's, where that began since
    and has got as far. One that fits no transaction is stored for the operator.
    One that comes after an estimated end is the next bill, as is one with a register after one
    without.
    """
    await stations.lock_station(connection, event.station_id)
    sent = bind.sent_id(event)
    stamp = store.clip(event.time.raw)
    changes = Changes()
    earlier_at = transaction = None
    if event.time.at is None:
        earlier_at = await store_transactions.like_stop_came_at(connection, event, sent, stamp)
    if earlier_at is not None:
        transaction = await bind.bind_like_earlier(connection, event, earlier_at)
        if transaction is None:
            changes.notes.add("stop_repeated")
            return StopAnswer("accepted", changes)
        stamp = f"{stamp or ''} {event.received_at.isoformat()}".strip()
    stop_id = await store.insert_stop(connection, event, sent, stamp)
    if stop_id is None:
        changes.notes.add("stop_repeated")
        return StopAnswer("accepted", changes)
    if transaction is None:
        transaction = await bind.bind_stop(connection, event)
    if transaction is None:
        await alerts.open_alert(
            connection, "stop_unmatched", f"stop {stop_id}",
            {
                "station": event.station_id, "stop": stop_id, "id": sent,
                "meter_wh": _text(event.meter_wh),
            },
            now,
        )  # fmt: skip
        changes.notes.add("stop_unmatched")
        return StopAnswer("accepted", changes)
    await store.match_stop(connection, stop_id, transaction.id)
    running = await store.load(connection, transaction.id)
    if _is_final(running.transaction) or (
        running.transaction.end_kind == "stop" and event.meter_wh is None
    ):
        changes.notes.add("stop_repeated")
        return StopAnswer("accepted", changes)
    _note(changes, transaction, event)
    await store.insert_signed(connection, transaction.id, event.signed, event.received_at)
    name = bind.known_name(event.text_id)
    if name is not None:
        await store_transactions.add_alias(
            connection, event.station_id, name, transaction.id, event.received_at
        )
    changes.merge(await _end(connection, running, event, now=now))
    if running.progress.stop_step is not None or running.transaction.ended_at is not None:
        changes.merge(await end_steps(connection, transaction, "stopped", rules=rules, now=now))
    hit(Failpoint.STOP_UNCOMMITTED)
    return StopAnswer("accepted", changes)


def _note(changes: Changes, transaction: StationTransaction, event: StationStop) -> None:
    """Notes what of a stop can't be so."""
    start_at, start_wh = transaction.start_station_at, transaction.meter_start_wh
    if start_at is not None and event.time.at is not None and event.time.at < start_at:
        changes.notes.add("stop_before_start")
    if start_wh is not None and event.meter_wh is not None and event.meter_wh < start_wh:
        changes.notes.add("stop_below_start")


def _is_final(transaction: StationTransaction) -> bool:
    """Returns whether the station has said how a transaction ended; one register says it."""
    return transaction.end_kind == "stop" and transaction.meter_stop_wh is not None


async def _end(
    connection: Connection, running: RunningTransaction, event: StationStop, *, now: datetime
) -> Changes:
    transaction = running.transaction
    is_late = transaction.end_kind is not None
    running = await with_start(connection, running, event.readings)
    readings = [reading for reading in event.readings if reading.context != "Transaction.End"]
    step = advance(running, readings, event.received_at, are_repeated=True)
    await store.insert_values(connection, event, transaction.connector, transaction.id, step.values)
    running = running.replace(progress=step.progress)
    final = _final(running, event)
    at = ended_at(running, event)
    if final.is_return:
        returned = _returned(running, event, final, at)
        await store.insert_values(
            connection, event, transaction.connector, transaction.id, [returned]
        )
    progress = running.progress.replace(
        register=final.register, after_end=None, stop_due_at=None, close_due_at=None,
        close_reason=None, rebill_due_at=None, parked_since=running.progress.parked_since,
    )  # fmt: skip
    is_rare = await learn_end(connection, running.replace(progress=progress))
    await store.end_transaction(connection, transaction.id, event, at)
    end = End(
        final.energy_wh,
        at,
        _reason(running, event, final.energy_wh, at),
        final.is_estimated,
        final.flaw,
        is_timed=event.time.at is not None,
    )
    if not is_late:
        changes = await settle(connection, running, end, now=now)
    else:
        changes = await bill_again(connection, running, end, why=_LATE_STOP, now=now)
        if final.flaw is not None:
            await quarantine(connection, running, final.flaw, now=now)
    if is_rare:
        changes.notes.add("interval_ignored")
    await store.update_progress(connection, transaction.id, progress)
    return changes


def _final(running: RunningTransaction, event: StationStop) -> FinalEnergy:
    """Returns the energy by a stop: as the register ended, else as values since its end show it."""
    closing = at_end(event.readings)
    stop = end = None
    if event.meter_wh is not None:
        time = right_time(event.time, running.skew_s, event.received_at)
        stop = point(event.meter_wh, time, event.received_at, Decimal(1))
    if closing is not None and closing.energy_wh is not None:
        time = right_time(closing.time, running.skew_s, event.received_at)
        end = point(closing.energy_wh, time, event.received_at, closing.resolution_wh)
    at = our_time(event.time, event.received_at, running.transaction, running.skew_s)
    progress = running.progress
    register = bounded(progress.register, running.transaction, at, event.received_at)
    final = finish(register, stop, end, running.rated_power_w)
    if not final.is_estimated or progress.after_end is None:
        return final
    register = bounded(progress.after_end, running.transaction, at, event.received_at)
    since = finish(register, stop, end, running.rated_power_w)
    return final if since.is_estimated else since


def _returned(
    running: RunningTransaction, event: StationStop, final: FinalEnergy, at: datetime
) -> StoredValue:
    """Returns the register of a stop that shows that lower values before it were wrong."""
    sample = Sample(
        at,
        final.energy_wh,
        is_parked=running.progress.parked_since is not None,
        is_timed=event.time.at is not None,
    )
    return StoredValue(register_read("Stop", event.time, event.meter_wh), "return", sample)


def ended_at(running: RunningTransaction, event: StationStop) -> datetime:
    """Returns when a transaction ended by its stop: not before the last value that counts."""
    at = our_time(event.time, event.received_at, running.transaction, running.skew_s)
    return max(at, _last_sample_at(running)) if running.progress.register.has_values else at


def _last_sample_at(running: RunningTransaction) -> datetime:
    """Returns when the last value that counts was, by the tally's clock."""
    at_s = running.progress.tally.at_s
    started_at = running.transaction.started_at
    if at_s is None:
        return started_at
    return max(datetime.fromtimestamp(at_s, started_at.tzinfo), started_at)


def _reason(running: RunningTransaction, event: StationStop, energy_wh: int, at: datetime) -> str:
    """Returns how the session ended: why its stop was asked for, or what the station says."""
    session = running.session
    word = (event.reason or "local").replace("_", "").replace(" ", "").lower()
    reason = _REASONS.get(word, "other")
    stop_reason = None if session is None else session.stop_reason
    was_forced = running.progress.stop_step in _FORCING and reason in _FORCED
    if reason not in _UNEXPLAINED and not (stop_reason and was_forced):
        return reason
    if stop_reason is not None:
        return stop_reason
    if energy_wh == 0 and at - running.transaction.started_at <= _AT_ONCE:
        return "car_took_nothing"
    return reason


def _text(register: MeterPoint | Decimal | None) -> str | None:
    return None if register is None else str(register)
