"""Retires a station at which nothing runs: the end of a session would not be heard."""

from datetime import datetime

from evpower import stations
from evpower.charging import store_operator
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict


async def retire_station(
    connection: Connection,
    *,
    station: str,
    undo: bool = False,
    now: datetime,
    actor: str,
    reason: str | None = None,
) -> bool:
    """Retires a station, or brings it back; false when it was so already.

    Raises NotFound("station_not_found"), Conflict("station_in_use") while a session is open there.
    """
    stored = await stations.lock_station(connection, station)
    if not undo:
        running = await store_operator.list_sessions(
            connection,
            states=store_operator.OPEN,
            station_id=stored.id,
            client_id=None,
            in_quarantine=False,
            limit=1,
        )
        if running:
            raise Conflict("station_in_use", f"session {running[0].id} is open here: stop it first")
    return await stations.retire_station(
        connection, station=station, undo=undo, now=now, actor=actor, reason=reason
    )
