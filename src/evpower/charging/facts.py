"""Parses the numbers and times of a reported session from JSON, with checks, into our units."""

import unicodedata
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from evpower.charging.model import SessionStatus
from evpower.foundation.clock import read_time
from evpower.foundation.errors import Invalid
from evpower.foundation.money import amount_from_json

MAX_ENERGY_KWH: Final = 1_000  # no car takes more in one session
EARLIEST: Final = datetime(2015, 1, 1, tzinfo=UTC)  # earlier sessions can't exist
_CLOCK_SKEW: Final = timedelta(minutes=5)


def energy_wh(raw: object) -> int:
    """Returns Wh from a JSON number of kWh with at most 3 decimals.

    Raises Invalid("invalid_energy" | "implausible_energy").
    """
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise Invalid("invalid_energy", "energy_consumed must be a number of kWh")
    try:
        scaled = Decimal(repr(raw)) * 1000
        wh = int(scaled)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise Invalid("invalid_energy", "energy_consumed must be a finite number") from error
    if wh < 0 or scaled < 0:
        raise Invalid("invalid_energy", "energy_consumed is negative")
    if scaled > MAX_ENERGY_KWH * 1000:
        raise Invalid(
            "implausible_energy",
            f"more than {MAX_ENERGY_KWH} kWh",
            params={"limit_kwh": MAX_ENERGY_KWH},
        )
    if scaled != wh:
        raise Invalid("invalid_energy", "energy_consumed has more than 3 decimals")
    return wh


def cost_minor(raw: object) -> int:
    """Returns tyiyn from a JSON number of som with at most 2 decimals.

    Raises Invalid("invalid_amount").
    """
    if isinstance(raw, str):
        raise Invalid("invalid_amount", "total_cost must be a number")
    minor = amount_from_json(raw)
    if minor < 0:
        raise Invalid("invalid_amount", "total_cost is negative")
    return minor


def moment(raw: object, name: str, now: datetime) -> datetime:
    """Returns the time of an ISO 8601 text with a zone; from 2015 on, not in the future.

    Raises Invalid("invalid_time").
    """
    if not isinstance(raw, str):
        raise Invalid("invalid_time", f"{name} must be an ISO 8601 text")
    try:
        at = read_time(raw)
    except ValueError as error:
        raise Invalid("invalid_time", f"{name} {error}") from error
    if at < EARLIEST:
        raise Invalid("invalid_time", f"{name} is before {EARLIEST:%Y}")
    if at > now + _CLOCK_SKEW:
        raise Invalid("invalid_time", f"{name} is in the future")
    return at


def end(raw: object, status: SessionStatus, started_at: datetime, now: datetime) -> datetime | None:
    """Returns the end of a session: required if it stopped, not allowed if it only started.

    Raises Invalid: end_time_required, end_time_unexpected, end_before_start, invalid_time.
    """
    if raw is None:
        if status == "stopped":
            raise Invalid("end_time_required", "a stopped session has an end_time")
        return None
    if status == "started":
        raise Invalid("end_time_unexpected", "a started session has no end_time")
    ended_at = moment(raw, "end_time", now)
    if ended_at < started_at:
        raise Invalid("end_before_start", "end_time is before start_time")
    return ended_at


def normalized_plate(text: str) -> str:
    """Returns a plate in NFKC and upper case, with single spaces and none at its ends."""
    return " ".join(filter(None, unicodedata.normalize("NFKC", text).upper().split(" ")))
