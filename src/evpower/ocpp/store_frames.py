"""SQL that reads stored raw frames."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from evpower.foundation.db import Connection, Record


class SessionTimes(NamedTuple):
    """Where and when a session ran."""

    station_id: str
    created_at: datetime
    ended_at: datetime | None


async def session_times(connection: Connection, session_id: UUID) -> SessionTimes | None:
    """Returns where and when a session ran."""
    row = await connection.fetchrow(
        """
        select s.station_id, least(s.created_at, s.start_time) as created_at,
               case when s.status <> 'started' then coalesce(s.ended_at, s.updated_at) end
                 as ended_at
          from charging.sessions_public s where s.id = $1
        """,
        session_id,
    )
    return None if row is None else SessionTimes(**dict(row))


async def quarantined_frames(
    connection: Connection,
    session_id: UUID,
    since: datetime,
    until: datetime,
    *,
    action: str | None,
    direction: str | None,
    limit: int,
) -> Sequence[Record]:
    """Returns the frames that were copied for a session in quarantine, oldest first."""
    return await connection.fetch(
        """
        select f.received_at, f.direction, f.message_type, f.message_id, f.action, f.frame
          from ocpp.quarantined_frames f
         where f.session_id = $1 and f.received_at >= $2 and f.received_at < $3
           and ($4::text is null or f.direction = $4)
           and ($5::text is null or lower(f.action) = lower($5))
         order by f.received_at, f.message_type limit $6
        """,
        session_id,
        since,
        until,
        direction,
        action,
        limit,
    )


async def frames_between(
    connection: Connection,
    station_id: str,
    since: datetime,
    until: datetime,
    *,
    action: str | None,
    direction: str | None,
    limit: int,
) -> Sequence[Record]:
    """Returns a station's frames of a time, oldest first.

    A reply to one of our calls is stored without an action: that of the call within the hour
    before it counts.
    """
    return await connection.fetch(
        """
        select f.received_at, f.direction, f.message_type, f.message_id,
               coalesce(f.action, c.action) as action, f.frame
          from ocpp.frames f
          left join lateral (
            select c.action from ocpp.frames c
             where c.station_id = f.station_id and c.message_id = f.message_id
               and c.direction <> f.direction and c.action is not null and f.action is null
               and c.received_at between f.received_at - interval '1 hour' and f.received_at
             order by c.received_at desc limit 1
          ) c on f.action is null
         where f.station_id = $1 and f.received_at >= $2 and f.received_at < $3
           and ($4::text is null or f.direction = $4)
           and ($5::text is null or lower(coalesce(f.action, c.action)) = lower($5))
         order by f.received_at, f.message_type limit $6
        """,
        station_id,
        since,
        until,
        direction,
        action,
        limit,
    )
