"""An operator ends a session whose station is gone, or does not stop it."""

from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from evpower import identity, stations
from evpower.charging import store_sessions, store_transactions
from evpower.charging.closing import close_estimated
from evpower.charging.model import ChargingSession
from evpower.charging.request_stop import StopRequest, StopRequested, request_stop
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid
from evpower.foundation.text import flaw

_REASON_MAX: Final = 500
# So long a station that is there has for the stop that it was asked for.
_OBEY_WITHIN: Final = timedelta(seconds=60)


class OperatorStop(NamedTuple):
    """Which session an operator ends, and why."""

    session_id: UUID
    actor: str
    reason: str = ""  # needed by force
    is_forced: bool = False  # now, without the station


async def stop_by_operator(
    connection: Connection, stop: OperatorStop, *, now: datetime, rules: Rules = DEFAULT_RULES
) -> StopRequested:
    """Asks the station to stop a session, or ends it now by its last register, estimated.

    By force only where no one else can end it: the station is away, or was asked a minute ago and
    charges on. It is asked once more in any case, and its own stop is the next bill. Raises
    NotFound("session_not_found"), Conflict("station_online"), Invalid("reason_missing").
    """
    is_missing = stop.is_forced and not stop.reason.strip()
    if is_missing or flaw(stop.reason, most=_REASON_MAX):
        raise Invalid("reason_missing", f"the reason must be 1 to {_REASON_MAX} characters")
    known = await store_sessions.find_session(connection, stop.session_id)
    if known is not None:
        await stations.lock_station(connection, known.station_id)
        known = await store_sessions.lock_session(connection, stop.session_id)
    if stop.is_forced and known is not None:
        await _require_gone(connection, known, now)
    request = StopRequest(stop.session_id, None, stop.actor, "stopped_by_operator")
    requested = await request_stop(connection, request, now=now, rules=rules)
    transaction = await store_transactions.transaction_of_session(connection, stop.session_id)
    if stop.is_forced and requested.state == "stopping" and transaction is not None:
        changes = await close_estimated(
            connection, transaction.id, "stopped_by_operator", now=now, rules=rules
        )
        requested.changes.merge(changes)
        requested = requested._replace(state="settled", is_repeated=False)
    await identity.record_act(
        connection,
        actor=stop.actor,
        action="charging.force_stop" if stop.is_forced else "charging.stop",
        subject=str(stop.session_id),
        reason=stop.reason.strip() or None,
        details={"state": requested.state},
    )
    return requested


async def _require_gone(connection: Connection, session: ChargingSession, now: datetime) -> None:
    if session.state not in {"charging", "stopping"}:
        return
    asked_at = session.stop_requested_at
    if asked_at is not None and asked_at + _OBEY_WITHIN <= now:
        return
    if await stations.is_online(connection, session.station_id, now):
        raise Conflict("station_online", "the station is there: ask it to stop first")
