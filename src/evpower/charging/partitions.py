"""Makes the partitions of the meter values some days ahead, and drops the old ones."""

from datetime import datetime
from typing import Final

from evpower import alerts
from evpower.charging import store_partitions
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.loops import Loop, every

KEEP_DAYS: Final = 400
PERIOD_S: Final = 3_600.0
_TABLE: Final = "charging.meter_values"
_KIND: Final = "partition_missing"


async def keep_meter_values(connection: Connection, now: datetime) -> list[tuple[str, str]]:
    """Makes and drops partitions; returns each outcome with its day.

    An alert is open while values come for which no partition was made in time.
    """
    outcomes = await store_partitions.keep_meter_values(connection, now.date(), KEEP_DAYS)
    stray = [day for outcome, day in outcomes if outcome == "moved"]
    if stray:
        await alerts.open_alert(connection, _KIND, _TABLE, {"days": stray}, now)
    else:
        await alerts.close_alert(connection, _KIND, _TABLE, now)
    return outcomes


def partitions_loop(db: Database, clock: Clock) -> Loop:
    """Returns the loop that keeps the partitions of the meter values."""

    async def work(_: object) -> None:
        async with db.transaction() as connection:
            await keep_meter_values(connection, clock())

    return every(PERIOD_S, "meter_value_partitions", work)
