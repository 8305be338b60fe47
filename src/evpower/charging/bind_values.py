"""Finds the transaction that meter values are of, whatever id they have."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from evpower.charging import store_running as store
from evpower.charging.bind import LATE, as_ours, is_unhandled, known_id, known_name
from evpower.charging.events import StationReadings
from evpower.charging.model import StationTransaction
from evpower.charging.our_time import our_time
from evpower.charging.register import FOLLOWING, MeterRegister, for_progress, observe, point
from evpower.charging.running import RunningTransaction, bounded
from evpower.charging.steps import drop_ambiguous_stops
from evpower.charging.store_transactions import add_alias, stop_came_at
from evpower.foundation.db import Connection

_STILL_COMING: Final = timedelta(hours=1)  # values without an id after the end


async def bind_values(connection: Connection, event: StationReadings) -> RunningTransaction | None:
    """Returns the transaction that meter values belong to; None: none.

    A station may call several by one id: then the connector says which.
    """
    number, name = known_id(event.transaction_id), known_name(event.text_id)
    alias = name if name is not None else None if number is None else str(number)
    named: list[StationTransaction] = []
    if alias is not None:
        named = await store.find_named(connection, event.station_id, as_ours(number), alias)
    running = [transaction for transaction in named if transaction.ended_at is None]
    for transaction in running:
        if transaction.id == number or transaction.connector == event.connector:
            return await store.load(connection, transaction.id)
    if not named and await is_unhandled(connection, event.station_id, number):
        return None
    here = await _open_here(connection, event)
    if here is not None:
        candidate = await store.load(connection, here.id)
        if not named or _fits(candidate.progress.register, candidate, event):
            if alias is not None:
                await add_alias(connection, event.station_id, alias, here.id, event.received_at)
                await drop_ambiguous_stops(connection, event.station_id, event.received_at)
            return candidate
    if here is None and named:
        meant = await _ended_here(connection, event, named) or (running or named)[0]
        return await store.load(connection, meant.id)
    if running:
        return await store.load(connection, running[0].id)
    return None if named else await _just_ended(connection, event)


async def _ended_here(
    connection: Connection, event: StationReadings, named: Sequence[StationTransaction]
) -> StationTransaction | None:
    """Returns the ended transaction that values are of; None: none with their id was here.

    Several may have the id: the values are of none on another connector. By our own number it is
    that transaction, else the newest here, as its values may have had no id.
    """
    own = [transaction for transaction in named if transaction.connector == event.connector]
    number = known_id(event.transaction_id)
    ours = [transaction for transaction in own if transaction.id == number]
    if ours or not own:
        return ours[0] if ours else None
    return await _newest_ended(connection, event) or own[0]


async def _open_here(connection: Connection, event: StationReadings) -> StationTransaction | None:
    """Returns the open transaction on a connector; on connector 0 the only one of the station."""
    opened = await store.find_open(connection, event.station_id)
    if event.connector == 0 and len(opened) == 1:
        return opened[0]
    return next((item for item in opened if item.connector == event.connector), None)


async def _just_ended(connection: Connection, event: StationReadings) -> RunningTransaction | None:
    """Returns the last transaction on the connector if its values may still be coming."""
    transaction = await _newest_ended(connection, event)
    if transaction is None:
        return None
    running = await store.load(connection, transaction.id)
    came_at = await stop_came_at(connection, transaction)
    newest_at = max(came_at, running.progress.last_value_at or came_at)
    return running if event.received_at - newest_at <= _STILL_COMING else None


async def _newest_ended(
    connection: Connection, event: StationReadings
) -> StationTransaction | None:
    """Returns the newest transaction on the connector that has ended."""
    since = event.received_at - LATE
    ended = await store.find_ended(connection, event.station_id, since)
    return next((item for item in ended if item.connector == event.connector), None)


def _fits(register: MeterRegister, running: RunningTransaction, event: StationReadings) -> bool:
    """Returns whether the first energy value is one that the register can have reached."""
    for reading in for_progress(event.readings):
        if reading.energy_wh is not None:
            at = our_time(reading.time, event.received_at, running.transaction, running.skew_s)
            register = bounded(register, running.transaction, at, event.received_at)
            value = point(reading.energy_wh, reading.time, event.received_at, reading.resolution_wh)
            return observe(register, value, running.rated_power_w).outcome in FOLLOWING
    return True
