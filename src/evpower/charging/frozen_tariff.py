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
) -> Snapshot | None:
    """Returns the tariff of a session that begins then: with the client's own, if there is one.

    None: nothing prices it.
    """
    place = Place(f"{station.id}/{connector}", station.id, station.location_id)
    snapshot = await tariffs.freeze_tariff(connection, place, at, client_id=client_id)
    if snapshot is None or not snapshot.tariff.prices_parking:
        return snapshot
    return as_shown(snapshot, await stations.vendor_profile(connection, station.id))


def as_shown(snapshot: Snapshot, profile: VendorProfile) -> Snapshot:
    """Returns the tariff as a station bills by it.

    Parking is a price only where the station shows when a car is done.
    """
    if not snapshot.tariff.prices_parking or profile.release_detection:
        return snapshot
    return tariffs.without_parking(snapshot)
