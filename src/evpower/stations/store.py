"""SQL of locations, stations, EVSEs, connectors and names."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import columns, read_row
from evpower.stations.model import (
    Connector,
    ConnectorDraft,
    Location,
    Name,
    Station,
    StationDraft,
)

_STATION: Final = columns(Station, "s")
_LOCATION: Final = columns(Location, "l")


async def locations_named(connection: Connection, text: str) -> list[Location]:
    """Returns the location of this id, else all of this name without case, two at most."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {_LOCATION} from stations.locations l
         where l.id = $1 or (lower(l.name) = lower($1)
           and not exists (select from stations.locations i where i.id = $1))
         order by l.id limit 2
        """,
        text,
    )
    return [read_row(Location, row) for row in rows]


async def lock_locations(connection: Connection) -> None:
    """Lets no other transaction add or change a location until this one ends."""
    await connection.execute("lock table stations.locations in share row exclusive mode")


async def insert_location(connection: Connection, location: Location) -> None:
    """Inserts a location."""
    await connection.execute(
        """
        insert into stations.locations
          (id, name, address, city, country, latitude, longitude, time_zone)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        location.id,
        location.name,
        location.address,
        location.city,
        location.country,
        location.latitude,
        location.longitude,
        location.time_zone,
    )


async def set_location(connection: Connection, location: Location) -> None:
    """Stores what a location is now."""
    await connection.execute(
        """
        update stations.locations
           set name = $2, address = $3, city = $4, country = $5, latitude = $6, longitude = $7,
               time_zone = $8, updated_at = now()
         where id = $1
        """,
        location.id,
        location.name,
        location.address,
        location.city,
        location.country,
        location.latitude,
        location.longitude,
        location.time_zone,
    )


async def stations_at(connection: Connection, location_id: str) -> list[str]:
    """Returns the stations of a location, by id."""
    rows: list[Record] = await connection.fetch(
        "select id from stations.stations where location_id = $1 order by id", location_id
    )
    return [row["id"] for row in rows]


async def all_locations(connection: Connection) -> list[Location]:
    """Returns every location, by id."""
    rows: list[Record] = await connection.fetch(
        f"select {_LOCATION} from stations.locations l order by l.id"
    )
    return [read_row(Location, row) for row in rows]


async def insert_station(
    connection: Connection, draft: StationDraft, key: str, post_code: str, now: datetime
) -> bool:
    """Inserts a station without its names; false when its id or post code is another station's."""
    inserted = await connection.fetchval(
        """
        insert into stations.stations
          (id, id_key, post_code, location_id, owner, wanted_availability, no_auth, paid_only,
           cards_without_auth, is_simulated, pinned_version, retired_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        on conflict do nothing returning true
        """,
        draft.id,
        key,
        post_code,
        draft.location.id,
        draft.owner,
        draft.availability,
        draft.no_auth,
        draft.paid_only,
        draft.cards_without_auth,
        draft.is_simulated,
        draft.pinned_version,
        now if draft.is_retired else None,
    )
    return inserted is True


async def insert_name(connection: Connection, station_id: str, name: Name, key: str) -> str:
    """Gives a station a name; returns the station that has it, another one if it is taken."""
    inserted: str | None = await connection.fetchval(
        """
        insert into stations.names (key, name, kind, station_id) values ($1, $2, $3, $4)
        on conflict (key) do nothing returning station_id
        """,
        key,
        name.name,
        name.kind,
        station_id,
    )
    if inserted is not None:
        return inserted
    owner: str = await connection.fetchval(
        "select station_id from stations.names where key = $1", key
    )
    return owner


async def station_of_name(connection: Connection, key: str) -> Station | None:
    """Returns the station that has a name."""
    row = await connection.fetchrow(
        f"""
        select {_STATION} from stations.names n join stations.stations s on s.id = n.station_id
         where n.key = $1
        """,
        key,
    )
    return None if row is None else read_row(Station, row)


async def ids_of_names(connection: Connection, keys: Sequence[str]) -> dict[str, str]:
    """Returns the stations that have these names, by the key of the name."""
    rows: list[Record] = await connection.fetch(
        "select key, station_id from stations.names where key = any ($1::text[])", keys
    )
    return {row["key"]: row["station_id"] for row in rows}


async def lock_station(connection: Connection, key: str) -> Station | None:
    """Returns the station that has a name, locked until the transaction ends."""
    row = await connection.fetchrow(
        f"""
        select {_STATION} from stations.names n join stations.stations s on s.id = n.station_id
         where n.key = $1 for no key update of s
        """,
        key,
    )
    return None if row is None else read_row(Station, row)


async def lock_free(connection: Connection, ids: Sequence[str]) -> dict[str, bool]:
    """Locks those of the stations that no other transaction has; returns what `find` says."""
    rows: list[Record] = await connection.fetch(
        """
        select s.id, s.paid_only from stations.stations s where s.id = any ($1)
         order by s.id for no key update skip locked
        """,
        ids,
    )
    return {row["id"]: row["paid_only"] for row in rows}


async def all_stations(
    connection: Connection, *, with_retired: bool, location_id: str | None
) -> list[Station]:
    """Returns the stations, by id; of one location if it is named."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {_STATION} from stations.stations s
         where ($1 or s.retired_at is null) and ($2::text is null or s.location_id = $2)
         order by s.id
        """,
        with_retired,
        location_id,
    )
    return [read_row(Station, row) for row in rows]


async def names_of(connection: Connection, ids: Sequence[str]) -> dict[str, list[Name]]:
    """Returns the names of stations, in the order in which they were given."""
    rows: list[Record] = await connection.fetch(
        """
        select station_id, name, kind from stations.names where station_id = any ($1)
         order by created_at, kind, key
        """,
        list(ids),
    )
    grouped: dict[str, list[Name]] = {}
    for row in rows:
        grouped.setdefault(row["station_id"], []).append(Name(row["name"], row["kind"]))
    return grouped


async def connectors_of(connection: Connection, ids: Sequence[str]) -> dict[str, list[Connector]]:
    """Returns the connectors of stations, by number."""
    rows: list[Record] = await connection.fetch(
        """
        select c.station_id, c.number, c.evse_number, c.evse_connector, e.evse_id, c.standard,
               c.format, c.power_type, c.rated_power_w, c.wanted_availability, c.reported_status,
               c.reported_error, c.reported_at
          from stations.connectors c
          join stations.evses e on e.station_id = c.station_id and e.number = c.evse_number
         where c.station_id = any ($1) order by c.station_id, c.number
        """,
        list(ids),
    )
    grouped: dict[str, list[Connector]] = {}
    for row in rows:
        grouped.setdefault(row["station_id"], []).append(read_row(Connector, row))
    return grouped


async def insert_connector(
    connection: Connection, station_id: str, connector: ConnectorDraft
) -> bool:
    """Inserts a connector, and its EVSE unless the station has it; false: its EVSE id is taken."""
    evse = await connection.fetchval(
        """
        with inserted as (
          insert into stations.evses (station_id, number, evse_id) values ($1, $2, $3)
          on conflict do nothing returning evse_id)
        select true from (
          select evse_id from inserted
          union all
          select evse_id from stations.evses where station_id = $1 and number = $2) e
         where e.evse_id is not distinct from $3
        """,
        station_id,
        connector.evse_number,
        connector.evse_id,
    )
    if evse is not True:
        return False
    await connection.execute(
        """
        insert into stations.connectors
          (station_id, number, evse_number, evse_connector, standard, format, power_type,
           rated_power_w)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        station_id,
        connector.number,
        connector.evse_number,
        connector.evse_connector,
        connector.standard,
        connector.format,
        connector.power_type,
        connector.rated_power_w,
    )
    return True


async def pin_version(connection: Connection, station_id: str, version: str | None) -> None:
    """Sets the only version that a station's sockets may have; None: any."""
    await connection.execute(
        """
        update stations.stations set pinned_version = $2, updated_at = now() where id = $1
        """,
        station_id,
        version,
    )


async def set_forward_url(connection: Connection, station_id: str, url: str | None) -> None:
    """Sets the CSMS that answers a station's frames; None: EvPower does."""
    await connection.execute(
        """
        update stations.stations set forward_url = $2, updated_at = now() where id = $1
        """,
        station_id,
        url,
    )


async def forward_urls(connection: Connection, station_ids: Sequence[str]) -> dict[str, str]:
    """Returns the addresses to which those of these stations are forwarded that are."""
    rows: list[Record] = await connection.fetch(
        """
        select id, forward_url from stations.stations
         where id = any($1::text[]) and forward_url is not null
        """,
        station_ids,
    )
    return {row["id"]: row["forward_url"] for row in rows}


async def set_retired(connection: Connection, station_id: str, at: datetime | None) -> None:
    """Retires a station, or brings it back."""
    await connection.execute(
        """
        update stations.stations set retired_at = $2, updated_at = now() where id = $1
        """,
        station_id,
        at,
    )


async def end_no_auth(connection: Connection, station_id: str) -> None:
    """Demands a password from now on."""
    await connection.execute(
        """
        update stations.stations set no_auth = false, cards_without_auth = false, updated_at = now()
         where id = $1
        """,
        station_id,
    )


async def deviations_of(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Returns how often stations did what is off the protocol, by kind."""
    rows: list[Record] = await connection.fetch(
        """
        select station_id, kind, count from stations.deviations where station_id = any ($1)
         order by kind
        """,
        list(ids),
    )
    grouped: dict[str, dict[str, int]] = {}
    for row in rows:
        grouped.setdefault(row["station_id"], {})[row["kind"]] = row["count"]
    return grouped


async def connected_of(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Returns which stations have an open connection."""
    rows: list[Record] = await connection.fetch(
        """
        select station_id from stations.connections
         where station_id = any ($1) and closed_at is null
        """,
        list(ids),
    )
    return {row["station_id"] for row in rows}


async def close_connections(connection: Connection, station_id: str, reason: str) -> None:
    """Closes a station's connection in the log; the node that has its socket then drops it."""
    await connection.execute(
        """
        update stations.connections set closed_at = greatest(now(), opened_at), close_reason = $2
         where station_id = $1 and closed_at is null
        """,
        station_id,
        reason,
    )


async def end_queued_commands(connection: Connection, station_id: str) -> None:
    """Ends the commands of a station that were not sent."""
    await connection.execute(
        """
        update stations.commands set state = 'timed_out', ended_at = now()
         where station_id = $1 and state = 'queued'
        """,
        station_id,
    )
