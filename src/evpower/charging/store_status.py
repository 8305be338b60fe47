"""SQL of a session as it is shown while it runs and afterwards. It only reads, by keys.

What a running one costs is shown as it would be billed: at most the amount that its driver chose.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from evpower.charging.session_view import SessionView
from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import read_row

# Of a session s with its progress p, where r.is_running says whether that counts.
SHOWN_ENERGY_WH: Final = "case when r.is_running then p.energy_wh else s.energy_wh end"
SHOWN_COST_MINOR: Final = (
    "case when r.is_running then least(p.cost_minor, s.limit_amount_minor) else s.cost_minor end"
)
# Each joined row is reached by a key (lateral, limit 1), so that a plan made on empty tables stays
# good later.
_VIEW: Final = f"""
select s.id, s.client_id, s.station_id, s.connector_id, s.state, s.status, s.started_by,
       s.created_at, s.started_at, s.ended_at, s.updated_at,
       {SHOWN_ENERGY_WH} as energy_wh, {SHOWN_COST_MINOR} as cost_minor,
       case when r.is_running then s.revision + p.revision else s.revision end as revision,
       s.details, s.limit_energy_wh, s.limit_amount_minor, s.limit_soc_percent, s.start_failure,
       s.start_window_ends_at, s.end_reason, s.is_estimated, s.station_lost_notified_at,
       s.quarantined_at, b.charged_minor, h.amount_minor as held_minor,
       t.id as transaction_id, t.text_id as transaction_text_id, t.meter_start_wh, t.meter_stop_wh,
       p.power_w, p.soc_percent, p.current_ma, p.voltage_mv, p.ev_current_ma, p.ev_voltage_mv,
       p.body_temperature, p.outlet_temperature, p.inlet_temperature, p.register_wh,
       p.last_value_at, c.last_frame_at, f.snapshot::text as snapshot,
       case when r.is_running then p.parked_since end as parked_since,
       case when r.is_running then p.tally::text end as tally, d.parts::text as parts,
       d.billed_element
  from {{source}} s
  left join lateral (select * from wallet.holds_public h
                      where h.session_id = s.id order by h.attempt desc limit 1) h on true
  left join lateral (select * from charging.transactions t
                      where t.session_id = s.id limit 1) t on true
  left join lateral (select * from charging.progress p
                      where p.session_id = s.id limit 1) p on true
  left join lateral (select sum(b.debited_minor - b.refunded_minor)::bigint as charged_minor
                       from charging.settlements b where b.session_id = s.id) b on true
 cross join lateral (
   select p.session_id is not null and s.state in ('charging', 'stopping') as is_running) r
  left join lateral (select d.parts,
                            (jsonb_path_query_array(d.periods,
                               '$[*] ? (@.energy_kwh != "0").elements.energy'
                             ) -> -1)::int as billed_element
                       from charging.cdrs d
                      where d.session_id = s.id and not r.is_running
                      order by d.settlement_id desc limit 1) d on true
  left join lateral (select c.last_frame_at from stations.sockets_public c
                      where c.station_id = s.station_id limit 1) c on true
  left join lateral (select f.snapshot from charging.session_tariffs f
                      where f.session_id = s.id limit 1) f on true
"""
_BY_ID: Final = _VIEW.format(source="charging.sessions_public") + " where s.id = $1"
_ACTIVE: Final = (
    _VIEW.format(source="charging.sessions_public")
    + """
 where s.client_id = $1 and s.started_by is not null
   and s.state in ('requested', 'starting', 'charging', 'stopping')
 order by s.created_at desc, s.id desc limit 1
"""
)
_BY_IDS: Final = _VIEW.format(
    source="""(select s.* from unnest($1::uuid[]) as requested (id) cross join lateral
  (select * from charging.sessions_public s where s.id = requested.id offset 0) s)"""
)
_NEWEST: Final = _VIEW.format(
    source="""(select s.* from unnest($1::uuid[]) as requested (id) cross join lateral
  (select * from charging.sessions_public s where s.client_id = requested.id
    order by s.created_at desc, s.id desc limit $2) s)"""
)


async def find_view(connection: Connection, session_id: UUID) -> SessionView | None:
    """Returns a session by its id."""
    return _read(await connection.fetchrow(_BY_ID, session_id))


async def find_active(connection: Connection, client_id: UUID) -> SessionView | None:
    """Returns the newest session of a client that has not ended."""
    return _read(await connection.fetchrow(_ACTIVE, client_id))


async def views(connection: Connection, session_ids: Sequence[UUID]) -> list[SessionView]:
    """Returns sessions by their ids, in no order."""
    return [
        read_row(SessionView, row) for row in await connection.fetch(_BY_IDS, list(session_ids))
    ]


async def newest_views(
    connection: Connection, client_ids: Sequence[UUID], count: int
) -> list[SessionView]:
    """Returns the newest sessions of each client, in no order."""
    rows: list[Record] = await connection.fetch(_NEWEST, list(client_ids), count)
    return [read_row(SessionView, row) for row in rows]


def _read(row: Record | None) -> SessionView | None:
    return None if row is None else read_row(SessionView, row)
