"""Ends sessions that never charged: refused, cancelled, given up. Their money is free again."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from evpower import stations, wallet
from evpower.charging import remote, store_sessions
from evpower.charging.events import Changes
from evpower.charging.model import ChargingSession
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.charging.start_window import start_window
from evpower.charging.states import WAITING
from evpower.foundation.db import Connection
from evpower.stations import Command

Unstarted = Literal["expired", "refused", "cancelled", "failed"]
StartFailure = Literal[
    "not_plugged_in",  # the station waited for the car, and no car came
    "station_did_not_answer",
    "not_delivered",  # the station was not reached within 60 s
    "station_refused",
    "cancelled_by_driver",
    "cancelled_by_operator",
    "connector_taken",  # the station began something else there
]


async def end_unstarted(
    connection: Connection,
    session: ChargingSession,
    state: Unstarted,
    failure: StartFailure,
    *,
    now: datetime,
) -> Changes:
    """Ends a session that waits, drops its unsent command and releases its hold, once.

    Its start window stays open while the station may begin by a command that was sent.
    """
    await store_sessions.set_unstarted(connection, session.id, state, failure)
    if await wallet.get_hold(connection, session.id) is not None:
        await wallet.release_hold(connection, session.id)
    if not await remote.drop_start(connection, session, now):
        await store_sessions.close_window(connection, session.id, now)
    return Changes(
        clients={session.client_id}, sessions={session.id}, stations={session.station_id}
    )


async def command_ended(
    connection: Connection, command: Command, *, now: datetime, rules: Rules = DEFAULT_RULES
) -> Changes:
    """Applies the outcome of a remote start to its session.

    A time-out after it was sent is unknown, not a failure: the session waits until its start window
    ends. So it does when the same start, sent once more, is refused or not delivered: the station
    may be about to begin by the first one. Other commands change no session.
    """
    tag = command.payload.get("id_tag")
    if command.action != "remote_start" or not isinstance(tag, str):
        return Changes()
    await stations.lock_station(connection, command.station_id)
    session = await store_sessions.lock_by_tag(connection, command.station_id, tag)
    is_unknown = remote.AGAIN in command.payload and command.state != "accepted"
    if session is None or is_unknown:
        return Changes()
    if session.state not in WAITING:
        return await _after_its_end(connection, session, command, now)
    if command.state == "refused":
        return await end_unstarted(connection, session, "refused", "station_refused", now=now)
    if command.state == "timed_out" and command.sent_at is None:
        return await end_unstarted(connection, session, "failed", "not_delivered", now=now)
    changes = Changes()
    if command.state == "accepted" and session.state == "requested":
        window_ends_at = now + await start_window(connection, command.station_id, rules)
        await store_sessions.set_starting(connection, session.id, window_ends_at)
        changes.sessions.add(session.id)
    return changes


async def _after_its_end(
    connection: Connection, session: ChargingSession, command: Command, now: datetime
) -> Changes:
    """Closes the window of a cancelled session whose station refuses to begin."""
    if session.state != "cancelled" or command.state != "refused":
        return Changes()
    await store_sessions.close_window(connection, session.id, now)
    return Changes(sessions={session.id})


async def give_up_undelivered(
    connection: Connection, session_id: UUID, station_id: str, now: datetime
) -> Changes:
    """Ends a session whose remote start expired before it was sent."""
    await stations.lock_station(connection, station_id)
    session = await store_sessions.lock_session(connection, session_id)
    if session is None or session.state != "requested" or session.start_command_id is None:
        return Changes()
    command = await stations.get_command(connection, session.start_command_id)
    return await command_ended(connection, command, now=now)


async def expire_start(
    connection: Connection, session_id: UUID, station_id: str, now: datetime
) -> Changes:
    """Ends a session whose start window is over, unless it began or was accepted meanwhile."""
    await stations.lock_station(connection, station_id)
    session = await store_sessions.lock_session(connection, session_id)
    if (
        session is None
        or session.state not in WAITING
        or session.start_window_ends_at is None
        or session.start_window_ends_at > now
    ):
        return Changes()
    failure: StartFailure = (
        "not_plugged_in" if session.state == "starting" else "station_did_not_answer"
    )
    return await end_unstarted(connection, session, "expired", failure, now=now)
