"""Rows of charging in each state, every column filled that may be: for tests of CHECKs alone."""

from typing import Final
from uuid import UUID, uuid4

from evpower.foundation.db import Connection

# A session of this state: its start failure, start, end, end reason.
_SESSIONS: Final = {
    "requested": "null, null, null, null",
    "charging": "null, now(), null, null",
    "finished": "null, now(), now(), 'stopped_by_driver'",
    "failed": "'not_delivered', null, null, null",
}
_SESSION: Final = """
insert into charging.sessions (id, client_id, station_id, connector_id, state, source, started_by,
  id_tag, start_window_ends_at, stop_requested_at, stop_requested_by, quarantined_at,
  quarantine_reason, free_reason, start_failure, started_at, ended_at, end_reason)
values ($1, $2, 'S1', $3, $4, 'evpower', 'app', $5, now(), now(), 'driver', now(), 'a jump',
  'station_fault', {})
"""
_TRANSACTION: Final = """
insert into charging.transactions (station_id, connector, id_tag, purpose, session_id, started_at,
  received_at, ended_at, end_kind, start_key, technician_tag, limit_energy_wh)
values ('S1', 1, '', $1, $2, now(), now(), now(), 'stop', $1, $3, $4)
"""
_PROGRESS: Final = """
insert into charging.progress
  (transaction_id, session_id, close_due_at, close_reason, register, tally, stop_step, step_due_at)
values (1, $1, now(), 'next_start', '{}', '{}', 'unlock', now())
"""
_STEPS: Final = """
insert into charging.stop_steps
  (transaction_id, step, cause, command_id, base_wh, taken_at, outcome, ended_at, cleared_at)
values (1, 'zero_limit', 'energy_limit', 1, 5, now(), 'stopped', now(), now()),
       (1, 'unlock', 'energy_limit', 2, 5, now(), 'stopped', now(), null)
"""
_FREE: Final = """
insert into charging.free_periods
  (station_id, begins_at, ends_at, reason, actor, ended_at, ended_by)
values ('S1', now(), now() + interval '1 hour', 'the app is down', 'aida', now(), 'aida')
"""
# One that counts in its session, and one of no transaction.
_VALUES: Final = """
insert into charging.meter_values
  (received_at, at, priced_at, connector, transaction_id, station_id, session_wh, is_parked,
   is_timed)
values (now(), now(), now(), 1, 1, 'S1', 5, false, true),
       (now(), now(), null, 1, null, 'S1', null, null, null)
"""


async def fill_charging(owner: Connection, client: UUID) -> None:
    """Inserts them, without triggers and foreign keys."""
    await owner.execute("set session_replication_role = replica")
    for number, (state, facts) in enumerate(_SESSIONS.items(), 1):
        tag = f"{number:012X}"
        await owner.execute(_SESSION.format(facts), uuid4(), client, number, state, tag)
    await owner.execute(_TRANSACTION, "driver", uuid4(), None, None)
    await owner.execute(_TRANSACTION, "unattributed", None, None, None)
    await owner.execute(_TRANSACTION, "technician", None, "CARD", 5)
    await owner.execute(_PROGRESS, uuid4())
    await owner.execute(_VALUES)
    await owner.execute(_STEPS)
    await owner.execute(_FREE)
    await owner.execute("reset session_replication_role")
