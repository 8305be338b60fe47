"""A station has a new socket: starts of which nothing is known are sent once more."""

from datetime import datetime

from evpower import stations
from evpower.charging import remote, store_sessions
from evpower.charging.events import Changes
from evpower.charging.rules import REMOTE_START_EXPIRES_IN
from evpower.foundation.db import Connection


async def station_reconnected(connection: Connection, station_id: str, *, now: datetime) -> Changes:
    """Sends each remote start that the station did not answer once more, within its start window.

    Some stations hear nothing on a socket that they still send on. The tag is the same, so that the
    session begins once whichever of the two the station obeys. The station must be locked.
    """
    changes = Changes()
    for session in await store_sessions.lock_open(connection, station_id):
        ends_at, command_id = session.start_window_ends_at, session.start_command_id
        if session.state != "requested" or command_id is None:
            continue
        if ends_at is None or ends_at <= now:
            continue
        command = await stations.get_command(connection, command_id)
        was_sent = command.state == "timed_out" and command.sent_at is not None
        if was_sent and remote.AGAIN not in command.payload:
            expires_in = min(REMOTE_START_EXPIRES_IN, ends_at - now)
            await remote.queue_start(
                connection,
                session,
                actor=command.actor,
                now=now,
                expires_in=expires_in,
                is_again=True,
            )
            changes.stations.add(station_id)
    return changes
