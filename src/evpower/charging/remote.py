"""The command that asks a station to begin a session; `steps.py` has those that end one."""

from datetime import datetime, timedelta
from typing import Final

from evpower import stations
from evpower.charging import store_sessions
from evpower.charging.model import ChargingSession
from evpower.charging.rules import REMOTE_START_EXPIRES_IN
from evpower.foundation.db import Connection

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
    command_id = await queue_first_start(
        connection, session, actor=actor, now=now, expires_in=expires_in, is_again=is_again
    )
    await store_sessions.set_start_command(connection, session.id, command_id)


async def queue_first_start(
    connection: Connection,
    session: ChargingSession,
    *,
    actor: str,
    now: datetime,
    expires_in: timedelta = REMOTE_START_EXPIRES_IN,
    is_again: bool = False,
) -> int:
    """Asks the station to start a session that is not stored yet; returns the command's id."""
    command = await stations.queue_command(
        connection,
        session.station_id,
        "remote_start",
        {"id_tag": session.id_tag, "connector": session.connector_id}
        | ({AGAIN: True} if is_again else {}),
        actor=actor,
        connector=session.connector_id,
        expires_in=expires_in,
        now=now,
    )
    return command.id


async def drop_start(connection: Connection, session: ChargingSession, now: datetime) -> bool:
    """Drops the session's remote start if it was not sent: it is not wanted any more.

    Returns whether the station may have it and may begin by it.
    """
    if session.start_command_id is None:
        return False
    command = await stations.get_command(connection, session.start_command_id)
    if command.state == "queued":  # one that was sent is another transaction's to end
        return not await stations.drop_command(connection, command.id, now)
    return command.sent_at is not None and command.state != "refused"
