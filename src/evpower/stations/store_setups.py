"""SQL of the set-ups of stations."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from evpower.foundation.db import Connection, Record, fetch_one
from evpower.stations.setup_model import SetupKey, StationSetup

_MOST_LATELY: Final = 5
_SETUP: Final = """
  s.id, s.station_id, s.vendor, s.model, s.firmware, s.actor, s.command_id, s.keys, s.failure,
  s.started_at, s.ended_at
"""


async def insert(
    connection: Connection, station_id: str, command_id: int, actor: str, now: datetime
) -> StationSetup:
    """Inserts a set-up of the station's present firmware, which waits for a command."""
    return _setup(
        await fetch_one(
            connection,
            f"""
            insert into stations.setups as s
              (station_id, vendor, model, firmware, command_id, actor, started_at)
            select t.id, coalesce(t.vendor, ''), coalesce(t.model, ''), coalesce(t.firmware, ''),
                   $2, $3, $4
              from stations.stations t where t.id = $1
            returning {_SETUP}
            """,
            station_id,
            command_id,
            actor,
            now,
        )
    )


async def update(
    connection: Connection, setup_id: int, command_id: int, keys: Sequence[SetupKey]
) -> None:
    """Stores what is known of the keys, and the command that is waited for next."""
    await connection.execute(
        "update stations.setups set command_id = $2, keys = $3 where id = $1",
        setup_id,
        command_id,
        [asdict(key) for key in keys],
    )


async def end(
    connection: Connection,
    setup_id: int,
    keys: Sequence[SetupKey],
    failure: str | None,
    now: datetime,
) -> None:
    """Ends a set-up; without a failure it is done."""
    await connection.execute(
        """
        update stations.setups set keys = $2, failure = $3, ended_at = greatest($4, started_at)
         where id = $1
        """,
        setup_id,
        [asdict(key) for key in keys],
        failure,
        now,
    )


async def running(connection: Connection, station_id: str) -> StationSetup | None:
    """Returns the set-up of a station that has not ended."""
    row = await connection.fetchrow(
        f"""
        select {_SETUP} from stations.setups s where s.station_id = $1 and s.ended_at is null
        """,
        station_id,
    )
    return None if row is None else _setup(row)


async def latest(connection: Connection, station_id: str) -> StationSetup | None:
    """Returns the newest set-up of a station."""
    row = await connection.fetchrow(
        f"""
        select {_SETUP} from stations.setups s where s.station_id = $1 order by s.id desc limit 1
        """,
        station_id,
    )
    return None if row is None else _setup(row)


async def stations_without(
    connection: Connection, since: datetime, at_most: int, station_id: str | None = None
) -> list[str]:
    """Returns connected stations that were not set up with the firmware that they booted with.

    One that was not delivered counts until the station connects again. None while a car charges,
    and none that was set up several times since then: some name another firmware at each boot.
    """
    rows: list[Record] = await connection.fetch(
        """
        select t.id from stations.connections c
          join stations.stations t on t.id = c.station_id
         where c.closed_at is null and ($2::text is null or c.station_id = $2)
           and t.booted_at is not null and t.retired_at is null and t.forward_url is null
           and not t.is_simulated
           and not exists (
             select from stations.setups s
              where s.station_id = t.id and s.vendor = coalesce(t.vendor, '')
                and s.model = coalesce(t.model, '') and s.firmware = coalesce(t.firmware, '')
                and (s.failure is distinct from 'not_delivered' or s.started_at >= c.opened_at))
           and not exists (
             select from stations.setups s where s.station_id = t.id and s.ended_at is null)
           and (select count(*) from stations.setups s
                 where s.station_id = t.id and s.started_at > $3
                   and s.failure is distinct from 'not_delivered') < $4
           and not exists (
             select from stations.connectors o
              where o.station_id = t.id
                and o.reported_status in ('charging', 'suspended_ev', 'suspended_evse'))
         order by t.id limit $1
        """,
        at_most,
        station_id,
        since,
        _MOST_LATELY,
    )
    return [row["id"] for row in rows]


async def stations_answered(connection: Connection, at_most: int) -> list[str]:
    """Returns the stations whose set-up waits for a command that has ended."""
    rows: list[Record] = await connection.fetch(
        """
        select s.station_id from stations.setups s join stations.commands c on c.id = s.command_id
         where s.ended_at is null and c.ended_at is not null order by s.id limit $1
        """,
        at_most,
    )
    return [row["station_id"] for row in rows]


def _setup(row: Record) -> StationSetup:
    members: dict[str, Any] = dict(row)
    listed: Sequence[Mapping[str, Any]] = members.pop("keys")
    return StationSetup(keys=tuple(SetupKey(**key) for key in listed), **members)
