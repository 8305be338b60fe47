"""SQL of what stations report: boots, statuses, deviations."""

from datetime import datetime
from typing import Final

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import columns, read_row
from evpower.stations.model import Deviation, StatusEntry, StatusReport

_ENTRY: Final = columns(StatusEntry, "l")
_STAMPS_COMPARED: Final = 1_000  # with those of so many statuses of the station


async def set_boot(
    connection: Connection,
    station_id: str,
    vendor: str | None,
    model: str | None,
    firmware: str | None,
    now: datetime,
) -> None:
    """Stores a boot, and forgets the newest stamps of statuses.

    What it does not say stays as it was; the firmware only while vendor and model do.
    """
    await connection.execute(
        """
        update stations.stations
           set vendor = coalesce($2, vendor), model = coalesce($3, model),
               firmware = case
                 when coalesce($2, vendor) is distinct from vendor
                   or coalesce($3, model) is distinct from model then $4
                 else coalesce($4, firmware) end,
               booted_at = $5, status_stamp_at = null
         where id = $1
        """,
        station_id,
        vendor,
        model,
        firmware,
        now,
    )
    await connection.execute(
        """
        update stations.connectors set status_stamp_at = null
         where station_id = $1 and status_stamp_at is not null
        """,
        station_id,
    )


async def insert_status(connection: Connection, report: StatusReport, *, is_applied: bool) -> None:
    """Logs a status; one that is not applied says nothing of the present."""
    await connection.execute(
        """
        insert into stations.status_log
          (station_id, connector, status, error, info, station_time, station_at, received_at,
           is_applied)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        report.station_id,
        report.connector,
        report.status,
        report.error,
        report.info,
        report.station_time,
        report.station_at,
        report.received_at,
        is_applied,
    )


async def set_connector_status(
    connection: Connection, report: StatusReport, stamp: datetime | None
) -> bool:
    """Stores the present status of a connector; false: it is history, or there is no connector.

    `reported_at` stays while status and error do. One that works later than the station said to be
    out of order as a whole says that this is over.
    """
    stored = await connection.fetchval(
        """
        with stored as (
          update stations.connectors
             set reported_status = $3, reported_error = $4,
                 reported_at = case
                   when (reported_status, reported_error) is distinct from ($3, $4) then $5
                   else reported_at end,
                 status_stamp_at = coalesce($6, status_stamp_at)
           where station_id = $1 and number = $2
             and ($6::timestamptz is null or status_stamp_at is null or status_stamp_at <= $6)
          returning true),
        works as (
          update stations.stations set reported_availability = 'operative'
           where id = $1 and reported_availability = 'inoperative'
             and $3 not in ('unavailable', 'faulted') and exists (select from stored)
             and status_stamp_at < $6::timestamptz - interval '2 minutes')
        select true from stored
        """,
        report.station_id,
        report.connector,
        report.status,
        report.error,
        report.received_at,
        stamp,
    )
    return stored is True


async def set_station_status(
    connection: Connection, station_id: str, availability: str, stamp: datetime | None
) -> bool:
    """Stores what a station reports of itself as a whole; false: it is history.

    So is that it is out of order where one of its connectors works later.
    """
    stored = await connection.fetchval(
        """
        update stations.stations
           set reported_availability = $2, status_stamp_at = coalesce($3, status_stamp_at)
         where id = $1
           and ($3::timestamptz is null or status_stamp_at is null or status_stamp_at <= $3)
           and not ($2 = 'inoperative' and exists (
             select from stations.connectors c
              where c.station_id = $1 and c.reported_status not in ('unavailable', 'faulted')
                and c.status_stamp_at > $3::timestamptz + interval '2 minutes'))
        returning true
        """,
        station_id,
        availability,
        stamp,
    )
    return stored is True


async def add_deviation(connection: Connection, deviation: Deviation) -> None:
    """Adds to the count of one kind of deviation of a station."""
    await connection.execute(
        """
        insert into stations.deviations as d
          (station_id, kind, count, sample, first_seen_at, last_seen_at)
        values ($1, $2, $3, $4, $5, $5)
        on conflict (station_id, kind) do update
           set count = d.count + excluded.count, sample = coalesce(excluded.sample, d.sample),
               last_seen_at = greatest(d.last_seen_at, excluded.last_seen_at)
        """,
        deviation.station_id,
        deviation.kind,
        deviation.count,
        deviation.sample,
        deviation.at,
    )


async def was_stamp_reported(
    connection: Connection, station_id: str, connector: int, station_time: str, before: datetime
) -> bool:
    """Returns whether one of the latest statuses of a station is of a connector and has a stamp."""
    return await connection.fetchval(
        """
        select exists (select from (
            select l.connector, l.station_time from stations.status_log l
             where l.station_id = $1 and l.received_at < $4
             order by l.received_at desc, l.id desc limit $5) x
          where x.connector = $2 and x.station_time = $3)
        """,
        station_id,
        connector,
        station_time,
        before,
        _STAMPS_COMPARED,
    )


async def latest_statuses(connection: Connection, station_id: str, limit: int) -> list[StatusEntry]:
    """Returns the latest statuses of a station, the newest first."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {_ENTRY} from stations.status_log l
         where l.station_id = $1 order by l.received_at desc, l.id desc limit $2
        """,
        station_id,
        limit,
    )
    return [read_row(StatusEntry, row) for row in rows]
