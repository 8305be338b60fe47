"""SQL of the queue of commands."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import columns, read_row
from evpower.stations.filters import BulkRefusal
from evpower.stations.model import Command
from evpower.stations.store_profiles import PROFILE_FACTS, ProfileFacts, facts_of_row

_COMMAND: Final = columns(Command, "c")
_FIELDS: Final = tuple(field.name for field in fields(Command))


async def insert_command(  # noqa: PLR0913 - the columns of a command
    connection: Connection,
    station_id: str,
    action: str,
    payload: Mapping[str, object],
    *,
    connector: int | None,
    actor: str,
    created_at: datetime,
    expires_at: datetime,
    bulk_id: UUID | None,
) -> Command | None:
    """Queues a command, and locks its station; None: it is retired, or there is no such station."""
    row = await connection.fetchrow(
        f"select {_COMMAND} from stations.queue_command($1, $2, $3, $4, $5, $6, $7, $8) c",
        station_id,
        action,
        payload,
        connector,
        actor,
        created_at,
        expires_at,
        bulk_id,
    )
    return None if row is None else read_row(Command, row)


async def claim_next(
    connection: Connection, station_id: str, epoch: int, now: datetime
) -> tuple[Command, ProfileFacts] | None:
    """Marks a station's oldest queued command as sent on its newest socket.

    Unless one is in flight. The socket is locked: a newer one waits, or has come and is seen.
    Returns it with the facts of the station's profile.
    """
    row = await connection.fetchrow(
        f"""
        select {_COMMAND}, {PROFILE_FACTS}
          from stations.claim_command($1, $2, $3) c
          join stations.stations s on s.id = c.station_id
          join stations.locations l on l.id = s.location_id
          left join stations.profiles p on p.station_id = s.id
        """,
        station_id,
        epoch,
        now,
    )
    if row is None:
        return None
    command = Command(**{name: row[name] for name in _FIELDS})
    return command, facts_of_row(row)


async def end_sent(
    connection: Connection, command_id: int, state: str, response: object, now: datetime
) -> Command | None:
    """Ends a command that was sent; None when it was not, or has an outcome already."""
    row = await connection.fetchrow(
        f"""
        update stations.commands c set state = $2, response = $3, ended_at = $4
         where c.id = $1 and (c.state = 'sent'
           or (c.state = 'timed_out' and c.sent_at is not null and $2 <> 'timed_out'))
        returning {_COMMAND}
        """,
        command_id,
        state,
        response,
        now,
    )
    return None if row is None else read_row(Command, row)


async def drop(connection: Connection, command_id: int, now: datetime) -> bool:
    """Ends a queued command as timed out; false when it is not queued."""
    dropped = await connection.fetchval(
        """
        update stations.commands set state = 'timed_out', ended_at = $2
         where id = $1 and state = 'queued' returning true
        """,
        command_id,
        now,
    )
    return dropped is True


async def time_out_in_flight(
    connection: Connection, station_id: str, now: datetime, *, epoch: int | None
) -> list[Command]:
    """Ends a station's command in flight as timed out, of one socket if it is named."""
    rows: list[Record] = await connection.fetch(
        f"""
        update stations.commands c set state = 'timed_out', ended_at = $2
         where c.station_id = $1 and c.state = 'sent' and ($3::bigint is null or c.epoch = $3)
        returning {_COMMAND}
        """,
        station_id,
        now,
        epoch,
    )
    return [read_row(Command, row) for row in rows]


async def expire(
    connection: Connection, station_id: str, now: datetime, at_most: int
) -> list[Command]:
    """Ends a station's queued commands that have expired."""
    rows: list[Record] = await connection.fetch(
        f"""
        update stations.commands c set state = 'timed_out', ended_at = $1
         where c.id in (
           select q.id from stations.commands q
            where q.state = 'queued' and q.expires_at <= $1
              and q.station_id = $3
            order by q.expires_at limit $2 for update skip locked)
        returning {_COMMAND}
        """,
        now,
        at_most,
        station_id,
    )
    return [read_row(Command, row) for row in rows]


async def time_out_lost(
    connection: Connection, station_id: str, now: datetime, sent_before: datetime, at_most: int
) -> list[Command]:
    """Ends a station's sent commands of closed connections, and old ones."""
    rows: list[Record] = await connection.fetch(
        f"""
        update stations.commands c set state = 'timed_out', ended_at = $1
         where c.id in (
           select q.id from stations.commands q
            where q.state = 'sent' and (q.sent_at < $2
              or exists (select from stations.connections o
                          where o.id = q.epoch and o.closed_at is not null))
              and q.station_id = $4
            order by q.id limit $3 for update skip locked)
        returning {_COMMAND}
        """,
        now,
        sent_before,
        at_most,
        station_id,
    )
    return [read_row(Command, row) for row in rows]


async def stations_to_end(
    connection: Connection, now: datetime, sent_before: datetime
) -> list[str]:
    """Returns which stations have commands that `expire` or `time_out_lost` would end."""
    rows: list[Record] = await connection.fetch(
        """
        select q.station_id from stations.commands q where q.state = 'queued' and q.expires_at <= $1
        union
        select q.station_id from stations.commands q
         where q.state = 'sent' and (q.sent_at < $2
           or exists (select from stations.connections o
                       where o.id = q.epoch and o.closed_at is not null))
         order by station_id
        """,
        now,
        sent_before,
    )
    return [row["station_id"] for row in rows]


async def stations_that_wait(connection: Connection, now: datetime) -> list[str]:
    """Returns which stations have a queued command and none in flight."""
    rows: list[Record] = await connection.fetch(
        """
        select distinct q.station_id from stations.commands q
         where q.state = 'queued' and q.expires_at > $1
           and not exists (
             select from stations.commands f where f.station_id = q.station_id and f.state = 'sent')
        """,
        now,
    )
    return [row["station_id"] for row in rows]


async def queued_connectors(
    connection: Connection, station_id: str, action: str, now: datetime
) -> set[int]:
    """Returns for which connectors a command of this kind is queued; 0: the station."""
    rows: list[Record] = await connection.fetch(
        """
        select coalesce(q.connector, 0) as connector from stations.commands q
         where q.station_id = $1 and q.state = 'queued' and q.action = $2 and q.expires_at > $3
        """,
        station_id,
        action,
        now,
    )
    return {row["connector"] for row in rows}


async def command_by_id(connection: Connection, command_id: int) -> Command | None:
    """Returns a command."""
    row = await connection.fetchrow(
        f"select {_COMMAND} from stations.commands c where c.id = $1", command_id
    )
    return None if row is None else read_row(Command, row)


async def latest(connection: Connection, station_id: str, limit: int) -> list[Command]:
    """Returns the latest commands of a station, the newest first."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {_COMMAND} from stations.commands c
         where c.station_id = $1 order by c.created_at desc, c.id desc limit $2
        """,
        station_id,
        limit,
    )
    return [read_row(Command, row) for row in rows]


async def newest_setting(connection: Connection, station_id: str, key: str) -> str | None:
    """Returns a key's value of the newest configuration that a station answered with."""
    return await connection.fetchval("select stations.newest_setting($1, $2)", station_id, key)


async def insert_refusals(
    connection: Connection, bulk_id: UUID, refusals: Sequence[BulkRefusal], now: datetime
) -> None:
    """Stores which stations of a bulk command were not asked, and why."""
    await connection.execute(
        """
        insert into stations.bulk_refusals (bulk_id, station, action, error, refused_at)
        select $1, r.station, r.action, r.error, $2
          from unnest($3::text[], $4::text[], $5::text[]) r (station, action, error)
            on conflict do nothing
        """,
        bulk_id,
        now,
        [refusal.station for refusal in refusals],
        [refusal.action for refusal in refusals],
        [refusal.error for refusal in refusals],
    )


async def refusals_of(connection: Connection, bulk_id: UUID) -> list[BulkRefusal]:
    """Returns which stations of a bulk command were not asked, by name."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {columns(BulkRefusal)} from stations.bulk_refusals
         where bulk_id = $1 order by station
        """,
        bulk_id,
    )
    return [read_row(BulkRefusal, row) for row in rows]
