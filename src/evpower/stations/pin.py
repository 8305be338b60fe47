"""Pins the version of OCPP that a station speaks."""

from evpower import identity
from evpower.foundation.db import Connection
from evpower.stations import store
from evpower.stations.find import lock_station
from evpower.stations.model import ProtocolVersion


async def pin_station(
    connection: Connection,
    *,
    station: str,
    version: ProtocolVersion | None,
    actor: str,
    reason: str | None = None,
) -> None:
    """Lets a station's sockets have this version only; None: what each socket agrees on.

    Raises NotFound("station_not_found").
    """
    stored = await lock_station(connection, station)
    if stored.pinned_version == version:
        return
    await store.pin_version(connection, stored.id, version)
    await identity.record_act(
        connection,
        actor=actor,
        action="station.pin",
        subject=stored.id,
        reason=reason,
        details={"version": version, "before": stored.pinned_version},
    )
