"""A limit's stop, drafted shortly before its moment: at the moment it is only written.

The draft is what `keep_limits` would do of a session that charges on. It is written in two
statements, and only if the rows are still those that it was computed from. Whatever else is to be
done of a session at its limit is done by `watch_transaction`.
"""

from datetime import datetime
from typing import Final, NamedTuple

from evpower.charging import limits
from evpower.charging import store_limit_stop as store
from evpower.charging.events import Changes
from evpower.charging.limits import LimitReason
from evpower.charging.rules import Rules
from evpower.charging.running import RunningSession, RunningTransaction
from evpower.charging.step_commands import queue_stop
from evpower.charging.steps import ACTOR, RESEND_AFTER
from evpower.charging.store_ends import Due
from evpower.charging.store_limit_stop import ReadVersions, StopWrites
from evpower.foundation.db import Connection
from evpower.foundation.failpoints import Failpoint, hit
from evpower.stations import ONLINE_FOR

_CHARGING: Final = "charging"


class StopDraft(NamedTuple):
    """A stop that a limit asks for at its moment, and what it was computed from."""

    running: RunningTransaction
    session: RunningSession
    versions: ReadVersions
    due_at: datetime
    reason: LimitReason


class OutdatedDraft(Exception):
    """What a draft was computed from is not so any more: nothing of it may be committed."""


async def draft_stop(connection: Connection, due: Due, rules: Rules) -> StopDraft | None:
    """Returns the stop that a transaction's limit asks for at its moment; None: it needs more."""
    known = await store.read_with_versions(connection, due.id)
    if known is None:
        return None
    running, versions = known
    session, progress, pricer = running.session, running.progress, running.pricer
    if session is None or pricer is None or not _only_charges(running, session):
        return None
    if _may_hold_more(session, progress.cost_minor, rules):
        return None
    flow, power_w = running.flow, running.rated_power_w
    due_at = limits.stop_due_at(pricer, session.limits, flow, power_w)
    if due_at is None or due_at > due.at:
        return None
    reason = limits.reached_by_time(pricer, session.limits, flow, power_w)
    return StopDraft(running, session, versions, due_at, reason)


async def write_draft(
    connection: Connection, draft: StopDraft, *, now: datetime, rules: Rules
) -> Changes:
    """Queues the station's command, which locks the station, and stores the stop with its step.

    Raises OutdatedDraft: the caller rolls back.
    """
    running, session = draft.running, draft.session
    actor = f"{ACTOR}:{draft.reason}"
    transaction = running.transaction
    command = await queue_stop(
        connection, transaction, draft.versions.aliases, actor=actor, rules=rules, now=now
    )
    if command is None:
        raise OutdatedDraft
    writes = StopWrites(
        session.id, draft.reason, actor, command.id, draft.due_at, now + RESEND_AFTER
    )
    heard_since = now - min(ONLINE_FOR, rules.close_after_no_frame)
    if not await store.write_stop(
        connection, running, draft.versions, writes, heard_since=heard_since, now=now
    ):
        raise OutdatedDraft
    hit(Failpoint.STEP_UNCOMMITTED)
    return Changes({session.client_id}, {session.id}, {transaction.station_id})


async def rehearse(
    connection: Connection, draft: StopDraft, *, now: datetime, rules: Rules
) -> None:
    """Writes a draft and takes it back: from then on this connection has its plans and triggers.

    Raises OutdatedDraft.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        await write_draft(connection, draft, now=now, rules=rules)
        await store.check_at_once(connection)
    finally:
        await transaction.rollback()


def _only_charges(running: RunningTransaction, session: RunningSession) -> bool:
    """Returns whether nothing but its limit is due of it."""
    progress = running.progress
    return (
        session.state == _CHARGING
        and running.transaction.ended_at is None
        and session.station_lost_notified_at is None
        and progress.stop_due_at is not None
        and progress.close_due_at is None
        and progress.rebill_due_at is None
    )


def _may_hold_more(session: RunningSession, cost_minor: int, rules: Rules) -> bool:
    """Returns whether the hold would be raised first, as what else the wallet has counts."""
    if session.held_minor == 0:
        return False
    return any(
        limits.grown_hold(session.limits, used, session.available_minor, rules.hold_step_minor)
        > session.held_minor
        for used in (cost_minor, session.held_minor)
    )
