"""Connections of stations: which socket is the newest, and whether a station is online."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, NotFound
from evpower.stations import store_commands, store_connections, store_lost
from evpower.stations.model import (
    ONLINE_FOR,
    Command,
    DisconnectReason,
    Opened,
    ProtocolVersion,
    StationConnection,
    Touch,
)
from evpower.stations.texts import printable

_ADDRESS_MAX: Final = 64
_NODE_MAX: Final = 200


async def open_connection(
    connection: Connection,
    station_id: str,
    *,
    address: str,
    version: ProtocolVersion,
    is_authenticated: bool,
    node: str,
    now: datetime,
) -> Opened:
    """Makes a socket the newest of its station, and returns its epoch.

    The one before is closed in the log, and the command that was in flight on it ends as timed out.
    Raises NotFound("station_not_found"), Conflict("station_retired").
    """
    is_retired = await store_connections.lock_station(connection, station_id)
    if is_retired is None:
        raise NotFound("station_not_found", f"there is no station {station_id!a:.80}")
    if is_retired:
        raise Conflict("station_retired", f"station {station_id!a:.80} is retired")
    replaced = await store_connections.replace_open(connection, station_id, now)
    epoch = await store_connections.insert_connection(
        connection,
        station_id,
        printable(address, _ADDRESS_MAX) or "unknown",
        version,
        now,
        is_authenticated=is_authenticated,
    )
    await store_connections.upsert_socket(connection, station_id, epoch, node[:_NODE_MAX], now)
    timed_out = await store_commands.time_out_in_flight(connection, station_id, now, epoch=None)
    return Opened(epoch, replaced, tuple(timed_out))


async def count_online(connection: Connection, now: datetime) -> int:
    """Returns how many stations in service are connected now."""
    online, _, _ = await store_lost.count_online(connection, now - ONLINE_FOR)
    return online


async def close_connection(
    connection: Connection, station_id: str, epoch: int, reason: DisconnectReason, *, now: datetime
) -> tuple[Command, ...]:
    """Closes one socket's entry in the log; a closed one stays as it is.

    Returns the command that was in flight on it: its outcome is unknown, so it is timed out. The
    state of a newer socket is not touched.
    """
    if not await store_connections.close_one(connection, station_id, epoch, reason, now):
        return ()
    return tuple(await store_commands.time_out_in_flight(connection, station_id, now, epoch=epoch))


async def list_ended(
    connection: Connection, sockets: Sequence[tuple[str, int]]
) -> list[tuple[str, int, DisconnectReason]]:
    """Returns those of these sockets (station, epoch) whose connection was closed, and why.

    A newer one replaced it, or an operator ended it: its node drops it.
    """
    return await store_connections.ended_of(connection, sockets)


async def touch(connection: Connection, touches: Sequence[Touch]) -> None:
    """Stores when stations last sent a frame or a pong; an older socket's is ignored."""
    await store_connections.touch(connection, sorted(touches))


async def is_online(connection: Connection, station_id: str, now: datetime) -> bool:
    """Returns whether a station sent a frame or a pong in the last 90 s, and is not retired."""
    return await store_connections.is_fresh(connection, station_id, now)


async def list_connections(
    connection: Connection, station_id: str, limit: int
) -> list[StationConnection]:
    """Returns the latest connections of a station, the newest first."""
    return await store_connections.latest(connection, station_id, limit)
