"""Quiet hours: when only grave alerts are sent."""

import re
from dataclasses import dataclass
from datetime import datetime, time
from typing import Final
from zoneinfo import ZoneInfo

from evpower.foundation.time_zones import read_time_zone

_HOURS: Final = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `begins` to `ends` by the clocks of `zone`, over midnight where that is earlier."""

    begins: time
    ends: time
    zone: ZoneInfo

    def has(self, at: datetime) -> bool:
        """Returns whether a time lies in them; their end does not."""
        local = at.astimezone(self.zone).time()
        if self.begins <= self.ends:
            return self.begins <= local < self.ends
        return local >= self.begins or local < self.ends


def read_quiet_hours(text: str, zone: str) -> QuietHours | None:
    """Returns the hours of a text such as 22:00-07:00; None for "". Raises ValueError."""
    if not text:
        return None
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ValueError("quiet hours read 22:00-07:00")
    begin_h, begin_m, end_h, end_m = map(int, match.groups())
    return QuietHours(time(begin_h, begin_m), time(end_h, end_m), read_time_zone(zone))
