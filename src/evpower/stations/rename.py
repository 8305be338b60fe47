"""Gives a station a further name; those it had stay its own."""

from evpower import identity
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid
from evpower.stations import store, store_credentials
from evpower.stations.find import lock_station
from evpower.stations.model import Name, NameKind, Station
from evpower.stations.names import checked_name, key_of


async def rename_station(
    connection: Connection,
    *,
    station: str,
    name: str,
    kind: NameKind = "ocpp",
    actor: str,
    reason: str | None = None,
) -> Station:
    """Adds a name to a station and returns the station; a name it has already changes nothing.

    Raises NotFound("station_not_found"), Conflict("station_name_taken"),
    Invalid("station_invalid").
    """
    if kind == "post_code":
        raise Invalid("station_invalid", "the post code of a station stays as it is")
    checked_name(name, kind)
    stored = await lock_station(connection, station)
    key = key_of(name)
    other = await store.station_of_name(connection, key)
    if other is not None and other.id == stored.id:
        return stored
    owner = await store.insert_name(connection, stored.id, Name(name, kind), key)
    if owner != stored.id:
        detail = f"{name!a:.80} is a name of station {owner!a:.80}"
        raise Conflict("station_name_taken", detail)
    await store_credentials.delete_unknown(connection, key)
    await identity.record_act(
        connection,
        actor=actor,
        action="station.rename",
        subject=stored.id,
        reason=reason,
        details={"name": name, "kind": kind},
    )
    return stored
