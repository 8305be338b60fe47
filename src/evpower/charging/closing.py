"""Ends a transaction whose station did not stop it, by its last trusted register."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from evpower.charging import store_running as store
from evpower.charging.events import Changes, StationReadings, StationTime, register_read
from evpower.charging.learn_meter import learn_end, register_kind
from evpower.charging.model import StationTransaction
from evpower.charging.register import FOLLOWING, finish, observe, point
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.charging.running import RunningTransaction, StoredValue, bounded
from evpower.charging.settle import End, bill_again, settle
from evpower.charging.steps import end_steps
from evpower.foundation.db import Connection
from evpower.tariffs import Sample

# Ends that follow a stop that was asked for: it is the reason.
_AS_ASKED: Final = frozenset({"stop_unanswered", "became_available"})
_RESTARTED: Final = frozenset({"reset", "give_up"})  # it may have booted because of the last step
# Ends after which nothing charges there any more: the steps against it are over, too.
_OVER: Final = frozenset({"became_available", "next_start"})
_REST_OF_SECOND: Final = timedelta(microseconds=999_999)
_GREW: Final = "energy flowed after an estimated end, and no stop came"


async def close_estimated(
    connection: Connection,
    transaction_id: int,
    end_reason: str,
    *,
    now: datetime,
    next_start_wh: Decimal | None = None,
    rules: Rules = DEFAULT_RULES,
) -> Changes:
    """Ends an open transaction and bills its session, estimated; an ended one stays as it is.

    `next_start_wh`: the register at which the next transaction on the connector began; on a
    register that runs on it is a plausible last value of this one.
    """
    running = await store.load(connection, transaction_id)
    if running.transaction.ended_at is not None:
        return Changes()
    transaction = running.transaction
    if next_start_wh is not None and not await _restarts(connection, transaction):
        running = await _with_next_start(connection, running, next_start_wh, now)
    is_rare = await learn_end(connection, running)
    final = finish(running.progress.register, None, None, running.rated_power_w)
    ended_at = _last_value_was_at(running)
    await store.end_estimated(connection, transaction_id, ended_at)
    session = running.session
    outcome = "stopped" if end_reason in _OVER else "closed"
    if (
        session is not None
        and session.stop_reason is not None
        and (end_reason in _AS_ASKED or running.progress.stop_step in _RESTARTED)
    ):
        end_reason = session.stop_reason
    end = End(final.energy_wh, ended_at, end_reason, is_estimated=True, flaw=final.flaw)
    changes = await settle(connection, running, end, now=now)
    if is_rare:
        changes.notes.add("interval_ignored")
    progress = running.progress.replace(stop_due_at=None, close_due_at=None, close_reason=None)
    await store.update_progress(connection, transaction_id, progress)
    if running.progress.stop_step is not None:
        changes.merge(
            await end_steps(connection, running.transaction, outcome, rules=rules, now=now)
        )
    return changes


async def _restarts(connection: Connection, transaction: StationTransaction) -> bool:
    """Returns whether the register begins anew with each transaction."""
    kind = await register_kind(connection, transaction.station_id, transaction.connector)
    return kind == "per_transaction"


async def _with_next_start(
    connection: Connection, running: RunningTransaction, next_start_wh: Decimal, now: datetime
) -> RunningTransaction:
    register = running.progress.register
    if register.last is None:
        return running
    # Whatever the station measured before is not later than this, also what a late stop repeats.
    value = point(next_start_wh, StationTime(now, None), now, register.last.resolution_wh)
    register = bounded(register, running.transaction, _last_value_was_at(running), now)
    observed = observe(register, value, running.rated_power_w)
    if observed.outcome not in FOLLOWING:
        return running
    running = running.replace(progress=running.progress.replace(register=observed.register))
    if observed.outcome == "return":
        transaction = running.transaction
        sample = Sample(
            _last_value_was_at(running),
            running.progress.energy_wh,
            is_parked=running.progress.parked_since is not None,
        )
        reading = register_read("NextStart", StationTime(None, None), next_start_wh)
        event = StationReadings(
            transaction.station_id, transaction.connector, None, None, (reading,), (), now
        )
        value = StoredValue(reading, observed.outcome, sample)
        await store.insert_values(connection, event, transaction.connector, transaction.id, [value])
    return running


def _last_value_was_at(running: RunningTransaction) -> datetime:
    """Returns when the last value that counts was; where nothing is priced, when it came.

    The tally counts whole seconds: the rest of its second is of the same price.
    """
    started_at = running.transaction.started_at
    came_at = running.progress.last_value_at or started_at
    at_s = running.progress.tally.at_s
    if at_s is not None:
        came_at = min(came_at, datetime.fromtimestamp(at_s, UTC) + _REST_OF_SECOND)
    return max(came_at, started_at)


async def bill_growth(
    connection: Connection, running: RunningTransaction, *, now: datetime
) -> Changes:
    """Bills what flowed after an estimated end, estimated again: no stop of the station came."""
    transaction = running.transaction
    progress = running.progress.replace(rebill_due_at=None)
    changes = Changes()
    if transaction.end_kind == "estimated":
        ended_at = _last_value_was_at(running)
        end = End(progress.energy_wh, ended_at, "", is_estimated=True)
        changes = await bill_again(connection, running, end, why=_GREW, now=now)
    await store.update_progress(connection, transaction.id, progress)
    return changes
