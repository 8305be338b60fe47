"""Background jobs of charging: starts that did not come, barred clients, what is over or old."""

from datetime import datetime, timedelta
from typing import Final

from evpower import stations
from evpower.charging import (
    free_period,
    store_free,
    store_meters,
    store_sessions,
    store_transactions,
)
from evpower.charging.request_stop import StopRequest, request_stop
from evpower.charging.rules import REMOTE_START_EXPIRES_IN, Rules
from evpower.charging.unstarted import expire_start, give_up_undelivered
from evpower.foundation.bus import Bus
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.loops import AT_ONCE, Loop, Pause, Round

START_POLL_S: Final = 2.0
ASK_AFTER: Final = timedelta(minutes=2)  # of no meter value; most send one each minute
_ASK_UNTIL: Final = timedelta(minutes=10)
UNHANDLED_STARTS_STAY: Final = timedelta(days=400)  # no stop comes so late
_BATCH: Final = 100


def start_windows_loop(
    db: Database, bus: Bus, clock: Clock, rules: Rules, *, poll_s: float = START_POLL_S
) -> Loop:
    """Returns the loop that gives up overdue starts, and ends what is over or barred."""

    async def work(_: Round) -> Pause | None:
        await give_up_undelivered_starts(db, bus, clock)
        expired = await expire_starts(db, bus, clock)
        stopped = await stop_barred(db, bus, clock, rules)
        await end_free_periods(db, bus, clock)
        return AT_ONCE if max(expired, stopped) >= _BATCH else None

    return Loop("charging_starts", work, period_s=poll_s)


async def give_up_undelivered_starts(db: Database, bus: Bus, clock: Clock) -> None:
    """Ends sessions whose station was not reached while their remote start could be sent."""
    async with db.connection() as connection:
        waiting = await store_sessions.undelivered_starts(
            connection, clock() - REMOTE_START_EXPIRES_IN, _BATCH
        )
    for session_id, station_id in waiting:
        async with db.transaction() as connection:
            changes = await give_up_undelivered(connection, session_id, station_id, clock())
        changes.publish(bus)


async def expire_starts(db: Database, bus: Bus, clock: Clock) -> int:
    """Ends sessions whose start window is over; returns how many were due."""
    async with db.connection() as connection:
        overdue = await store_sessions.overdue_starts(connection, clock(), _BATCH)
    for session_id, station_id in overdue:
        async with db.transaction() as connection:
            changes = await expire_start(connection, session_id, station_id, clock())
        changes.publish(bus)
    return len(overdue)


async def stop_barred(db: Database, bus: Bus, clock: Clock, rules: Rules) -> int:
    """Stops sessions whose client was blocked, closed or asked for deletion; returns how many."""
    async with db.connection() as connection:
        barred = await store_sessions.running_of_barred(connection, clock(), _BATCH)
    for session_id, reason in barred:
        request = StopRequest(session_id, None, "evpower", reason)
        async with db.transaction() as connection:
            stopped = await request_stop(connection, request, now=clock(), rules=rules)
        stopped.changes.publish(bus)
    return len(barred)


async def end_free_periods(db: Database, bus: Bus, clock: Clock) -> None:
    """Ends the times in which stations were free, once they are over."""
    async with db.connection() as connection:
        overdue = await store_free.overdue(connection, clock(), _BATCH)
    for station_id in overdue:
        async with db.transaction() as connection:
            changes = await free_period.end_overdue(connection, station_id, clock())
        changes.publish(bus)


async def purge_unhandled_starts(connection: Connection, now: datetime, at_most: int) -> int:
    """Deletes starts that could not be handled, after 400 days. Returns how many."""
    return await store_transactions.delete_unhandled_starts(
        connection, now - UNHANDLED_STARTS_STAY, at_most
    )


async def ask_for_values(db: Database, bus: Bus, clock: Clock) -> None:
    """Asks stations for the meter values of charges of which none came for a while.

    After some more minutes without one the answers are of no use: then it is let be.
    """
    now = clock()
    async with db.connection() as connection:
        silent = await store_meters.silent_transactions(
            connection,
            now,
            values_before=now - ASK_AFTER,
            values_since=now - _ASK_UNTIL,
            heard_since=now - stations.ONLINE_FOR,
            limit=_BATCH,
        )
    for station_id, connector in silent:
        async with db.transaction() as connection:
            command = await stations.ask_for_values(
                connection, station_id, connector, every=ASK_AFTER, now=clock()
            )
        if command is not None:
            bus.publish(stations.STATION_CHANGED, stations.station_key(station_id))
