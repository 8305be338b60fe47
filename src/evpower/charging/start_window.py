"""How long a station may take from the accepted remote start to the start."""

from datetime import timedelta
from typing import Final

from evpower import stations
from evpower.charging.rules import Rules
from evpower.foundation.db import Connection

_MIN_S: Final = 10
_MAX_S: Final = 3_600
_DIGITS: Final = 6


async def start_window(connection: Connection, station_id: str, rules: Rules) -> timedelta:
    """Returns the station's ConnectionTimeOut as it was read, else the usual one, and some more."""
    return window_of(
        await stations.find_setting(connection, station_id, "ConnectionTimeOut"), rules
    )


def window_of(raw: str | None, rules: Rules) -> timedelta:
    """Returns the start window by ConnectionTimeOut as it was read; None: it was not."""
    text = (raw or "").partition(".")[0]
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS:
        seconds = int(text)
        if _MIN_S <= seconds <= _MAX_S:
            return timedelta(seconds=seconds) + rules.start_window_extra
    return rules.start_window + rules.start_window_extra
