"""A year of sessions, made in bulk by the database's owner: no trigger runs."""

from typing import Final

from evpower.foundation.db import Connection

_SESSIONS: Final = """
insert into charging.sessions
  (id, client_id, station_id, connector_id, state, source, started_by, started_at, ended_at,
   energy_wh, cost_minor, start_failure, end_reason, quarantined_at, quarantine_reason, created_at)
select gen_random_uuid(), c.id, 'EVP-' || lpad((g % $2 + 1)::text, 5, '0'), 1 + g / 20000,
       f.state, 'evpower',
       'card', case when f.failure is null then f.at end,
       case when f.state = 'settled' then f.at + interval '40 minutes' end, 20000, 27000,
       f.failure, case when f.state = 'settled' then f.reason end,
       case when g % 5000 = 7 then f.at end, case when g % 5000 = 7 then 'implausible_energy' end,
       f.at
  from generate_series(1, $1::int) g
  join bench.clients c on c.n = g % $3
 cross join lateral (
   select now() - g * interval '30 seconds' as at,
          case when g % 20000 = 11 then 'charging' when g % 50 = 13 then 'cancelled'
               when g % 5000 = 17 then 'expired' else 'settled' end as state,
          case when g % 20000 = 11 then null when g % 50 = 13 then 'cancelled_by_driver'
               when g % 5000 = 17 then 'not_plugged_in' end as failure,
          case when g % 2000 = 3 then 'no_frames' when g % 3 = 0 then 'ev_disconnected'
               else 'stopped_by_driver' end as reason) f
"""
_TRANSACTIONS: Final = """
insert into charging.transactions
  (station_id, connector, id_tag, purpose, session_id, meter_start_wh, started_at, received_at,
   meter_stop_wh, ended_at, end_kind, start_key)
select s.station_id, 1, 'CARD', 'driver', s.id, 1000, s.started_at, s.started_at, 21000,
       s.created_at, 'stop', s.id::text
  from charging.sessions s where s.started_at is not null
"""
_PROGRESS: Final = """
insert into charging.progress (transaction_id, session_id, register_wh, energy_wh, cost_minor)
select t.id, t.session_id, 21000, 20000, 27000 from charging.transactions t
"""


async def add_sessions(owner: Connection, count: int, stations: int, clients: int) -> None:
    """Sessions of one every 30 s, most of them settled, with transactions and progress."""
    await owner.execute("set session_replication_role = replica; set statement_timeout = 0")
    await owner.execute(_SESSIONS, count, stations, clients)
    await owner.execute(_TRANSACTIONS)
    await owner.execute(_PROGRESS)
    await owner.execute("set session_replication_role = origin")
    await owner.execute(
        "vacuum analyze charging.sessions, charging.transactions, charging.progress"
    )
