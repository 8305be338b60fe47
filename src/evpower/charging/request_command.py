"""An operator's command to a station: a hard reset waits for the sessions that are open there."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from evpower import stations
from evpower.charging import store_transactions
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict
from evpower.stations import Command, CommandAction


async def request_command(  # noqa: PLR0913 - what an operator says
    connection: Connection,
    *,
    station: str,
    action: CommandAction,
    arguments: Mapping[str, str],
    expires_in: timedelta,
    now: datetime,
    actor: str,
    reason: str | None = None,
    while_in_use: bool = False,
) -> Command:
    """Queues an operator's command, its arguments given as texts.

    A hard reset may lose the stop of what runs, so it needs `while_in_use` then. Raises what
    `stations.request_command` raises, and Conflict("station_in_use").
    """
    if not while_in_use:
        await refuse_while_in_use(connection, station, action, arguments)
    return await stations.request_command(
        connection,
        station=station,
        action=action,
        arguments=arguments,
        expires_in=expires_in,
        now=now,
        actor=actor,
        reason=reason,
    )


async def refuse_while_in_use(
    connection: Connection, station: str, action: CommandAction, arguments: Mapping[str, str]
) -> None:
    """Locks the station. Raises Conflict("station_in_use") for a hard reset while it charges."""
    if action != "reset" or arguments.get("kind") != "hard":
        return
    stored = await stations.lock_station(connection, station)
    running = await store_transactions.open_of_station(connection, stored.id)
    if running:
        detail = f"transaction {running[0].id} runs here, and a hard reset may lose its stop"
        raise Conflict("station_in_use", detail)
