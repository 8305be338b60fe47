"""Reads names of time zones: a system's folder of zones has files that are no zone of IANA's."""

import re
from typing import Final
from zoneinfo import ZoneInfo

_NAME: Final = re.compile(r"[A-Z][A-Za-z0-9_+-]*(?:/[A-Z][A-Za-z0-9_+-]*){0,2}")
_NO_PLACE: Final = "Factory"  # IANA's for a clock that was not set; every other begins in small


def read_time_zone(name: str) -> ZoneInfo:
    """Returns the zone of an IANA name, such as Asia/Bishkek. Raises ValueError for any other.

    Refused is what a system adds in small letters: `localtime` is another zone on each machine,
    `right/…` counts leap seconds, `posix/…` and `posixrules` are copies.
    """
    if not _NAME.fullmatch(name) or name == _NO_PLACE:
        raise ValueError(f"there is no time zone {name!a:.70}")
    try:
        return ZoneInfo(name)
    except (OSError, KeyError) as error:
        raise ValueError(f"there is no time zone {name!a:.70}") from error
