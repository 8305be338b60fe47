"""Finds stations by any of their names, and shows them with what belongs to them."""

from collections.abc import Sequence

from evpower.foundation.db import Connection
from evpower.foundation.errors import NotFound
from evpower.stations import store, store_connections, store_credentials
from evpower.stations.add import find_location
from evpower.stations.model import (
    Location,
    LocationView,
    PlaceKind,
    Station,
    StationView,
    UnknownStation,
)
from evpower.stations.names import key_of
from evpower.stations.profiles import profiles_of


async def resolve_station(connection: Connection, name: str) -> Station | None:
    """Returns the station of a name: an OCPP id, old id, serial number or post code."""
    return await store.station_of_name(connection, key_of(name))


async def stations_named(connection: Connection, whole: str, names: Sequence[str]) -> set[str]:
    """Returns the ids of the stations with one of these names; one that is `whole` comes alone."""
    keys = {key_of(name) for name in names}
    ids = await store.ids_of_names(connection, [key_of(whole), *keys])
    if key_of(whole) in ids:
        return {ids[key_of(whole)]}
    return set(ids.values())


async def name_of(connection: Connection, station_id: str, names: Sequence[str]) -> str | None:
    """Returns the first of these names that is one of the station's, as it is written here."""
    ids = await store.ids_of_names(connection, [key_of(name) for name in names])
    return next((name for name in names if ids.get(key_of(name)) == station_id), None)


async def lock_station(connection: Connection, name: str) -> Station:
    """Returns the station of a name, locked until the transaction ends.

    Raises NotFound("station_not_found").
    """
    station = await store.lock_station(connection, key_of(name))
    if station is None:
        raise NotFound("station_not_found", f"there is no station {name!a:.80}")
    return station


async def lock_free_stations(connection: Connection, ids: Sequence[str]) -> dict[str, bool]:
    """Locks stations until the transaction ends, but those that another one has locked.

    Returns the locked ones, by id, with whether each charges for money only. Never waits, so that a
    transaction for many stations waits for none of them, and none for the others.
    """
    return await store.lock_free(connection, ids)


async def get_station(connection: Connection, name: str) -> StationView:
    """Returns a station by any of its names. Raises NotFound("station_not_found")."""
    station = await resolve_station(connection, name)
    if station is None:
        raise NotFound("station_not_found", f"there is no station {name!a:.80}")
    [view] = await with_parts(connection, [station])
    return view


async def list_stations(
    connection: Connection, *, location: str | None = None, with_retired: bool = False
) -> list[StationView]:
    """Returns the stations by id, of one location by its id or name if it is given.

    Raises NotFound("location_not_found"), Conflict("location_ambiguous").
    """
    location_id = None
    if location is not None:
        stored = await store.locations_named(connection, location)
        place = stored[0] if len(stored) == 1 else None
        place = place or await find_location(connection, Location("", location))
        if place is None:
            raise NotFound("location_not_found", f"there is no location {location!a:.80}")
        location_id = place.id
    listed = await store.all_stations(
        connection, with_retired=with_retired, location_id=location_id
    )
    return await with_parts(connection, listed)


async def list_locations(connection: Connection) -> list[LocationView]:
    """Returns every location by name, each with its stations that are not retired."""
    grouped: dict[str, list[StationView]] = {}
    for view in await list_stations(connection):
        grouped.setdefault(view.location.id, []).append(view)
    locations = await store.all_locations(connection)
    return [
        LocationView(location, tuple(grouped.get(location.id, ())))
        for location in sorted(locations, key=lambda location: (location.name, location.id))
    ]


async def get_location(connection: Connection, location_id: str) -> Location:
    """Returns the location of an id. Raises NotFound("location_not_found")."""
    for location in await store.locations_named(connection, location_id):
        if location.id == location_id:
            return location
    raise NotFound("location_not_found", f"there is no location {location_id!a:.80}")


async def find_place(connection: Connection, kind: PlaceKind, name: str) -> str | None:
    """Returns the id under which a tariff is looked up for a place; None: there is no such place.

    `name`: a location's id or name, any name of a station, of a connector with `/NUMBER` behind it.
    Raises Conflict("location_ambiguous").
    """
    if kind == "location":
        stored = await store.locations_named(connection, name)
        by_id = [location for location in stored if location.id == name]
        place = by_id[0] if by_id else await find_location(connection, Location("", name))
        return None if place is None else place.id
    name, _, number = name.rpartition("/") if kind == "connector" else (name, "", "")
    station = await resolve_station(connection, name)
    if station is None or kind == "station":
        return None if station is None else station.id
    connectors = (await store.connectors_of(connection, [station.id])).get(station.id, [])
    numbers = {str(connector.number) for connector in connectors}
    return f"{station.id}/{number}" if number in numbers else None


async def place_ids(connection: Connection) -> dict[PlaceKind, set[str]]:
    """Returns the ids of all places, retired ones too, as tariffs are looked up by them."""
    stored = await store.all_stations(connection, with_retired=True, location_id=None)
    ids = [station.id for station in stored]
    connectors = await store.connectors_of(connection, ids)
    return {
        "location": {location.id for location in await store.all_locations(connection)},
        "station": set(ids),
        "connector": {f"{name}/{row.number}" for name, rows in connectors.items() for row in rows},
    }


async def list_unknown(connection: Connection) -> list[UnknownStation]:
    """Returns the names that were refused, each with the reason, the latest first."""
    return await store_credentials.all_unknown(connection)


async def with_parts(connection: Connection, stations: Sequence[Station]) -> list[StationView]:
    """Returns stations with everything that belongs to them, in the same order."""
    ids = [station.id for station in stations]
    locations = {location.id: location for location in await store.all_locations(connection)}
    names = await store.names_of(connection, ids)
    connectors = await store.connectors_of(connection, ids)
    passwords = await store_credentials.passwords_of(connection, ids)
    connected = await store.connected_of(connection, ids)
    last_frames = await store_connections.last_frames_of(connection, ids)
    deviations = await store.deviations_of(connection, ids)
    profiles = await profiles_of(connection, ids)
    return [
        StationView(
            station=station,
            location=locations[station.location_id],
            names=tuple(names[station.id]),
            connectors=tuple(connectors.get(station.id, ())),
            has_password=passwords.get(station.id, (False, False))[0],
            password_waits=passwords.get(station.id, (False, False))[1],
            is_connected=station.id in connected,
            last_frame_at=last_frames.get(station.id),
            deviations=deviations.get(station.id, {}),
            profile=profiles[station.id],
        )
        for station in stations
    ]
