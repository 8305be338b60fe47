"""The SQL of what is known of stations' clocks."""

from datetime import datetime

from evpower.foundation.db import Connection


async def learn_clock(
    connection: Connection,
    station_id: str,
    stamp: datetime,
    received_at: datetime,
    *,
    is_status: bool,
    pace_s: float,
    least_s: float,
    least_status_s: float,
) -> int | None:
    """Stores the newest stamp of a station, and how far its clock is off if it came at its pace.

    Returns how far it is off; None: not known.
    Two frames came live if as much time passed between them here as there, give or take `pace_s`,
    and half of it at most: values that were taken each few seconds are replayed all at once. At
    least `least_s` passed; `least_status_s` if either of them is a status.
    """
    return await connection.fetchval(
        """
        insert into charging.clocks as k (station_id, stamp, received_at, is_status)
        values ($1, $2, $3, $6)
        on conflict (station_id) do update set stamp = $2, received_at = $3, is_status = $6,
          skew_s = case
            when extract(epoch from $2 - k.stamp)
                     >= case when $6 or k.is_status then $7::numeric else $5::numeric end
                 and abs(extract(epoch from ($3 - k.received_at) - ($2 - k.stamp)))
                     <= least($4, extract(epoch from $2 - k.stamp) / 2)
              then greatest(least(extract(epoch from $3 - $2), 2147483647), -2147483648)::int
            else k.skew_s end
        returning skew_s
        """,
        station_id,
        stamp,
        received_at,
        pace_s,
        least_s,
        is_status,
        least_status_s,
    )


async def skew_of(connection: Connection, station_id: str) -> int | None:
    """Returns our clock less the station's, in seconds; None: right, or not known."""
    return await connection.fetchval(
        "select skew_s from charging.clocks where station_id = $1", station_id
    )


async def forget_clock(connection: Connection, station_id: str) -> None:
    """Deletes what is known of a station's clock: it may have been set."""
    await connection.execute("delete from charging.clocks where station_id = $1", station_id)
