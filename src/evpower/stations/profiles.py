"""The vendor profile of a station: by what it says of itself, or as an operator set it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog

from evpower.foundation.db import Connection
from evpower.foundation.errors import Invalid, NotFound
from evpower.stations import store_profiles
from evpower.stations.model import StationProfile, VendorProfile
from evpower.stations.profile_files import (
    InvalidProfile,
    check_choice,
    match_profile,
    override,
    read_override,
    vendor_profiles,
)
from evpower.stations.store_profiles import ProfileFacts

log: Final = structlog.get_logger()


async def vendor_profile(connection: Connection, station_id: str) -> VendorProfile:
    """Returns a station's profile. Raises NotFound("station_not_found")."""
    return (await station_profile(connection, station_id)).profile


async def station_profile(connection: Connection, station_id: str) -> StationProfile:
    """Returns a station's profile and whose word it is. Raises NotFound("station_not_found")."""
    known = await profiles_of(connection, [station_id])
    if station_id not in known:
        raise NotFound("station_not_found", f"there is no station {station_id!a:.80}")
    return known[station_id]


async def profiles_of(connection: Connection, ids: Sequence[str]) -> dict[str, StationProfile]:
    """Returns the profiles of stations, by id."""
    facts = await store_profiles.facts_of(connection, ids)
    return {station_id: profile_of(station_id, known) for station_id, known in facts.items()}


async def changed_profiles(
    connection: Connection, ids: Sequence[str], since: datetime
) -> dict[str, StationProfile]:
    """Returns the profiles of those stations that booted since then, or were changed lately."""
    changed = await store_profiles.changed_of(connection, ids, since)
    return await profiles_of(connection, changed) if changed else {}


async def set_profile(
    connection: Connection,
    station_id: str,
    *,
    name: str | None = None,
    members: Mapping[str, str] | None = None,
) -> None:
    """Stores which profile a station has, and members that are its own.

    `name` "": by what the station says of itself; None: as it is. A member with the value "" is as
    in the profile again. Raises Invalid("profile_invalid").
    """
    [known] = (await store_profiles.facts_of(connection, [station_id])).values()
    chosen = known.chosen if name is None else name or None
    try:
        check_choice(chosen, (members or {}).items())
    except InvalidProfile as error:
        raise Invalid("profile_invalid", str(error)) from error
    overrides = dict(known.overrides)
    for member, text in (members or {}).items():
        value = read_override(member, text)
        if value is None:
            overrides.pop(member, None)
        else:
            overrides[member] = value
    await store_profiles.set_profile(connection, station_id, chosen, overrides)


def profile_of(station_id: str, facts: ProfileFacts) -> StationProfile:
    """Returns the profile; what this release does not know of it any more is left out."""
    profile = vendor_profiles().get(facts.chosen or "")
    is_chosen = profile is not None
    profile = profile or match_profile(facts.vendor, facts.model, facts.firmware)
    overrides: dict[str, Any] = {}
    for member, value in facts.overrides.items():
        try:
            profile = override(profile, {member: value})
        except InvalidProfile as error:
            log.warning("profile_member_ignored", station=station_id, error=str(error))
        else:
            overrides[member] = value
    zone = ZoneInfo(facts.time_zone) if profile.local_clock else UTC
    return StationProfile(profile, is_chosen=is_chosen, overrides=overrides, zone=zone)
