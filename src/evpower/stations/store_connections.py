"""SQL of stations' connections and sockets."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import columns, read_row
from evpower.stations.model import ONLINE_FOR, DisconnectReason, StationConnection, Touch

_CONNECTION: Final = columns(StationConnection, "c")


async def lock_station(connection: Connection, station_id: str) -> bool | None:
    """Locks a station until the transaction ends; returns whether it is retired, None: no such."""
    is_retired: bool | None = await connection.fetchval(
        """
        select s.retired_at is not null from stations.stations s where s.id = $1
           for no key update
        """,
        station_id,
    )
    return is_retired


async def replace_open(connection: Connection, station_id: str, now: datetime) -> int | None:
    """Closes a station's open connection because a newer one comes; returns its epoch."""
    epoch: int | None = await connection.fetchval(
        """
        update stations.connections
           set closed_at = greatest($2, opened_at), close_reason = 'replaced'
         where station_id = $1 and closed_at is null returning id
        """,
        station_id,
        now,
    )
    return epoch


async def insert_connection(
    connection: Connection,
    station_id: str,
    address: str,
    version: str,
    now: datetime,
    *,
    is_authenticated: bool,
) -> int:
    """Inserts an open connection; returns its epoch."""
    epoch: int = await connection.fetchval(
        """
        insert into stations.connections (station_id, address, version, is_authenticated, opened_at)
        values ($1, $2, $3, $4, $5) returning id
        """,
        station_id,
        address,
        version,
        is_authenticated,
        now,
    )
    return epoch


async def upsert_socket(
    connection: Connection, station_id: str, epoch: int, node: str, now: datetime
) -> None:
    """Makes a connection the station's newest socket, on this node."""
    await connection.execute(
        """
        insert into stations.sockets as s (station_id, epoch, node, last_frame_at)
        values ($1, $2, $3, $4)
        on conflict (station_id) do update
           set epoch = excluded.epoch, node = excluded.node,
               last_frame_at = greatest(s.last_frame_at, excluded.last_frame_at)
        """,
        station_id,
        epoch,
        node,
        now,
    )


async def close_one(
    connection: Connection, station_id: str, epoch: int, reason: str, now: datetime
) -> bool:
    """Closes a connection; false when it is closed already, or another station's."""
    closed = await connection.fetchval(
        """
        update stations.connections set closed_at = greatest($4, opened_at), close_reason = $3
         where id = $2 and station_id = $1 and closed_at is null returning true
        """,
        station_id,
        epoch,
        reason,
        now,
    )
    return closed is True


async def ended_of(
    connection: Connection, sockets: Sequence[tuple[str, int]]
) -> list[tuple[str, int, DisconnectReason]]:
    """Returns those of these sockets (station, epoch) whose connection was closed, and why."""
    rows = await connection.fetch(
        """
        select c.station_id, c.id, c.close_reason
          from unnest($1::text[], $2::bigint[]) as mine (station_id, epoch)
          join stations.connections c on c.id = mine.epoch and c.station_id = mine.station_id
         where c.closed_at is not null
        """,
        [station for station, _ in sockets],
        [epoch for _, epoch in sockets],
    )
    return [(row["station_id"], row["id"], row["close_reason"]) for row in rows]


async def touch(connection: Connection, touches: Sequence[Touch]) -> None:
    """Stores the latest frame of sockets; the rows are locked in the order of the stations."""
    await connection.execute(
        """
        with given as (
          select g.station_id, g.epoch, max(g.at) as at
            from unnest($1::text[], $2::bigint[], $3::timestamptz[]) as g (station_id, epoch, at)
           group by g.station_id, g.epoch),
        locked as materialized (
          select s.station_id, g.at from stations.sockets s
            join given g on g.station_id = s.station_id and g.epoch = s.epoch
           order by s.station_id for no key update of s)
        update stations.sockets s set last_frame_at = greatest(s.last_frame_at, l.at)
          from locked l where s.station_id = l.station_id
        """,
        [entry.station_id for entry in touches],
        [entry.epoch for entry in touches],
        [entry.last_frame_at for entry in touches],
    )


async def is_fresh(connection: Connection, station_id: str, now: datetime) -> bool:
    """Returns whether a station that is not retired sent something lately."""
    fresh = await connection.fetchval(
        """
        select true from stations.sockets o join stations.stations s on s.id = o.station_id
         where o.station_id = $1 and o.last_frame_at > $2 and s.retired_at is null
        """,
        station_id,
        now - ONLINE_FOR,
    )
    return fresh is True


async def last_frames_of(connection: Connection, ids: Sequence[str]) -> dict[str, datetime | None]:
    """Returns when stations last sent something; one that never connected is absent."""
    rows: list[Record] = await connection.fetch(
        "select station_id, last_frame_at from stations.sockets where station_id = any ($1)",
        list(ids),
    )
    return {row["station_id"]: row["last_frame_at"] for row in rows}


async def latest(connection: Connection, station_id: str, limit: int) -> list[StationConnection]:
    """Returns the latest connections of a station, the newest first."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {_CONNECTION} from stations.connections c
         where c.station_id = $1 order by c.opened_at desc, c.id desc limit $2
        """,
        station_id,
        limit,
    )
    return [read_row(StationConnection, row) for row in rows]


async def close_lost(connection: Connection, before: datetime, now: datetime) -> int:
    """Closes connections of nodes that ended without closing them; returns how many."""
    done = await connection.execute(
        """
        update stations.connections
           set closed_at = greatest($2, opened_at), close_reason = 'node_lost'
         where id in (
           select c.id from stations.connections c
             join stations.sockets s on s.station_id = c.station_id and s.epoch = c.id
            where c.closed_at is null and c.opened_at < $1
              and (s.last_frame_at is null or s.last_frame_at < $1)
            order by c.id limit 500 for no key update of c skip locked)
        """,
        before,
        now,
    )
    return int(done.rsplit(" ", 1)[1])


async def purge_logs(connection: Connection, before: datetime, at_most: int) -> int:
    """Deletes old statuses and closed connections; returns the greater number of the two."""
    deleted: int = await connection.fetchval("select stations.purge_logs($1, $2)", before, at_most)
    return deleted
