"""Stops a session for its driver or an operator; before its start that cancels it."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from evpower import stations
from evpower.charging import store_sessions, store_steps, store_transactions
from evpower.charging.events import Changes
from evpower.charging.limits import LIMIT_REASONS
from evpower.charging.model import ChargingSession, SessionState, StopReason
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.charging.states import WAITING
from evpower.charging.steps import begin_stop
from evpower.charging.unstarted import end_unstarted
from evpower.foundation.db import Connection
from evpower.foundation.errors import NotFound


class StopRequest(NamedTuple):
    """Who wants which session stopped, and why."""

    session_id: UUID
    client_id: UUID | None  # None: not asked by its driver
    actor: str
    reason: StopReason = "stopped_by_driver"


class StopRequested(NamedTuple):
    """What became of a request to stop."""

    session_id: UUID
    client_id: UUID
    station_id: str
    connector: int
    state: SessionState  # cancelled, stopping, or how the session ended before
    is_repeated: bool  # it was over, or its stop was asked for before
    changes: Changes


async def request_stop(
    connection: Connection, request: StopRequest, *, now: datetime, rules: Rules = DEFAULT_RULES
) -> StopRequested:
    """Cancels a session that waits, or asks the station to stop one that charges.

    The bill comes from the station's stop; without one the session ends after a while by its last
    register. A session of another client is not found. Raises NotFound("session_not_found").
    """
    session = await _lock(connection, request)
    if session.state in WAITING:
        await store_sessions.set_stop_requested(connection, session.id, request.actor, now)
        failure = (
            "cancelled_by_driver" if request.client_id is not None else "cancelled_by_operator"
        )
        changes = await end_unstarted(connection, session, "cancelled", failure, now=now)
        return _requested(session, "cancelled", changes)
    if session.state in {"charging", "stopping"}:
        is_repeated = session.state == "stopping"
        changes = await stop_charging(
            connection, session, actor=request.actor, reason=request.reason, now=now, rules=rules
        )
        return _requested(session, "stopping", changes, is_repeated=is_repeated)
    return _requested(session, session.state, Changes(), is_repeated=True)


async def stop_charging(
    connection: Connection,
    session: ChargingSession,
    *,
    actor: str,
    reason: StopReason,
    now: datetime,
    rules: Rules,
) -> Changes:
    """Asks the station to stop a session that charges; one whose stop was asked for stays so.

    A person's stop ends the session after a while, also without the station. A limit's does not.
    """
    changes = Changes(clients={session.client_id}, sessions={session.id})
    transaction = await store_transactions.transaction_of_session(connection, session.id)
    assert transaction is not None, "a session that charges has a transaction"  # noqa: S101
    if reason not in LIMIT_REASONS:
        await store_sessions.set_asked_to_end(connection, session.id, now)
        await store_transactions.set_close_due(
            connection, transaction.id, now + rules.close_after_stop, "stop_unanswered"
        )
    if session.state == "stopping":
        return changes
    await store_steps.set_stopping(connection, session.id, reason, actor, now)
    changes.merge(
        await begin_stop(connection, transaction, reason, actor=actor, rules=rules, now=now)
    )
    return changes


async def _lock(connection: Connection, request: StopRequest) -> ChargingSession:
    """Returns the session, locked after its station: the order of every charging transaction."""
    session = await store_sessions.find_session(connection, request.session_id)
    if session is not None:
        await stations.lock_station(connection, session.station_id)
        session = await store_sessions.lock_session(connection, request.session_id)
    if session is None or request.client_id not in {None, session.client_id}:
        raise NotFound("session_not_found", "there is no such session")
    return session


def _requested(
    session: ChargingSession, state: SessionState, changes: Changes, *, is_repeated: bool = False
) -> StopRequested:
    return StopRequested(
        session.id, session.client_id, session.station_id, session.connector_id, state,
        is_repeated, changes,
    )  # fmt: skip
