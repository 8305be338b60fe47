"""Takes the status of a connector: it may say that a car takes nothing, or that all is over.

A status ends nothing by itself: it starts or clears a wait, and meter values and stops come first.
"""

from datetime import datetime
from typing import Final

from evpower import stations
from evpower.charging import store_running as store
from evpower.charging.clocks import learn_from_status
from evpower.charging.events import Changes, StationStatus, StationTime, register_read
from evpower.charging.keep_limits import keep_limits
from evpower.charging.our_time import our_time
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.charging.running import Progress, RunningTransaction, StoredValue, count_until
from evpower.charging.steps import free_connector
from evpower.charging.waits import without_wait
from evpower.foundation.db import Connection

_PARKED: Final = "suspended_ev"  # a pause that the station makes is charging time
# The car takes energy, or the station is why it does not.
_FLOWS: Final = frozenset({"charging", "suspended_evse", "faulted"})
_OVER: Final = "available"
_NO_TIME: Final = StationTime(None, None)


async def status_reported(
    connection: Connection, event: StationStatus, *, now: datetime, rules: Rules = DEFAULT_RULES
) -> Changes:
    """Applies a status to the transaction on its connector.

    One that is history, or of the station as a whole, does nothing.
    """
    if event.is_history or event.connector == 0:
        return Changes()
    await stations.lock_station(connection, event.station_id)
    await learn_from_status(connection, event)
    opened = [
        transaction
        for transaction in await store.find_open(connection, event.station_id)
        if transaction.connector == event.connector
    ]
    if not opened:
        return await _after_end(connection, event, now=now, rules=rules)
    running = await store.load(connection, opened[0].id)
    progress = _close_due(running, event.status, now, rules)
    at = our_time(event.time, event.received_at, running.transaction, running.skew_s)
    begins_parking = event.status == _PARKED and progress.parked_since is None
    if begins_parking or (event.status in _FLOWS and progress.parked_since is not None):
        progress, sample = count_until(running.replace(progress=progress), at)
        if begins_parking:
            facts = progress.facts._replace(power_w=0)
            progress = progress.replace(parked_since=at, facts=facts)
        else:
            progress = progress.replace(parked_since=None, flowed_at=event.received_at)
        await store.insert_values(
            connection, event, event.connector, running.transaction.id,
            [StoredValue(register_read(f"Status.{event.status}", _NO_TIME, None), None, sample)],
        )  # fmt: skip
    changes = Changes()
    if progress != running.progress:
        running = running.replace(progress=progress)
        changes = await keep_limits(connection, running, is_flowing=False, now=now, rules=rules)
    if event.status == _OVER:
        changes.notes.add("available_before_stop")
    return changes


async def _after_end(
    connection: Connection, event: StationStatus, *, now: datetime, rules: Rules
) -> Changes:
    if event.status != _OVER:
        return Changes()
    return await free_connector(connection, event.station_id, event.connector, rules=rules, now=now)


def _close_due(running: RunningTransaction, status: str, now: datetime, rules: Rules) -> Progress:
    """Returns the progress with the wait that a status begins or ends."""
    progress = running.progress
    if status == _OVER:
        due_at = now + rules.close_after_available
        if progress.close_due_at is not None and progress.close_due_at <= due_at:
            return progress
        return progress.replace(close_due_at=due_at, close_reason="became_available")
    if progress.close_reason != "became_available":
        return progress
    return without_wait(running, rules)
