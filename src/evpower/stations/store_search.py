"""SQL of the lists that operators filter: stations, commands, owners, deviations."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import columns, read_row
from evpower.stations.filters import CommandFilter, OwnerCount, StationFilter
from evpower.stations.model import Command, Deviation, Station

_STATION: Final = columns(Station, "s")
_COMMAND: Final = columns(Command, "c")


async def stations_after(
    connection: Connection,
    wanted: StationFilter,
    *,
    after: str | None,
    limit: int,
    fresh_after: datetime,
) -> list[Station]:
    """Returns the next stations of a list by id."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {_STATION} from stations.stations s
          left join stations.sockets o on o.station_id = s.id
         where ($1::text is null or s.id > $1)
           and ($2::text is null or exists (
             select from stations.names n where n.station_id = s.id
                and strpos(lower(n.name), lower($2)) > 0))
           and ($3::text is null or s.location_id = $3)
           and ($4::text is null or s.owner = $4)
           and ($5::text is null or lower(s.vendor) = lower($5))
           and ($6::boolean is null
             or (coalesce(o.last_frame_at > $7, false) and s.retired_at is null) = $6)
           and ($8::text is null or s.wanted_availability = $8)
           and ($9::text is null or exists (
             select from stations.connectors c where c.station_id = s.id
                and c.reported_status = $9))
           and ($10::boolean is null or s.is_simulated = $10)
           and ($11::boolean is null or (s.retired_at is not null) = $11)
         order by s.id limit $12
        """,
        after,
        wanted.text,
        wanted.location,
        wanted.owner,
        wanted.vendor,
        wanted.online,
        fresh_after,
        wanted.availability,
        wanted.connector_status,
        wanted.simulated,
        wanted.retired,
        limit,
    )
    return [read_row(Station, row) for row in rows]


async def commands_before(
    connection: Connection, wanted: CommandFilter, *, before: int | None, limit: int
) -> list[Command]:
    """Returns the next commands of a list, the newest first."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {_COMMAND} from stations.commands c
         where ($1::bigint is null or c.id < $1)
           and ($2::text is null or c.station_id = $2)
           and ($3::text is null or c.state = $3)
           and ($4::text is null or c.action = $4)
           and ($5::uuid is null or c.bulk_id = $5)
         order by c.id desc limit $6
        """,
        before,
        wanted.station_id,
        wanted.state,
        wanted.action,
        wanted.bulk_id,
        limit,
    )
    return [read_row(Command, row) for row in rows]


async def commands_of(connection: Connection, ids: Sequence[int]) -> list[Command]:
    """Returns these commands, by station."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {_COMMAND} from stations.commands c where c.id = any ($1::bigint[])
         order by c.station_id, c.id
        """,
        list(ids),
    )
    return [read_row(Command, row) for row in rows]


async def owners(connection: Connection) -> list[OwnerCount]:
    """Returns the owners of stations that are not retired, with how much each has."""
    rows: list[Record] = await connection.fetch(
        """
        select s.owner, count(distinct s.id) as stations, count(c.number) as connectors
          from stations.stations s left join stations.connectors c on c.station_id = s.id
         where s.retired_at is null group by s.owner order by s.owner nulls last
        """
    )
    return [read_row(OwnerCount, row) for row in rows]


async def deviations(
    connection: Connection, station_id: str | None, kind: str | None, limit: int
) -> list[Deviation]:
    """Returns deviations, the one that was seen last first."""
    rows: list[Record] = await connection.fetch(
        """
        select d.station_id, d.kind, d.count, d.sample, d.last_seen_at as at
          from stations.deviations d
         where ($1::text is null or d.station_id = $1) and ($2::text is null or d.kind = $2)
         order by d.last_seen_at desc, d.station_id, d.kind limit $3
        """,
        station_id,
        kind,
        limit,
    )
    return [read_row(Deviation, row) for row in rows]
