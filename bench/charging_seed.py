"""Stations that are online, and a client charging at each, made in bulk by the database's owner."""

import json
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.tariffs import Snapshot, read_tariff, write_snapshot

_TARIFF: Final = {"name": "Usual", "elements": [{"prices": {"energy_per_kwh": "13.50"}}]}
_STATIONS: Final = """
with made as (
  select 'EVP-' || lpad(g::text, 5, '0') as id, lpad(g::text, 8, '0') as code,
         'place-' || (g % $2) as place
    from generate_series(1, $1::int) g
), places as (
  insert into stations.locations (id, name, address, city, latitude, longitude)
  select 'place-' || g, 'Place ' || g, 'Chui ' || g || ', Бишкек', 'Бишкек',
         42.8 + g * 0.001, 74.5 + g * 0.001
    from generate_series(0, $2::int - 1) g
), stations as (
  insert into stations.stations (id, id_key, post_code, location_id, no_auth, is_simulated)
  select id, lower(id), code, place, true, true from made
), names as (
  insert into stations.names (key, name, kind, station_id)
  select lower(id), id, 'ocpp', id from made union all select code, code, 'post_code', id from made
), evses as (
  insert into stations.evses (station_id, number) select id, n from made, generate_series(1, 2) n
), connectors as (
  insert into stations.connectors (station_id, number, evse_number, standard, format, power_type,
                                   rated_power_w, reported_status, reported_at)
  select id, n, n, 'IEC_62196_T2_COMBO', 'CABLE', 'DC', 60000,
         case n when 1 then 'charging' else 'available' end, now()
    from made, generate_series(1, 2) n
), opened as (
  insert into stations.connections (station_id, address, version, is_authenticated)
  select id, '10.0.0.1', 'ocpp1.6', false from made returning id, station_id
) insert into stations.sockets (station_id, epoch, node, last_frame_at)
  select station_id, id, 'bench', now() + interval '1 hour' from opened
"""
_TARIFFS: Final = """
with plan as (
  insert into tariffs.plans (code, last_version) values ('usual', 1) returning id
), version as (
  insert into tariffs.versions (plan_id, number, format, document, valid_from, actor)
  select id, 1, 1, $1::text::jsonb, now() - interval '1 day', 'bench' from plan
) insert into tariffs.assignments (scope, scope_id, plan_id, valid_from, actor)
  select 'everything', '', id, now() - interval '1 day', 'bench' from plan
"""
_SESSIONS: Final = """
with numbered as (
  select c.id as client, 'EVP-' || lpad((c.n + 1)::text, 5, '0') as station, gen_random_uuid() as id
    from bench.clients c where c.n < $1
), sessions as (
  insert into charging.sessions (id, client_id, station_id, connector_id, state, source, started_at,
                                 started_by, limit_energy_wh, created_at)
  select id, client, station, 1, 'charging', 'evpower', now() - interval '20 minutes', 'card',
         20000, now() - interval '21 minutes' from numbered
), tariffs as (
  insert into charging.session_tariffs (session_id, plan, version, snapshot)
  select id, 'usual', 1, $2::text::jsonb from numbered
), transactions as (
  insert into charging.transactions (station_id, connector, id_tag, purpose, session_id,
                                     meter_start_wh, started_at, received_at, start_key)
  select station, 1, 'CARD', 'driver', id, 1000, now() - interval '20 minutes', now(), id::text
    from numbered returning id, session_id
), progress as (
  insert into charging.progress (transaction_id, session_id, register_wh, energy_wh, cost_minor,
                                 power_w, soc_percent, current_ma, voltage_mv, last_value_at)
  select id, session_id, 8250, 7250, 9788, 21900, 55, 54000, 401000, now() from transactions
) select client, id from numbered
"""


async def add_stations(owner: Connection, count: int, places: int) -> None:
    """Stations with two connectors each, one of them in use, and a tariff for all."""
    await owner.execute(_STATIONS, count, places)
    await owner.execute(_TARIFFS, json.dumps(_TARIFF))


async def add_charging(owner: Connection, count: int) -> dict[UUID, UUID]:
    """Lets the first clients charge; returns their sessions by client."""
    snapshot = write_snapshot(Snapshot("usual", 1, read_tariff(_TARIFF)))
    rows = await owner.fetch(_SESSIONS, count, json.dumps(snapshot))
    return {row["client"]: row["id"] for row in rows}
