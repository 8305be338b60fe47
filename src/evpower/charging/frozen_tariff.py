"""Finds the tariff that a session is billed by, from its start to its end."""

from datetime import datetime
from uuid import UUID

from evpower import stations, tariffs
from evpower.foundation.db import Connection
from evpower.stations import Station, VendorProfile
from evpower.tariffs import Place, Snapshot


async def frozen_tariff(
    connection: Connection,
    station: Station,
    connector: int,
    client_id: UUID | None,
    at: datetime,
    *,
    profile: VendorProfile | None = None,
) -> Snapshot | None:
    """Returns the tariff of a session that begins now: with the client's own, if there is one.

    Parking is a price only where the station shows when a car is done. `profile`: of the station;
    None: it is read if it matters. None is returned if nothing prices it.
    """
    place = Place(f"{station.id}/{connector}", station.id, station.location_id)
    snapshot = await tariffs.freeze_tariff(connection, place, at, client_id=client_id)
    if snapshot is None or not snapshot.tariff.prices_parking:
        return snapshot
    if profile is None:
        profile = await stations.vendor_profile(connection, station.id)
    return snapshot if profile.release_detection else tariffs.without_parking(snapshot)
