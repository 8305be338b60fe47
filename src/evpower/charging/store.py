"""The SQL of charging."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, get_args
from uuid import UUID

from evpower.charging.model import STATE_OF, Bill, Order, ReportedSession, Session
from evpower.charging.store_status import SHOWN_COST_MINOR, SHOWN_ENERGY_WH
from evpower.foundation.db import Connection, Record, fetch_one
from evpower.foundation.rows import columns, read_row


async def insert_imported(connection: Connection, report: ReportedSession) -> bool:
    """Inserts a reported session; False: its id exists already.

    Waits for the commit of a concurrent insert of the same id. Raises
    asyncpg.ForeignKeyViolationError when there is no such client.
    """
    # No conflict target: with one, a concurrent insert of the same id could wait at the other
    # unique key with its row already in the first index, and the transaction it waits for would
    # wait for that row: a deadlock.
    inserted = await connection.fetchval(
        """
        insert into charging.sessions (id, client_id, station_id, connector_id, state, source,
          started_at, ended_at, energy_wh, cost_minor, billed_elsewhere, vehicle_plate)
        values ($1, $2, $3, $4, $5, 'import', $6, $7, $8, $9, $10, $11)
        on conflict do nothing returning true
        """,
        report.id,
        report.client_id,
        report.station_id,
        report.connector_id,
        STATE_OF[report.status],
        report.started_at,
        report.ended_at,
        report.energy_wh,
        report.cost_minor,
        report.billed,
        report.vehicle_plate,
    )
    return inserted is True


async def lock_session(connection: Connection, session_id: UUID) -> Session:
    """Returns the session, locked until the transaction ends."""
    row = await fetch_one(
        connection,
        f"select {columns(Session)} from charging.sessions where id = $1 for no key update",
        session_id,
    )
    return read_row(Session, row)


async def end_imported(connection: Connection, report: ReportedSession) -> None:
    """Stores the final facts of a session that was reported as running."""
    await connection.execute(
        """
        update charging.sessions set state = $2, ended_at = $3, energy_wh = $4, cost_minor = $5,
          billed_elsewhere = $6, vehicle_plate = coalesce($7, vehicle_plate) where id = $1
        """,
        report.id,
        STATE_OF[report.status],
        report.ended_at,
        report.energy_wh,
        report.cost_minor,
        report.billed,
        report.vehicle_plate,
    )


async def find_bill(connection: Connection, session_id: UUID) -> Bill | None:
    """Returns the first bill of a session; None: it has none."""
    row = await connection.fetchrow(
        """
        select id, due_minor, debited_minor from charging.settlements
         where session_id = $1 and bill_number = 1
        """,
        session_id,
    )
    return None if row is None else read_row(Bill, row)


def _z(column: str) -> str:
    """Returns SQL for a time as JSON, ISO 8601 in UTC ending in Z, at half the cost of to_char."""
    text = f"replace(({column} at time zone interval '0')::text, ' ', 'T')"
    return f"""coalesce('"' || {text} || 'Z"', 'null')"""


# One page as JSON text, keys as in Supabase charging_sessions, older names beside the newer ones.
# Built by concatenation: json_build_object costs twice as much. Aggregates read rows in the inner
# select's order; only a full page checks for a next row, by one probe of the same index. The
# progress of a session that runs is reached by its key; for others it is not looked for.
def _page(order_by: str, client_id: str, limit: str, before: str) -> str:
    return f"""
select convert_to('[' || coalesce(string_agg(
         '{{"id":"' || id
         || (select '","client_id":"' || {client_id} || '","user_id":"' || {client_id})
         || '","station_id":' || station || ',"connector_id":' || connector_id
         || ',"start_time":' || started || ',"end_time":' || ended || ',"stop_time":' || ended
         || ',"energy_consumed":' || energy || ',"energy":' || energy
         || ',"total_cost":' || cost || ',"amount":' || cost || parts || plate
         || ',"status":"' || status || '","created_at":' || {_z("created_at")}
         || '}}', ','), '') || ']', 'UTF8') as body,
       count(*) = {limit} and (
         select true from charging.sessions_public s
          where s.client_id = {client_id}
            and ({order_by}, s.id) < (min(page.place), (array_agg(page.id))[{limit}])
          order by {order_by} desc, s.id desc limit 1) is true as more,
       min(place) as last_place,
       (array_agg(id))[{limit}] as last_id,
       count(*) > 0 or exists (select from identity.clients_public where id = {client_id}) as known
  from (
    select id, to_json(station_id)::text as station, connector_id, status, created_at,
           {order_by} as place,
           {_z("start_time")} as started, {_z("ended_at")} as ended,
           (({SHOWN_ENERGY_WH}) * 0.001)::text as energy,
           (({SHOWN_COST_MINOR}) * 0.01)::text as cost,
           coalesce(',"vehicle_plate":' || to_json(vehicle_plate)::text, '') as plate,
           coalesce((select ',"cost_parts":' || d.parts::text from charging.cdrs d
                      where d.session_id = s.id order by d.settlement_id desc limit 1), '') as parts
      from charging.sessions_public s
      left join lateral (
        select p.session_id, p.energy_wh, p.cost_minor from charging.progress p
         where p.session_id = s.id and s.state in ('charging', 'stopping') limit 1) p on true
     cross join lateral (select p.session_id is not null as is_running) r
     where client_id = {client_id} and ({order_by}, id) < ({before})
     order by {order_by} desc, id desc
     limit {limit}) page
"""


# A session that has not begun is ordered by the time it was recorded. Each order has an index.
_PAGES: Final[dict[Order, str]] = {
    order: _page(f"s.{order}", "$1::uuid", "$2::bigint", "$3::timestamptz, $4::uuid")
    for order in get_args(Order)
}
_FIRST_PAGES: Final = f"""
select requested.place, listed.*
  from unnest($1::uuid[], $2::bigint[]) with ordinality as requested (client_id, size, place)
 cross join lateral ({
    _page("s.created_at", "requested.client_id", "requested.size", "$3::timestamptz, $4::uuid")
}) listed
"""


async def page(
    connection: Connection,
    client_id: UUID,
    order: Order,
    limit: int,
    before_at: datetime,
    before_id: UUID,
) -> Record:
    """Returns a page of sessions before a time and id, newest first by this order.

    Columns: body (JSON), more, last_place, last_id, known (the client exists).
    """
    return await fetch_one(connection, _PAGES[order], client_id, limit, before_at, before_id)


async def first_pages(
    connection: Connection,
    requested: Sequence[tuple[UUID, int]],
    before_at: datetime,
    before_id: UUID,
) -> list[Record]:
    """Returns what `page` returns for each client and limit, newest recorded first."""
    rows: list[Record] = await connection.fetch(
        _FIRST_PAGES,
        [client_id for client_id, _ in requested],
        [limit for _, limit in requested],
        before_at,
        before_id,
    )
    return sorted(rows, key=lambda row: row["place"])
