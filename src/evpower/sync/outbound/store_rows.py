"""SQL of outbox entries for the tables of an older backend."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, cast
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.sync.model import ROW_TOPICS, RowTopic

RowIds = dict[UUID, tuple[RowTopic, str]]

_STATIONS_OF: Final = """
select k.key, k.topic, k.id from sync.row_keys k
  join sync.pending p on p.topic = k.topic and p.key = k.key
 where k.topic = 'station' and k.id in (
   select s.station_id from charging.sessions_public s where s.id = any ($1::uuid[]))
"""


async def ids_of(connection: Connection, keys: Sequence[UUID]) -> RowIds:
    """Returns what the keys of outbox entries stand for: topic and id."""
    rows: list[Record] = await connection.fetch(
        "select key, topic, id from sync.row_keys where key = any ($1::uuid[])", keys
    )
    return {row["key"]: (cast("RowTopic", row["topic"]), row["id"]) for row in rows}


async def stations_of(connection: Connection, sessions: Sequence[UUID]) -> RowIds:
    """Returns the stations of sessions that Supabase may not have yet: they wait in the outbox."""
    rows: list[Record] = await connection.fetch(_STATIONS_OF, sessions)
    return {row["key"]: (cast("RowTopic", row["topic"]), row["id"]) for row in rows}


async def pending(connection: Connection, keys: Sequence[UUID]) -> set[str]:
    """Returns those of the keys that wait in the outbox."""
    rows: list[Record] = await connection.fetch(
        """
        select p.key::text as key from sync.pending p
         where p.topic = any ($2::text[]) and p.key = any ($1::uuid[]) and p.parked_at is null
        """,
        keys,
        sorted(ROW_TOPICS),
    )
    return {row["key"] for row in rows}


async def ids_with_prices(connection: Connection) -> list[tuple[RowTopic, str]]:
    """Returns topic and id of every location, station and tariff plan: a price may begin there."""
    rows: list[Record] = await connection.fetch(
        """
        select topic, id from sync.row_keys where topic in ('location', 'station', 'tariff')
        """
    )
    return [(cast("RowTopic", row["topic"]), row["id"]) for row in rows]


async def enqueue_all(connection: Connection) -> None:
    """Enqueues every location, station, tariff plan, tariff of a client, payment, transaction."""
    await connection.execute(
        """
        select sync.enqueue_ids(k.topic, array_agg(k.id)) from sync.row_keys k
         group by k.topic order by k.topic
        """
    )


async def stations_heard(connection: Connection, after: datetime) -> list[str]:
    """Returns the stations that sent a frame after a time."""
    rows: list[Record] = await connection.fetch(
        "select station_id from stations.sockets_public where last_frame_at > $1", after
    )
    return [row["station_id"] for row in rows]


async def enqueue_ids(connection: Connection, topic: RowTopic, ids: Sequence[str]) -> None:
    """Enqueues rows by their ids."""
    if ids:
        await connection.execute("select sync.enqueue_ids($1, $2)", topic, list(ids))
