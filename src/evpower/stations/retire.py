"""Retires a station: it connects no more, and its sessions, bills and names stay."""

from datetime import datetime

from evpower import identity
from evpower.foundation.db import Connection
from evpower.stations import store
from evpower.stations.find import lock_station


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

    Its connection is closed and queued commands end as timed out. Raises
    NotFound("station_not_found").
    """
    stored = await lock_station(connection, station)
    if (stored.retired_at is None) == undo:
        return False
    if not undo:
        await store.close_connections(connection, stored.id, "operator")
        await store.end_queued_commands(connection, stored.id)
    await store.set_retired(connection, stored.id, None if undo else now)
    await identity.record_act(
        connection,
        actor=actor,
        action="station.bring_back" if undo else "station.retire",
        subject=stored.id,
        reason=reason,
    )
    return True
