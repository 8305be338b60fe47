"""SQL of what an operator sets of a station's vendor profile."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from evpower.foundation.db import Connection, Record


class ProfileFacts(NamedTuple):
    """What a station says of itself, and what an operator set of its profile."""

    vendor: str | None
    model: str | None
    firmware: str | None
    chosen: str | None  # a profile's name; None: as the station says
    overrides: Mapping[str, Any]
    time_zone: str  # of its location


# Of the tables stations s, locations l and profiles p.
PROFILE_FACTS: Final = """
  s.vendor as own_vendor, s.model as own_model, s.firmware as own_firmware, l.time_zone,
  p.profile as chosen_profile, coalesce(p.overrides, '{}'::jsonb) as profile_overrides"""


def facts_of_row(row: Record) -> ProfileFacts:
    """Returns the columns `PROFILE_FACTS` of a row."""
    return ProfileFacts(
        row["own_vendor"],
        row["own_model"],
        row["own_firmware"],
        row["chosen_profile"],
        row["profile_overrides"],
        row["time_zone"],
    )


async def facts_of(connection: Connection, ids: Sequence[str]) -> dict[str, ProfileFacts]:
    """Returns the facts of stations, by id."""
    rows: list[Record] = await connection.fetch(
        f"""
        select s.id, {PROFILE_FACTS}
          from stations.stations s
          join stations.locations l on l.id = s.location_id
          left join stations.profiles p on p.station_id = s.id
         where s.id = any ($1)
        """,
        list(ids),
    )
    return {row["id"]: facts_of_row(row) for row in rows}


async def changed_of(connection: Connection, ids: Sequence[str], since: datetime) -> list[str]:
    """Returns which of these stations booted since then, or got another profile a moment ago."""
    rows: list[Record] = await connection.fetch(
        """
        select s.id from stations.stations s
          left join stations.profiles p on p.station_id = s.id
         where s.id = any ($1)
           and (s.booted_at >= $2 or p.updated_at >= now() - interval '2 minutes')
        """,
        list(ids),
        since,
    )
    return [row["id"] for row in rows]


async def set_profile(
    connection: Connection, station_id: str, chosen: str | None, overrides: Mapping[str, object]
) -> None:
    """Stores the profile that an operator chose, and the members that are the station's own."""
    await connection.execute(
        """
        insert into stations.profiles (station_id, profile, overrides) values ($1, $2, $3)
        on conflict (station_id) do update
           set profile = excluded.profile, overrides = excluded.overrides, updated_at = now()
        """,
        station_id,
        chosen,
        dict(overrides),
    )
