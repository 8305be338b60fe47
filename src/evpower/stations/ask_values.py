"""Asks a station for meter values that it does not send by itself.

One that refuses or does not answer is let be: it takes no such message, or takes it for nothing,
and what is asked in vain keeps its other commands waiting.
"""

from datetime import datetime, timedelta
from typing import Final

from evpower.foundation.db import Connection
from evpower.stations import store_asked
from evpower.stations.commands import queue_command
from evpower.stations.find import lock_station
from evpower.stations.model import Command
from evpower.stations.profiles import station_profile

ACTOR: Final = "values-request"
_EXPIRES: Final = timedelta(minutes=1)
_LET_BE_FOR: Final = timedelta(days=30)  # by then it may have another firmware


async def ask_for_values(
    connection: Connection, station_id: str, connector: int, *, every: timedelta, now: datetime
) -> Command | None:
    """Queues the question; None: it is of no use, or was asked within `every`.

    The caller publishes STATION_CHANGED after the commit. Raises NotFound("station_not_found").
    """
    station = await lock_station(connection, station_id)
    profile = await station_profile(connection, station.id)
    if station.forward_url is not None or not profile.profile.trigger_allowed:
        return None
    if await store_asked.is_let_be(
        connection, station.id, connector, ACTOR, asked_since=now - every, since=now - _LET_BE_FOR
    ):
        return None
    return await queue_command(
        connection,
        station.id,
        "trigger",
        {"message": "meter_values", "connector": connector},
        actor=ACTOR,
        connector=connector,
        expires_in=_EXPIRES,
        now=now,
    )
