"""Charging profiles: which power they allow at a connector, at a time."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ocpp.v16.enums import ChargingProfilePurposeType, ChargingRateUnitType

from evpower.foundation.clock import read_time
from evpower.simulator.frames import Payload
from evpower.simulator.model import VOLTAGE_V

_STATION: Final = ChargingProfilePurposeType.charge_point_max_profile
_TRANSACTION: Final = ChargingProfilePurposeType.tx_profile
_DEFAULT: Final = ChargingProfilePurposeType.tx_default_profile


@dataclass(frozen=True, slots=True)
class SimulatedProfile:
    """A profile that was set; connector 0 is the whole station."""

    connector: int
    fields: Payload

    @property
    def id(self) -> int:
        """Its chargingProfileId."""
        return self.fields["chargingProfileId"]

    @property
    def purpose(self) -> str:
        """Its chargingProfilePurpose."""
        return self.fields["chargingProfilePurpose"]

    @property
    def stack_level(self) -> int:
        """Its stackLevel: the highest counts."""
        return self.fields["stackLevel"]


class Profiles:
    """The profiles of a station."""

    def __init__(self) -> None:
        self._profiles: list[SimulatedProfile] = []

    def set(self, connector: int, fields: Payload) -> None:
        """Stores a profile in place of its predecessor: same id, or same purpose and level."""
        new = SimulatedProfile(connector, fields)
        place = (connector, new.purpose, new.stack_level)
        self._profiles = [
            profile
            for profile in self._profiles
            if profile.id != new.id
            and (profile.connector, profile.purpose, profile.stack_level) != place
        ]
        self._profiles.append(new)

    def clear(self, wanted: Payload) -> bool:
        """Removes the profiles that fit ClearChargingProfile. Returns whether there were any."""
        remaining = [profile for profile in self._profiles if not _fits(profile, wanted)]
        removed = len(remaining) < len(self._profiles)
        self._profiles = remaining
        return removed

    def end_transaction(self, connector: int) -> None:
        """Removes the TxProfiles of a connector: they end with the transaction."""
        self.clear({"connectorId": connector, "chargingProfilePurpose": _TRANSACTION})

    def limit_w(self, connector: int, started_at: datetime, now: datetime) -> int | None:
        """Returns the power that the profiles allow a transaction, None without a limit."""
        own = self._limit(connector, _TRANSACTION, started_at, now)
        if own is None:
            own = self._limit(connector, _DEFAULT, started_at, now)
        if own is None:
            own = self._limit(0, _DEFAULT, started_at, now)
        limits = [own, self._limit(0, _STATION, started_at, now)]
        return min((limit for limit in limits if limit is not None), default=None)

    def _limit(self, connector: int, purpose: str, begun: datetime, now: datetime) -> int | None:
        fitting = [
            profile
            for profile in self._profiles
            if (profile.connector, profile.purpose) == (connector, purpose)
        ]
        for profile in sorted(fitting, key=lambda profile: -profile.stack_level):
            limit = _limit_now(profile.fields["chargingSchedule"], begun, now)
            if limit is not None:
                return limit
        return None


def _fits(profile: SimulatedProfile, wanted: Payload) -> bool:
    if "id" in wanted:
        return profile.id == wanted["id"]
    places = (
        ("connectorId", profile.connector),
        ("chargingProfilePurpose", profile.purpose),
        ("stackLevel", profile.stack_level),
    )
    return all(wanted.get(name, value) == value for name, value in places)


def _limit_now(schedule: dict[str, Any], begun: datetime, now: datetime) -> int | None:
    start = read_time(schedule["startSchedule"]) if "startSchedule" in schedule else begun
    elapsed_s = (now - start).total_seconds()
    if elapsed_s < 0 or elapsed_s > schedule.get("duration", elapsed_s):
        return None
    limit = None
    for period in schedule["chargingSchedulePeriod"]:
        if period["startPeriod"] <= elapsed_s:
            limit = period["limit"]
    if limit is None:
        return None
    in_amps = schedule["chargingRateUnit"] == ChargingRateUnitType.amps
    return round(limit * VOLTAGE_V if in_amps else limit)
