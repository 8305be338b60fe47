"""What a start by app needs to know of a station and a connector, read at once."""

from datetime import datetime
from typing import Final, NamedTuple

from evpower.foundation.db import Connection
from evpower.stations import store_commands
from evpower.stations.model import VendorProfile
from evpower.stations.profiles import profile_of
from evpower.stations.setup_keys import read_value
from evpower.stations.store_profiles import facts_of_row

_TIME_OUT: Final = "ConnectionTimeOut"


class StartFacts(NamedTuple):
    """A connector, and its station."""

    wanted_availability: str
    reported_status: str | None
    rated_power_w: int
    last_frame_at: datetime | None  # of the station
    profile: VendorProfile
    connection_time_out: str | None  # as it was last read; None: it was not


async def start_facts(connection: Connection, station_id: str, connector: int) -> StartFacts | None:
    """Returns the facts; None: the station has no connector of this number. One round trip."""
    row = await store_commands.start_facts(connection, station_id, _TIME_OUT, connector)
    if row is None:
        return None
    return StartFacts(
        row["wanted_availability"],
        row["reported_status"],
        row["rated_power_w"],
        row["last_frame_at"],
        profile_of(station_id, facts_of_row(row)).profile,
        read_value(row["setting"]),
    )
