"""Asks a station that connects without a boot to send one: only its boot says of what make it is.

Once a station, and late: some boot again at each call that comes before their boot was answered.
"""

from datetime import datetime, timedelta
from typing import Final

from evpower.foundation.bus import Bus
from evpower.foundation.db import Connection, Database
from evpower.stations import store_boots
from evpower.stations.commands import queue_command
from evpower.stations.find import lock_station
from evpower.stations.model import STATION_CHANGED, station_key
from evpower.stations.profile_files import vendor_profiles

ACTOR: Final = "boot-request"
_AFTER: Final = timedelta(minutes=1)  # since it connected: by then its boot has come, or won't
_EXPIRES: Final = timedelta(minutes=10)


async def ask_for_boots(db: Database, bus: Bus, now: datetime) -> None:
    """Asks each connected station whose boot was never heard, unless it was asked before."""
    async with db.connection() as connection:
        silent = await _silent(connection, now)
    for station_id in silent:
        async with db.transaction() as connection:
            await lock_station(connection, station_id)
            if not await _silent(connection, now, station_id):
                continue  # it has booted or gone, or another process asked it
            await queue_command(
                connection, station_id, "trigger", {"message": "boot_notification"},
                actor=ACTOR, expires_in=_EXPIRES, now=now,
            )  # fmt: skip
        bus.publish(STATION_CHANGED, station_key(station_id))


async def _silent(
    connection: Connection, now: datetime, station_id: str | None = None
) -> list[str]:
    forbidding = [
        name for name, profile in vendor_profiles().items() if not profile.trigger_allowed
    ]
    return await store_boots.stations_without(
        connection, ACTOR, now - _AFTER, forbidding, station_id
    )
