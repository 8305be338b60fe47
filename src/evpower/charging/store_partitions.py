"""The SQL of the partitions of the meter values."""

from datetime import date

from evpower.foundation.db import Connection


async def keep_meter_values(
    connection: Connection, today: date, keep_days: int
) -> list[tuple[str, str]]:
    """Makes partitions from today on and drops those older than this; returns outcome and day."""
    rows = await connection.fetch(
        "select outcome, day from charging.keep_meter_values($1, $2)", today, keep_days
    )
    return [(row["outcome"], row["day"].isoformat()) for row in rows]
