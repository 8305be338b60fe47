"""The SQL of the times in which a station gives energy to any tag."""

from dataclasses import dataclass
from datetime import datetime

from evpower.foundation.db import Connection
from evpower.foundation.rows import columns, read_row


@dataclass(frozen=True, slots=True)
class FreePeriod:
    """A time in which a station charges any tag, without a session or a wallet."""

    id: int
    station_id: str
    begins_at: datetime
    ends_at: datetime  # by itself
    reason: str
    actor: str
    ended_at: datetime | None
    ended_by: str | None


async def insert(
    connection: Connection,
    station_id: str,
    begins_at: datetime,
    ends_at: datetime,
    reason: str,
    actor: str,
) -> None:
    """Stores a period. The caller has ended the one before."""
    await connection.execute(
        """
        insert into charging.free_periods (station_id, begins_at, ends_at, reason, actor)
        values ($1, $2, $3, $4, $5)
        """,
        station_id,
        begins_at,
        ends_at,
        reason,
        actor,
    )


async def end(connection: Connection, station_id: str, now: datetime, actor: str) -> bool:
    """Ends the open period of a station; false: there is none."""
    ended = await connection.fetchval(
        """
        update charging.free_periods
           set ended_at = least(greatest(begins_at, $2), ends_at), ended_by = $3
         where station_id = $1 and ended_at is null returning true
        """,
        station_id,
        now,
        actor,
    )
    return ended is True


async def open_of(connection: Connection, station_id: str) -> FreePeriod | None:
    """Returns the open period of a station, also one whose time is over."""
    row = await connection.fetchrow(
        f"""
        select {columns(FreePeriod)} from charging.free_periods
         where station_id = $1 and ended_at is null
        """,
        station_id,
    )
    return None if row is None else read_row(FreePeriod, row)


async def covers(connection: Connection, station_id: str, *moments: datetime) -> bool:
    """Returns whether a station was free at one of these moments."""
    return await connection.fetchval(
        """
        select exists (select from charging.free_periods f, unnest($2::timestamptz[]) as m (at)
          where f.station_id = $1 and f.begins_at <= m.at
            and m.at < coalesce(f.ended_at, f.ends_at))
        """,
        station_id,
        moments,
    )


async def free_at(connection: Connection, moment: datetime) -> frozenset[str]:
    """Returns the stations that are free at a moment; periods that have ended are not looked at."""
    rows = await connection.fetch(
        """
        select station_id from charging.free_periods
         where ended_at is null and begins_at <= $1 and $1 < ends_at
        """,
        moment,
    )
    return frozenset(row["station_id"] for row in rows)


async def overdue(connection: Connection, now: datetime, limit: int) -> list[str]:
    """Returns the stations whose open period is over."""
    rows = await connection.fetch(
        """
        select station_id from charging.free_periods
         where ended_at is null and ends_at <= $1 order by ends_at limit $2
        """,
        now,
        limit,
    )
    return [row["station_id"] for row in rows]


async def list_periods(connection: Connection, station_id: str, limit: int) -> list[FreePeriod]:
    """Returns the periods of a station, the newest first."""
    rows = await connection.fetch(
        f"""
        select {columns(FreePeriod)} from charging.free_periods
         where station_id = $1 order by begins_at desc, id desc limit $2
        """,
        station_id,
        limit,
    )
    return [read_row(FreePeriod, row) for row in rows]
