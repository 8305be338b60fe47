"""The queue of what stations are asked to do: one in flight a station, none after it expired."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.stations import store_commands, store_connections
from evpower.stations.model import (
    ACTIONS,
    ClaimedCommand,
    Command,
    CommandAction,
    CommandOutcome,
)
from evpower.stations.profiles import profile_of
from evpower.stations.setup_keys import read_value
from evpower.stations.texts import storable

# A reply later than this does not come: the node that waited for it is gone.
REPLY_WITHIN: Final = timedelta(seconds=120)
_BATCH: Final = 500


async def queue_command(  # noqa: PLR0913 - the facts of a command
    connection: Connection,
    station_id: str,
    action: CommandAction,
    payload: Mapping[str, object],
    *,
    actor: str,
    connector: int | None = None,
    expires_in: timedelta,
    now: datetime,
    bulk_id: UUID | None = None,
) -> Command:
    """Queues a command; the caller publishes STATION_CHANGED after the commit.

    Raises Invalid("command_invalid"), NotFound("station_not_found"), Conflict("station_retired").
    """
    if action not in ACTIONS:
        raise Invalid("command_invalid", f"there is no command {action!a:.80}")
    command = await store_commands.insert_command(
        connection,
        station_id,
        action,
        payload,
        connector=connector,
        actor=actor,
        created_at=now,
        expires_at=now + expires_in,
        bulk_id=bulk_id,
    )
    if command is not None:
        return command
    if await store_connections.lock_station(connection, station_id) is None:
        raise NotFound("station_not_found", f"there is no station {station_id!a:.80}")
    raise Conflict("station_retired", f"station {station_id!a:.80} is retired")


async def claim_command(
    connection: Connection, station_id: str, epoch: int, now: datetime
) -> ClaimedCommand | None:
    """Returns the oldest queued command, now sent on this socket, and the station's profile.

    None: nothing is queued, one is in flight, or a newer socket is there. One round trip.
    """
    claimed = await store_commands.claim_next(connection, station_id, epoch, now)
    if claimed is None:
        return None
    command, facts = claimed
    return ClaimedCommand(command, profile_of(station_id, facts).profile)


async def end_command(
    connection: Connection,
    command_id: int,
    state: CommandOutcome,
    response: Mapping[str, object] | None,
    now: datetime,
) -> Command | None:
    """Ends a sent command; returns it, None when it had ended before.

    A reply after the time-out counts: a time-out only said that the outcome was unknown.
    """
    stored = None if state == "timed_out" or response is None else storable(response)
    return await store_commands.end_sent(connection, command_id, state, stored, now)


async def drop_command(connection: Connection, command_id: int, now: datetime) -> bool:
    """Ends a queued command as timed out, because it is not wanted any more.

    Returns False when it was sent already, or has ended.
    """
    return await store_commands.drop(connection, command_id, now)


async def end_overdue(connection: Connection, station_id: str, now: datetime) -> list[Command]:
    """Ends a station's expired and lost commands as timed out; returns them.

    The station is locked first, as by all who end a command together with its session.
    """
    await store_connections.lock_station(connection, station_id)
    expired = await store_commands.expire(connection, station_id, now, _BATCH)
    lost = await store_commands.time_out_lost(
        connection, station_id, now, now - REPLY_WITHIN, _BATCH
    )
    return expired + lost


async def list_overdue(connection: Connection, now: datetime) -> list[str]:
    """Returns the ids of stations with commands that have expired or are lost."""
    return await store_commands.stations_to_end(connection, now, now - REPLY_WITHIN)


async def list_waiting(connection: Connection, now: datetime) -> list[str]:
    """Returns the ids of stations with a queued command that has not expired and none in flight."""
    return await store_commands.stations_that_wait(connection, now)


async def get_command(connection: Connection, command_id: int) -> Command:
    """Returns a command. Raises NotFound("command_not_found")."""
    command = await store_commands.command_by_id(connection, command_id)
    if command is None:
        raise NotFound("command_not_found", f"there is no command {command_id}")
    return command


async def list_commands(connection: Connection, station_id: str, limit: int) -> list[Command]:
    """Returns the latest commands of a station, the newest first."""
    return await store_commands.latest(connection, station_id, limit)


async def find_setting(connection: Connection, station_id: str, key: str) -> str | None:
    """Returns a value of a station's configuration as it was last read; None: it was not."""
    return read_value(await store_commands.newest_setting(connection, station_id, key))
