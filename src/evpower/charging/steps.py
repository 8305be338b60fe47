"""Ends a charge that goes on although it was to stop, one step after another.

A stop, the stop once more, a limit of 0, the connector's lock, a restart, a person. The next step
follows only when the meter shows that the charge goes on: two values in a row with more energy, or
no values at all for two intervals of the station. `Accepted` is no proof. The steps are rows, so a
process that dies leaves them where they were.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

from evpower import alerts, stations
from evpower.alerts import AlertKind
from evpower.charging import store_steps, store_transactions
from evpower.charging.events import Changes
from evpower.charging.model import EndKind, StationTransaction, StepOutcome, StopStep
from evpower.charging.rules import Rules
from evpower.charging.running import RunningTransaction
from evpower.charging.step_commands import queue_clear, queue_step
from evpower.charging.store_steps import StepRow
from evpower.foundation.db import Connection
from evpower.foundation.failpoints import Failpoint, hit
from evpower.stations import Command

ACTOR: Final = "evpower"
NOT_OBEYED: Final[AlertKind] = "stop_not_obeyed"
NOTHING_HELPED: Final[AlertKind] = "stop_steps_exhausted"
_AFTER_END: Final[tuple[AlertKind, ...]] = ("energy_after_close", "energy_after_stop")
RESEND_AFTER: Final = timedelta(seconds=30)
_ORDERS: Final[Mapping[EndKind | None, tuple[StopStep, ...]]] = {
    None: ("remote_stop", "remote_stop_again", "zero_limit", "unlock", "reset", "give_up"),
    # A stop after an estimated end is a second one already.
    "estimated": ("remote_stop", "zero_limit", "unlock", "reset", "give_up"),
    # After its own stop a station knows no transaction that could be stopped again.
    "stop": ("remote_stop", "zero_limit", "give_up"),
}
_GROWN_IN_A_ROW: Final = 2
_INTERVALS: Final = 2
_LEAST_WAIT: Final = timedelta(seconds=30)
_LOOK_AGAIN: Final = timedelta(seconds=10)
_REFUSES_FOR: Final = timedelta(seconds=60)
_SETTLE: Final = timedelta(seconds=5)  # after a command that was not answered


class _Verdict(NamedTuple):
    """What is known of a step: an outcome, or when to look again (None: at the next growth)."""

    outcome: StepOutcome | None
    look_at: datetime | None = None


async def begin_stop(
    connection: Connection,
    transaction: StationTransaction,
    cause: str,
    *,
    actor: str = ACTOR,
    rules: Rules,
    now: datetime,
) -> Changes:
    """Asks the station to stop a transaction: the first step, which the watch follows up.

    `cause`: a stop reason, or what was seen after the end.
    """
    changes = await _take(
        connection, transaction, "remote_stop", cause, actor=actor, rules=rules, now=now
    )
    if transaction.end_kind == "stop":  # its id may be known no more, so the limit goes along
        changes.merge(
            await _take(
                connection, transaction, "zero_limit", cause, actor=actor, rules=rules, now=now
            )
        )
    return changes


async def follow_up(
    connection: Connection, running: RunningTransaction, *, rules: Rules, now: datetime
) -> Changes:
    """Looks whether the newest step helped; if not, takes the next one."""
    transaction = running.transaction
    newest = await store_steps.newest_steps(connection, transaction.id)
    if not newest:  # the station was retired
        await store_steps.set_step(connection, transaction.id, "give_up", None)
        return Changes()
    step = newest[0]
    command = await stations.get_command(connection, step.command_id or 0)
    verdict = await _judge(connection, running, newest, command, now)
    if verdict.outcome is None:
        await store_steps.set_step(
            connection, transaction.id, running.progress.stop_step, verdict.look_at
        )
        return Changes()
    await store_steps.end_steps(connection, transaction.id, verdict.outcome, now)
    is_same = verdict.outcome in {"unanswered", "not_delivered", "refused"}
    changes = await _take_next(connection, running, step, is_same=is_same, rules=rules, now=now)
    if verdict.outcome == "went_on" and command.state == "accepted":
        is_limit = step.step == "zero_limit"
        changes.notes.add("limit_ignored" if is_limit else "stop_ignored")
    return changes


async def end_steps(
    connection: Connection,
    transaction: StationTransaction,
    outcome: StepOutcome,
    *,
    rules: Rules,
    now: datetime,
) -> Changes:
    """A transaction is over: what was not sent yet is not, and a limit of 0 is taken back.

    Where EvPower ended it without the station (`closed`) both stay until it is free: the car may be
    there.
    """
    for command_id in await store_steps.end_steps(connection, transaction.id, outcome, now):
        if outcome == "stopped":
            await stations.drop_command(connection, command_id, now)
    await store_steps.set_step(connection, transaction.id, None, None)
    await alerts.close_alert(connection, NOT_OBEYED, _subject(transaction), now)
    changes = Changes()
    if outcome == "closed":
        return changes
    for kind in (NOTHING_HELPED, *_AFTER_END):
        await alerts.close_alert(connection, kind, _alert_subject(kind, transaction), now)
    if await store_steps.clear_limits(connection, transaction.id, now):
        await queue_clear(connection, transaction, actor=ACTOR, rules=rules, now=now)
        changes.stations.add(transaction.station_id)
    return changes


async def free_connector(
    connection: Connection, station_id: str, connector: int, *, rules: Rules, now: datetime
) -> Changes:
    """Nothing charges on a connector any more, or something else does: earlier steps are over."""
    changes = Changes()
    for transaction_id in await store_steps.over_on_connector(connection, station_id, connector):
        transaction = await store_transactions.find_transaction(connection, transaction_id)
        assert transaction is not None, "it was found by its id"  # noqa: S101
        changes.merge(await end_steps(connection, transaction, "stopped", rules=rules, now=now))
    return changes


async def drop_ambiguous_stops(connection: Connection, station_id: str, now: datetime) -> None:
    """Drops queued stops by an id that may be the one of a charge that has begun meanwhile, too.

    The watch sends them again, by the ids that are left. Where EvPower ended the charge itself, the
    energy that still flows asks for a stop.
    """
    for command_id, transaction_id in await store_steps.ambiguous_stops(connection, station_id):
        await stations.drop_command(connection, command_id, now)
        await store_steps.look_now(connection, transaction_id, now)


async def _judge(
    connection: Connection,
    running: RunningTransaction,
    newest: list[StepRow],
    command: Command,
    now: datetime,
) -> _Verdict:
    """Returns what became of a step. While the station is away, or owes a reply, nothing did."""
    step = newest[0]
    is_over = running.transaction.ended_at is not None
    later = _Verdict(None, None if is_over else now + _LOOK_AGAIN)
    socket = await _socket(connection, command.station_id)
    if socket is None or not await stations.is_online(connection, command.station_id, now):
        return later
    if command.sent_at is None:
        return later if command.state == "queued" else _Verdict("not_delivered")
    is_first = step.step == "remote_stop" and running.transaction.ended_at is None
    if command.state == "timed_out" and socket != command.epoch and not _was_repeated(newest):
        return _Verdict("unanswered")
    is_silent = command.state in {"sent", "timed_out"}
    if is_silent and not is_first and (command.ended_at or now) + _SETTLE > now:
        return later  # one that hears nothing is about to be made to connect anew
    may_repeat = command.state == "refused" and _may_repeat_refused(running, newest, now)
    return await _ask_meter(
        connection, running, step, command.sent_at, may_repeat=may_repeat, now=now
    )


async def _ask_meter(
    connection: Connection,
    running: RunningTransaction,
    step: StepRow,
    sent_at: datetime,
    *,
    may_repeat: bool,
    now: datetime,
) -> _Verdict:
    """Returns whether the charge went on after a step was sent."""
    transaction = running.transaction
    values = await store_steps.values_since(connection, transaction.id, sent_at)
    grown = 0
    for before, after in pairwise([step.base_wh, *values]):
        grown = grown + 1 if after > before else 0
    is_first = step.step == "remote_stop" and transaction.ended_at is None
    if may_repeat and grown and not is_first:
        return _Verdict("refused")
    if is_first and (grown or sent_at + RESEND_AFTER <= now):
        # A stop may come too early for a station, so the second one waits for no proof.
        return _Verdict("went_on" if grown else "not_ended")
    if grown >= _GROWN_IN_A_ROW:
        return _Verdict("went_on")
    if is_first:
        return _Verdict(None, sent_at + RESEND_AFTER)
    if values or transaction.ended_at is not None:
        return _Verdict(None)
    silent_at = sent_at + max(_INTERVALS * running.interval, _LEAST_WAIT)
    return _Verdict("no_values") if silent_at <= now else _Verdict(None, silent_at)


def _was_repeated(newest: list[StepRow]) -> bool:
    """Returns whether the newest step is itself the repeat of one that was not answered."""
    return len(newest) > 1 and (newest[1].step, newest[1].outcome) == (
        newest[0].step, "unanswered",
    )  # fmt: skip


def _may_repeat_refused(running: RunningTransaction, newest: list[StepRow], now: datetime) -> bool:
    """Returns whether a stop that was refused is sent at the next growth, not the next step.

    Stations refuse a stop until they have read the answer to their start, for up to 40 s.
    """
    if newest[0].step not in {"remote_stop", "remote_stop_again"}:
        return False
    is_young = running.transaction.received_at + _REFUSES_FOR > now
    return is_young or all(step.outcome != "refused" for step in newest)


async def _socket(connection: Connection, station_id: str) -> int | None:
    """Returns the epoch of a station's socket; None: it has none."""
    newest = await stations.list_connections(connection, station_id, 1)
    return newest[0].id if newest and newest[0].closed_at is None else None


async def _take_next(
    connection: Connection,
    running: RunningTransaction,
    last: StepRow,
    *,
    is_same: bool,
    rules: Rules,
    now: datetime,
) -> Changes:
    """Takes the next step that is allowed; `is_same`: the last one once more, it was not heard."""
    transaction = running.transaction
    order = _ORDERS[transaction.end_kind]
    at = order.index(last.step) if last.step in order else 0
    for step in order[at if is_same else at + 1 :]:
        if step == "zero_limit" and not is_same:
            await _alert(connection, transaction, NOT_OBEYED, last, now)
        if step == "give_up":
            break
        command = await queue_step(connection, transaction, step, actor=ACTOR, rules=rules, now=now)
        if command is not None:
            return await _store(connection, transaction, step, last.cause, command, now)
        await store_steps.insert_unsent_step(
            connection, transaction.id, step, last.cause, now, is_skipped=True
        )
    await store_steps.insert_unsent_step(connection, transaction.id, "give_up", last.cause, now)
    await store_steps.set_step(connection, transaction.id, "give_up", None)
    await _alert(connection, transaction, NOTHING_HELPED, last, now)
    hit(Failpoint.STEP_UNCOMMITTED)
    return _changes(transaction)


async def _take(
    connection: Connection,
    transaction: StationTransaction,
    step: StopStep,
    cause: str,
    *,
    actor: str,
    rules: Rules,
    now: datetime,
) -> Changes:
    command = await queue_step(connection, transaction, step, actor=actor, rules=rules, now=now)
    if command is None:
        return Changes()
    return await _store(connection, transaction, step, cause, command, now)


async def _store(
    connection: Connection,
    transaction: StationTransaction,
    step: StopStep,
    cause: str,
    command: Command,
    now: datetime,
) -> Changes:
    look_at = now + RESEND_AFTER if transaction.ended_at is None else None
    await store_steps.take_step(
        connection, transaction.id, step, cause, command.id, look_at=look_at, now=now
    )
    hit(Failpoint.STEP_UNCOMMITTED)
    return _changes(transaction)


async def _alert(
    connection: Connection,
    transaction: StationTransaction,
    kind: AlertKind,
    last: StepRow,
    now: datetime,
) -> None:
    detail = {
        "station": transaction.station_id,
        "connector": transaction.connector,
        "step": last.step,
        "cause": last.cause,
    }
    await alerts.open_alert(connection, kind, _alert_subject(kind, transaction), detail, now)


def _alert_subject(kind: AlertKind, transaction: StationTransaction) -> str:
    is_of_session = kind in {NOT_OBEYED, NOTHING_HELPED}
    return _subject(transaction) if is_of_session else f"transaction {transaction.id}"


def _subject(transaction: StationTransaction) -> str:
    if transaction.session_id is None:
        return f"transaction {transaction.id}"
    return str(transaction.session_id)


def _changes(transaction: StationTransaction) -> Changes:
    changes = Changes(stations={transaction.station_id})
    if transaction.session_id is not None:
        changes.sessions.add(transaction.session_id)
    return changes
