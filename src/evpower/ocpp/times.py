"""Reads the times of stations, whose clocks and formats are many."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

from evpower.charging import StationTime

AHEAD: Final = timedelta(days=1)  # a later time is unusable
BEFORE_BOOT: Final = timedelta(days=30)  # an earlier one, before the station's boot, too
_MAX_RAW: Final = 64
_PLAIN: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z")
_TIME: Final = re.compile(
    r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})[Tt ]+"
    r"(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:[.,](\d{1,12}))?)?"
    r"\s*(?:([Zz])|(?:UTC|GMT)?([+-])(\d{1,2}):?(\d{2})?)?(?:UTC|GMT)?"
)
_SECONDS: Final = re.compile(r"\d{10}(?:\.\d{1,9})?")
_MILLISECONDS: Final = re.compile(r"\d{13}")
_NO_TIME: Final = StationTime(None, None)


def read_station_time(
    value: object, *, since: datetime, now: datetime, notes: set[str], zone: tzinfo = UTC
) -> StationTime:
    """Returns a station's time, with its text as it came; `at` is None if it can't be used.

    Earlier than `since`, or more than a day after `now`, it says nothing. `zone`: of a time that
    names none.
    """
    if value is None or value == "":
        notes.add("time_missing")
        return _NO_TIME
    raw = value if type(value) is str else str(value)
    if type(value) is str and _PLAIN.fullmatch(raw):
        try:
            at = datetime.fromisoformat(raw)
        except ValueError:
            at = None
    else:
        at = _read_odd(raw.strip(), notes, zone)
    raw = raw[:_MAX_RAW]
    if at is None:
        notes.add("time_unreadable")
    elif not since <= at <= now + AHEAD:
        notes.add("time_implausible")
    else:
        return StationTime(at, raw)
    return StationTime(None, raw)


def _read_odd(text: str, notes: set[str], usual: tzinfo) -> datetime | None:
    if _SECONDS.fullmatch(text) or _MILLISECONDS.fullmatch(text):
        notes.add("time_form")
        seconds = float(text) if "." in text or len(text) == 10 else int(text) / 1000  # noqa: PLR2004
        return datetime.fromtimestamp(seconds, UTC)
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zulu, sign, ahead_h, ahead_m = match.groups()
    if zulu is None and sign is None:
        notes.add("time_without_zone")
    elif match[0] != text or len(hour) + len(month) + len(day) != 6 or (sign and not ahead_m):  # noqa: PLR2004
        notes.add("time_form")
    try:
        offset = timedelta(hours=int(ahead_h or 0), minutes=int(ahead_m or 0))
        zone = usual if zulu is None else UTC
        if sign:
            zone = timezone(-offset if sign == "-" else offset)
        return datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0),
            int((fraction or "0")[:6].ljust(6, "0")), zone,
        ).astimezone(UTC)  # fmt: skip
    except (ValueError, OverflowError):
        return None
