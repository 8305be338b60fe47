"""The SQL of the reports: what a day holds, from the public views of the slices below."""

from datetime import datetime
from typing import Final

from evpower.foundation.db import Connection
from evpower.foundation.rows import columns, read_row
from evpower.reports.model import BillsRow, MoneyRow, OnlineRow, ReportedStation, StatusRow

# The owner that a bill records; for a session of another system, that of the station now.
_OWNER: Final = """
  left join lateral (
    select c.settlement_id, c.station_owner from charging.cdrs_public c
     where c.session_id = b.session_id and c.settlement_id <= b.id
     order by c.settlement_id desc limit 1) c on true
  left join stations.stations_public st on st.id = s.station_id
"""
_OWNER_NAME: Final = """
  coalesce(case when c.settlement_id is null then st.owner else c.station_owner end, '')
"""
_DOWN: Final = "lower(l.status) in ('faulted', 'unavailable')"


async def money(connection: Connection, begins_at: datetime, ends_at: datetime) -> list[MoneyRow]:
    """Returns what the transactions of this time charged and gave back, by station and owner."""
    rows = await connection.fetch(
        f"""
        select {columns(MoneyRow)} from (
          select s.station_id, {_OWNER_NAME} as owner,
                 coalesce(sum(-t.amount_minor) filter (where t.kind = 'charge'), 0)::bigint
                   as charged_minor,
                 coalesce(sum(-t.amount_minor)
                   filter (where t.kind = 'charge' and b.bill_number is null), 0)::bigint
                   as debts_collected_minor,
                 coalesce(sum(t.amount_minor) filter (where t.kind = 'refund'), 0)::bigint
                   as refunded_minor
            from wallet.transactions_public t
            join charging.settlements_public b on b.id = t.settlement_id
            join charging.sessions_public s on s.id = b.session_id
            {_OWNER}
           where t.created_at >= $1 and t.created_at < $2
           group by 1, 2) sums
         order by station_id, owner
        """,
        begins_at,
        ends_at,
    )
    return [read_row(MoneyRow, row) for row in rows]


async def bills(connection: Connection, begins_at: datetime, ends_at: datetime) -> list[BillsRow]:
    """Returns the energy of the bills of this time, and how many sessions were billed first.

    A later bill adds what its energy is more, or less, than that of the bill before.
    """
    rows = await connection.fetch(
        f"""
        select {columns(BillsRow)} from (
          select s.station_id, {_OWNER_NAME} as owner,
                 sum(b.energy_wh - coalesce(before.energy_wh, 0))::bigint as energy_wh,
                 count(*) filter (where b.bill_number = 1) as sessions,
                 count(*) filter (where b.bill_number = 1 and b.total_minor = 0) as free_sessions
            from charging.settlements_public b
            join charging.sessions_public s on s.id = b.session_id
            left join charging.settlements_public before
              on before.session_id = b.session_id and before.bill_number = b.bill_number - 1
            {_OWNER}
           where b.created_at >= $1 and b.created_at < $2 and b.bill_number is not null
           group by 1, 2) sums
         order by station_id, owner
        """,
        begins_at,
        ends_at,
    )
    return [read_row(BillsRow, row) for row in rows]


async def quarantined(
    connection: Connection, begins_at: datetime, ends_at: datetime
) -> dict[str, int]:
    """Returns how many sessions of each station were quarantined in this time, decided or not."""
    rows = await connection.fetch(
        """
        select s.station_id, count(distinct s.id) as number
          from alerts.alerts_public a
          join charging.sessions_public s
            on s.id = case when a.subject ~ '^[0-9a-f-]{36}$' then a.subject::uuid end
         where a.kind = 'session_quarantined' and a.opened_at >= $1 and a.opened_at < $2
         group by s.station_id
        """,
        begins_at,
        ends_at,
    )
    return {row["station_id"]: row["number"] for row in rows}


async def stations(
    connection: Connection, begins_at: datetime, ends_at: datetime
) -> list[ReportedStation]:
    """Returns the stations that there were in this time, with their connectors."""
    rows = await connection.fetch(
        f"""
        select {columns(ReportedStation)} from (
          select s.id, s.location_id, l.name as location_name, coalesce(s.owner, '') as owner,
                 array (select c.number from stations.connectors_public c
                         where c.station_id = s.id order by c.number) as connectors,
                 s.created_at, s.retired_at
            from stations.stations_public s
            join stations.locations_public l on l.id = s.location_id
           where s.created_at < $2 and (s.retired_at is null or s.retired_at > $1)) facts
         order by id
        """,
        begins_at,
        ends_at,
    )
    return [read_row(ReportedStation, row) for row in rows]


async def online(
    connection: Connection, begins_at: datetime, ends_at: datetime, silent_before: datetime
) -> list[OnlineRow]:
    """Returns when stations were connected, cut to this time.

    An open connection whose last frame came before `silent_before` ended with that frame.
    """
    rows = await connection.fetch(
        f"""
        select {columns(OnlineRow)} from (
          select c.station_id, greatest(c.opened_at, $1) as begins_at,
                 least(c.closed_at, $2, case when c.closed_at is null and o.last_frame_at < $3
                                             then o.last_frame_at end) as ends_at
            from stations.connections_public c
            left join stations.sockets_public o on o.station_id = c.station_id and o.epoch = c.id
           where c.opened_at < $2 and (c.closed_at is null or c.closed_at > $1)) cut
         where ends_at > begins_at order by station_id, begins_at
        """,
        begins_at,
        ends_at,
        silent_before,
    )
    return [read_row(OnlineRow, row) for row in rows]


async def statuses(
    connection: Connection, begins_at: datetime, ends_at: datetime
) -> list[StatusRow]:
    """Returns the statuses of this time, and of each connector the last one before it."""
    rows = await connection.fetch(
        f"""
        select {columns(StatusRow)} from (
          select l.station_id, l.connector, {_DOWN} as is_down, l.received_at as at, l.id
            from stations.status_log_public l
           where l.received_at >= $1 and l.received_at < $2 and l.is_applied
          union all
          select place.station_id, place.connector, last.is_down, last.at, last.id
            from (select c.station_id, c.number as connector from stations.connectors_public c
                  union all select s.id, 0 from stations.stations_public s) place
            cross join lateral (
              select {_DOWN} as is_down, l.received_at as at, l.id
                from stations.status_log_public l
               where l.station_id = place.station_id and l.connector = place.connector
                 and l.received_at < $1 and l.is_applied
               order by l.received_at desc, l.id desc limit 1) last) logged
         order by at, id
        """,
        begins_at,
        ends_at,
    )
    return [read_row(StatusRow, row) for row in rows]
