"""What a start is still allowed to: late ones are held anew, and some are stopped at once."""

from datetime import datetime
from typing import Final

from evpower import identity, wallet
from evpower.charging import store_sessions, store_transactions
from evpower.charging.events import Changes
from evpower.charging.model import ChargingSession, StopReason
from evpower.charging.request_stop import stop_charging
from evpower.charging.rules import Rules
from evpower.charging.states import UNSTARTED
from evpower.charging.steps import begin_stop
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Forbidden

_ACTOR: Final = "evpower"


async def admit(
    connection: Connection, session: ChargingSession, *, rules: Rules, now: datetime
) -> Changes:
    """Lets a session that the station began go on, or asks the station to stop it at once.

    `session` is as it was before the start. One that was given up is held anew; without money on
    hold, or while its client has another open session, it is stopped, as is one whose driver asked
    for the stop or may not spend any more. What was delivered is billed in any case.
    """
    is_held = session.state not in UNSTARTED or await _hold_anew(connection, session)
    reason = await _barred(connection, session, now)
    if reason is None and not is_held:
        reason = "late_start"
    if reason is None:
        return Changes()
    return await stop_at_once(connection, session, reason, rules=rules, now=now)


async def stop_at_once(
    connection: Connection,
    session: ChargingSession,
    reason: StopReason,
    *,
    rules: Rules,
    now: datetime,
) -> Changes:
    """Asks the station to stop a session that it just began."""
    running = await store_sessions.lock_session(connection, session.id)
    assert running is not None, "it was begun in this transaction"  # noqa: S101
    return await stop_charging(
        connection, running, actor=_ACTOR, reason=reason, rules=rules, now=now
    )


async def stop_transaction(
    connection: Connection, transaction_id: int, cause: str, *, rules: Rules, now: datetime
) -> Changes:
    """Asks the station to stop a transaction that is of no session."""
    transaction = await store_transactions.find_transaction(connection, transaction_id)
    assert transaction is not None, "it was begun in this transaction"  # noqa: S101
    return await begin_stop(connection, transaction, cause, rules=rules, now=now)


async def _hold_anew(connection: Connection, session: ChargingSession) -> bool:
    """Holds what is free, at most what was on hold before; returns whether that is anything."""
    if any(
        other.id != session.id
        for other in await store_sessions.open_of_client(connection, session.client_id)
    ):
        return False
    released = await wallet.get_hold(connection, session.id)
    if released is None:  # nothing was to be paid
        return True
    try:
        await wallet.hold(
            connection,
            session.id,
            released.amount_minor,
            least_minor=1,
            attempt=released.attempt + 1,
        )
    except Conflict:
        return False
    return True


async def _barred(
    connection: Connection, session: ChargingSession, now: datetime
) -> StopReason | None:
    """Returns why a session may not go on although it has its money."""
    try:
        await identity.require_active(connection, session.client_id, clock=lambda: now)
    except Forbidden as error:
        return "client_blocked" if error.code == "client_blocked" else "client_deleted"
    if session.stop_requested_at is None:
        return None
    is_own = session.start_failure == "cancelled_by_driver"
    return "stopped_by_driver" if is_own else "stopped_by_operator"
