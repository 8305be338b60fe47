"""Background work of the stations: ends commands that no reply can come for, purges the logs."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from evpower.foundation.bus import Bus
from evpower.foundation.db import Connection, Database
from evpower.stations import store_connections
from evpower.stations.commands import end_overdue, list_overdue
from evpower.stations.model import Command

# Tells the slice above which commands ended, in the same transaction; the result announces what
# changed, after the commit.
CommandsEnded = Callable[
    [Connection, Sequence[Command], datetime], Awaitable[Callable[[Bus], None]]
]
RETENTION: Final = timedelta(days=400)
# Longer than any read deadline of a socket: its node would have closed it.
_NODE_LOST_AFTER: Final = timedelta(hours=1)
_log: Final = structlog.get_logger()


async def end_commands(
    db: Database, bus: Bus, now: datetime, ended: CommandsEnded | None = None
) -> list[Command]:
    """Ends expired and lost commands, and closes connections whose node is gone."""
    async with db.transaction() as connection:
        lost = await store_connections.close_lost(connection, now - _NODE_LOST_AFTER, now)
        overdue = await list_overdue(connection, now)
    commands: list[Command] = []
    for station_id in overdue:
        publish = None
        async with db.transaction() as connection:
            ends = await end_overdue(connection, station_id, now)
            if ends and ended is not None:
                publish = await ended(connection, ends, now)
        commands += ends
        if publish is not None:
            publish(bus)
    if commands or lost:
        _log.info("station_commands_timed_out", commands=len(commands), connections_closed=lost)
    return commands


async def purge_logs(connection: Connection, now: datetime, at_most: int) -> int:
    """Deletes statuses and closed connections that are older than 400 days."""
    return await store_connections.purge_logs(connection, now - RETENTION, at_most)
