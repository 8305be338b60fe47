"""Holds a running session to its limits: grows the hold, predicts the stop, asks for it."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from evpower import alerts, wallet
from evpower.charging import limits, remote, store_ends
from evpower.charging import store_running as store
from evpower.charging.events import Changes
from evpower.charging.request_stop import StopRequest, request_stop
from evpower.charging.rules import Rules
from evpower.charging.running import RunningSession, RunningTransaction
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict

ACTOR: Final = "evpower"
OBEY_WITHIN: Final = timedelta(minutes=2)


async def keep_limits(
    connection: Connection,
    running: RunningTransaction,
    *,
    is_flowing: bool,
    is_unwanted: bool = False,
    now: datetime,
    rules: Rules,
) -> Changes:
    """Stores the progress of a transaction, and what follows of it for its session.

    `is_unwanted`: it is of no client, at a station that charges for money only. The stop that was
    asked for at its start may have come too early for the station, so it is sent again.
    """
    session, transaction = running.session, running.transaction
    if session is None:
        progress, changes = running.progress, Changes()
        if is_unwanted and is_flowing and progress.stop_resent_at is None:
            progress = replace(progress, stop_resent_at=now)
            changes = await resend_stop(connection, running, now=now, rules=rules)
        await store.update_progress(connection, transaction.id, progress)
        return changes
    changes = Changes(sessions={session.id})
    if session.station_lost_notified_at is not None:
        await store_ends.set_station_lost(connection, session.id, None)
    if session.state == "stopping":
        progress = replace(running.progress, stop_due_at=None)
        if is_flowing and progress.stop_resent_at is None:  # accepted is no proof, the meter is
            progress = replace(progress, stop_resent_at=now)
            changes.merge(await resend_stop(connection, running, now=now, rules=rules))
        elif (
            is_flowing and progress.stop_resent_at and progress.stop_resent_at + OBEY_WITHIN <= now
        ):
            detail = {"station": transaction.station_id, "connector": transaction.connector}
            await alerts.open_alert(connection, "stop_not_obeyed", str(session.id), detail, now)
        await store.update_progress(connection, transaction.id, progress)
        return changes
    changes.merge(await keep_session(connection, running, session, now=now, rules=rules))
    return changes


async def keep_session(
    connection: Connection,
    running: RunningTransaction,
    session: RunningSession,
    *,
    now: datetime,
    rules: Rules,
) -> Changes:
    """Grows the hold of a charging session and predicts its stop; asks for one that is due."""
    changes = Changes()
    pricer, progress = running.pricer, running.progress
    if pricer is None:  # it has no tariff, so it has no cost
        await store.update_progress(connection, running.transaction.id, progress)
        return changes
    session = await _grow_hold(connection, session, progress.cost_minor, changes, rules)
    flow = running.flow
    due_at = limits.stop_due_at(pricer, session.limits, flow, running.rated_power_w)
    if due_at is not None and due_at <= now and session.limits.rests_on_hold:
        # The money is used up by now, as far as is known: what else the wallet has counts first.
        held_minor = session.held_minor
        session = await _grow_hold(connection, session, held_minor, changes, rules)
        due_at = limits.stop_due_at(pricer, session.limits, flow, running.rated_power_w)
    progress = replace(progress, stop_due_at=due_at)
    await store.update_progress(connection, running.transaction.id, progress)
    if due_at is not None and due_at <= now:
        reason = limits.reached_by_time(pricer, session.limits, flow, running.rated_power_w)
        request = StopRequest(session.id, None, f"{ACTOR}:{reason}", reason)
        changes.merge((await request_stop(connection, request, now=now, rules=rules)).changes)
    return changes


async def resend_stop(
    connection: Connection, running: RunningTransaction, *, now: datetime, rules: Rules
) -> Changes:
    """Asks the station once more to stop a transaction."""
    return await remote.queue_stop(
        connection, running.transaction, actor=ACTOR, rules=rules, now=now
    )


async def _grow_hold(
    connection: Connection,
    session: RunningSession,
    cost_minor: int,
    changes: Changes,
    rules: Rules,
) -> RunningSession:
    if session.held_minor == 0:  # nothing was free when it began: its stop is on the way
        return session
    wanted_minor = limits.grown_hold(
        session.limits, cost_minor, session.available_minor, rules.hold_step_minor
    )
    if wanted_minor <= session.held_minor:
        return session
    try:
        await wallet.extend_hold(connection, session.id, wanted_minor, partly=True)
    except Conflict:  # spent elsewhere a moment ago
        return session
    changes.clients.add(session.client_id)
    hold = await wallet.get_hold(connection, session.id)
    held_minor = session.held_minor if hold is None else hold.amount_minor
    spent_minor = held_minor - session.held_minor
    return replace(
        session, held_minor=held_minor, available_minor=session.available_minor - spent_minor
    )
