"""The command that asks a station to begin a session; `steps.py` has those that end one."""

from datetime import datetime, timedelta
from typing import Final

from evpower import stations
from evpower.charging import store_sessions
from evpower.charging.model import ChargingSession
from evpower.charging.rules import REMOTE_START_EXPIRES_IN
from evpower.foundation.db import Connection
from evpower.stations import Command

AGAIN: Final = "again"  # a member of a remote start that is sent once more


async def queue_start(
    connection: Connection,
    session: ChargingSession,
    *,
    actor: str,
    now: datetime,
    expires_in: timedelta = REMOTE_START_EXPIRES_IN,
    is_again: bool = False,
) -> None:
    """Asks the station once more to start a session with its one-time tag."""
    command = await stations.queue_command(
        connection,
        session.station_id,
        "remote_start",
        start_payload(session) | ({AGAIN: True} if is_again else {}),
        actor=actor,
        connector=session.connector_id,
        expires_in=expires_in,
        now=now,
    )
    await store_sessions.set_start_command(connection, session.id, command.id)


def start_payload(session: ChargingSession) -> dict[str, object]:
    """Returns what a remote start says."""
    return {"id_tag": session.id_tag, "connector": session.connector_id}


def was_sent(command: Command) -> bool:
    """Returns whether the station may have a start; one that is sent once more it may have had."""
    return command.sent_at is not None or AGAIN in command.payload


async def drop_start(connection: Connection, session: ChargingSession, now: datetime) -> bool:
    """Drops the session's remote start if it was not sent: it is not wanted any more.

    Returns whether the station may have it and may begin by it. That the second of two was refused
    says nothing about the first.
    """
    if session.start_command_id is None:
        return False
    command = await stations.get_command(connection, session.start_command_id)
    if command.state == "queued":  # one that was sent is another transaction's to end
        is_dropped = await stations.drop_command(connection, command.id, now)
        return not is_dropped or was_sent(command)
    return was_sent(command) and (command.state != "refused" or AGAIN in command.payload)
