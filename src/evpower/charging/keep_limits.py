"""Holds a running session to its limits: grows the hold, predicts the stop, asks for it."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from evpower import wallet
from evpower.charging import limits, store_ends, store_steps
from evpower.charging import store_running as store
from evpower.charging.events import Changes
from evpower.charging.limits import Limits
from evpower.charging.request_stop import StopRequest, request_stop
from evpower.charging.rules import Rules
from evpower.charging.running import RunningSession, RunningTransaction
from evpower.charging.steps import ACTOR, begin_stop
from evpower.charging.technicians import find_card
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict

_HOUR_S: Final = 3_600


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

    `is_unwanted`: it is of no client, at a station that charges for money only. Energy that flows
    although a stop was asked for makes the watch look: accepted is no proof, the meter is.
    """
    session, transaction = running.session, running.transaction
    progress = running.progress
    if session is not None and session.station_lost_notified_at is not None:
        await store_ends.set_station_lost(connection, session.id, None)
    if session is not None and session.state != "stopping":
        changes = await keep_session(connection, running, session, now=now, rules=rules)
        changes.sessions.add(session.id)
        return changes
    due_at = None
    if transaction.purpose == "technician" and progress.stop_step is None:
        due_at = await _cap_due_at(connection, running, now)
    is_capped = due_at is not None and due_at <= now
    progress = progress.replace(stop_due_at=None if is_capped else due_at)
    await store.update_progress(connection, transaction.id, progress)
    changes = Changes(sessions=set() if session is None else {session.id})
    if progress.stop_step is not None:
        if is_flowing:
            await store_steps.look_now(connection, transaction.id, now)
        return changes
    cause = "not_paid" if is_unwanted and is_flowing else None
    if is_capped:
        cause = "technician_limit"
    if cause is not None and session is None:
        changes.merge(await begin_stop(connection, transaction, cause, rules=rules, now=now))
    return changes


async def _cap_due_at(
    connection: Connection, running: RunningTransaction, now: datetime
) -> datetime | None:
    """Returns when a technician's card may take no more; one that was removed may not from now on.

    A register may never come: what the connector can deliver counts until then. So it does of the
    card's other charges, which share its cap.
    """
    transaction = running.transaction
    card = await find_card(connection, transaction.id_tag, now, but_for=transaction.id)
    if card is None:
        return now
    cap = Limits(card.left_wh, amount_minor=None, soc_percent=None, held_minor=0)
    flow, power_w = running.flow, running.rated_power_w
    if card.others_w and flow.power_w is not None:
        flow = flow.replace(power_w=flow.power_w + card.others_w)
    elif card.others_w:
        passed_s = max(int((now - flow.at).total_seconds()), 0)
        flow = flow.replace(at=now, energy_wh=flow.energy_wh + power_w * passed_s // _HOUR_S)
    return limits.stop_due_at(None, cap, flow, power_w + card.others_w)


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
    allowed, flow = session.limits, running.flow
    due_at = limits.stop_due_at(pricer, allowed, flow, running.rated_power_w)
    if due_at is not None and due_at <= now and allowed.rests_on_hold:
        # The money is used up by now, as far as is known: what else the wallet has counts first.
        held_minor = session.held_minor
        session = await _grow_hold(connection, session, held_minor, changes, rules)
        due_at = limits.stop_due_at(pricer, session.limits, flow, running.rated_power_w)
    progress = progress.replace(stop_due_at=due_at)
    await store.update_progress(connection, running.transaction.id, progress)
    if due_at is not None and due_at <= now:
        reason = limits.reached_by_time(pricer, session.limits, flow, running.rated_power_w)
        request = StopRequest(session.id, None, f"{ACTOR}:{reason}", reason)
        changes.merge((await request_stop(connection, request, now=now, rules=rules)).changes)
    return changes


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
