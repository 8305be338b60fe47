"""SQL of stations that are away, by when they last sent something."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from evpower.foundation.db import Connection, fetch_one
from evpower.foundation.rows import columns, read_row


@dataclass(frozen=True, slots=True)
class LastFrame:
    """When a station last sent a frame or a pong."""

    station_id: str
    location_id: str
    last_frame_at: datetime


_COLUMNS: Final = columns(LastFrame)


async def recent(connection: Connection, since: datetime) -> list[LastFrame]:
    """Returns the stations that sent something since then, without retired ones."""
    rows = await connection.fetch(
        f"""
        select {_COLUMNS} from stations.sockets o
          join (select s.id, s.location_id from stations.stations s where s.retired_at is null) s
            on s.id = o.station_id
         where o.last_frame_at > $1 order by station_id
        """,
        since,
    )
    return [read_row(LastFrame, row) for row in rows]


async def count_away(connection: Connection, ids: Sequence[str], since: datetime) -> int:
    """Returns how many of these stations sent nothing after that, without retired ones."""
    away: int = await connection.fetchval(
        """
        select count(*) from stations.sockets o join stations.stations s on s.id = o.station_id
         where s.id = any ($1) and s.retired_at is null
           and coalesce(o.last_frame_at <= $2, true)
        """,
        list(ids),
        since,
    )
    return away


async def count_online(connection: Connection, since: datetime) -> tuple[int, int, int]:
    """Returns how many stations are online, and offline, and how many connectors are down."""
    row = await fetch_one(
        connection,
        """
        select count(*) filter (where o.last_frame_at > $1) as online,
               count(*) filter (where coalesce(o.last_frame_at <= $1, true)) as offline,
               (select count(*) from stations.connectors c
                  join stations.stations r on r.id = c.station_id
                 where r.retired_at is null and c.reported_status in ('faulted', 'unavailable'))
                 as down
          from stations.stations s left join stations.sockets o on o.station_id = s.id
         where s.retired_at is null
        """,
        since,
    )
    return row["online"], row["offline"], row["down"]
