"""What a start by app needs to know of a station and a connector, read with the station's lock."""

from dataclasses import fields
from datetime import datetime
from typing import Final, NamedTuple

from evpower.foundation.db import Record
from evpower.foundation.rows import columns
from evpower.stations.model import Command, Station, VendorProfile
from evpower.stations.profiles import profile_of
from evpower.stations.setup_keys import read_value
from evpower.stations.store_profiles import ProfileFacts

# The setting that `lock_for_start` is asked for.
CONNECTION_TIME_OUT: Final = "ConnectionTimeOut"
# Select lists of `stations.lock_for_start(...) l`, and of a `claimed` command of a row b.
LOCKED_STATION: Final = f"""
  {columns(Station, "(l.station)")}, l.connector, l.connector_availability, l.connector_status,
  l.rated_power_w, l.last_frame_at, l.time_zone, l.chosen_profile, l.profile_overrides,
  l.setting_value"""
CLAIMED: Final = columns(Command, "(b.claimed)")
_STATION: Final = tuple(field.name for field in fields(Station))
_COMMAND: Final = tuple(field.name for field in fields(Command))


class StartFacts(NamedTuple):
    """A connector, and its station."""

    wanted_availability: str
    reported_status: str | None
    rated_power_w: int
    last_frame_at: datetime | None  # of the station
    profile: VendorProfile
    connection_time_out: str | None  # as it was last read; None: it was not


def locked_station(row: Record) -> Station:
    """Returns the station of a row with `LOCKED_STATION`."""
    return Station(**{name: row[name] for name in _STATION})


def facts_of(row: Record) -> StartFacts | None:
    """Returns the connector of a row with `LOCKED_STATION`; None: there is no such one."""
    if row["connector"] is None:
        return None
    station = locked_station(row)
    profile = ProfileFacts(
        station.vendor,
        station.model,
        station.firmware,
        row["chosen_profile"],
        row["profile_overrides"],
        row["time_zone"],
    )
    return StartFacts(
        row["connector_availability"],
        row["connector_status"],
        row["rated_power_w"],
        row["last_frame_at"],
        profile_of(station.id, profile).profile,
        read_value(row["setting_value"]),
    )


def claimed_command(row: Record) -> Command | None:
    """Returns the command of a row with `CLAIMED`; None: none was claimed."""
    return None if row["id"] is None else Command(**{name: row[name] for name in _COMMAND})
