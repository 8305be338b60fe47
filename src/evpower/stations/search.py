"""Finds stations by what operators know of them, page by page."""

from collections.abc import Sequence
from datetime import datetime

from evpower.foundation.db import Connection
from evpower.stations import store, store_search
from evpower.stations.filters import CommandFilter, OwnerCount, StationFilter
from evpower.stations.find import with_parts
from evpower.stations.model import ONLINE_FOR, Command, Deviation, Location, StationView


async def search_stations(
    connection: Connection, wanted: StationFilter, *, after: str | None, limit: int, now: datetime
) -> list[StationView]:
    """Returns at most `limit` stations by id, after one of them."""
    listed = await store_search.stations_after(
        connection, wanted, after=after, limit=limit, fresh_after=now - ONLINE_FOR
    )
    return await with_parts(connection, listed)


async def search_commands(
    connection: Connection, wanted: CommandFilter, *, before: int | None, limit: int
) -> list[Command]:
    """Returns at most `limit` commands, the newest first, before one of them."""
    return await store_search.commands_before(connection, wanted, before=before, limit=limit)


async def commands_by_id(connection: Connection, ids: Sequence[int]) -> list[Command]:
    """Returns these commands, by station and id."""
    return await store_search.commands_of(connection, ids)


async def list_owners(connection: Connection) -> list[OwnerCount]:
    """Returns whose the stations that are not retired are, by name."""
    return await store_search.owners(connection)


async def list_deviations(
    connection: Connection, *, station_id: str | None, kind: str | None, limit: int
) -> list[Deviation]:
    """Returns what stations do off the protocol, the latest first."""
    return await store_search.deviations(connection, station_id, kind, limit)


async def all_locations(connection: Connection) -> list[Location]:
    """Returns every location by id, also one without stations."""
    return await store.all_locations(connection)
