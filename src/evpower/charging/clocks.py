"""Learns how far a station's clock is off, from meter values that it sends while they are new."""

from typing import Final

from evpower.charging import store_clocks
from evpower.charging.events import StationReadings
from evpower.charging.our_time import SKEW_LIMIT
from evpower.charging.running import RunningTransaction
from evpower.foundation.db import Connection

_PERIODIC: Final = frozenset({"Sample.Periodic", "Sample.Clock", ""})
_PACE_S: Final = 10.0  # by so much may the ways of two frames differ
_LEAST_S: Final = 5.0  # between two frames that say something


async def learn_clock(
    connection: Connection, running: RunningTransaction, event: StationReadings
) -> None:
    """Compares the newest stamp of a frame with the one before, unless the clock is right.

    Starts and stops teach nothing: a station repeats them for hours. A queue that is replayed comes
    faster than its stamps.
    """
    stamps = [
        reading.time.at
        for reading in event.readings
        if reading.context in _PERIODIC and reading.time.at is not None
    ]
    if not stamps:
        return
    stamp = max(stamps)
    off = event.received_at - stamp
    if abs(off) <= SKEW_LIMIT and not running.skew_s:
        return
    if running.skew_s and abs(off.total_seconds() - running.skew_s) <= _PACE_S:
        return  # as it is known: most frames of a wrong clock have nothing to write
    await store_clocks.learn_clock(
        connection, event.station_id, stamp, event.received_at, pace_s=_PACE_S, least_s=_LEAST_S
    )
