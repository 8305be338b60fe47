"""Learns how far a station's clock is off, from values and statuses sent while they are new."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from evpower import stations
from evpower.charging import store_clocks
from evpower.charging import store_transactions as store
from evpower.charging.events import StationReadings, StationStatus
from evpower.charging.model import StationTransaction
from evpower.charging.our_time import SKEW_LIMIT, shift_of
from evpower.charging.running import RunningTransaction
from evpower.foundation.db import Connection

_PERIODIC: Final = frozenset({"Sample.Periodic", "Sample.Clock", ""})
_PACE_S: Final = 10.0  # by so much may the ways of two frames differ
_LEAST_S: Final = 5.0  # between two frames that say something,
_LEAST_STATUS_S: Final = 60.0  # where either of them is a status


async def learn_clock(
    connection: Connection, running: RunningTransaction, event: StationReadings
) -> RunningTransaction:
    """Compares the newest stamp of a frame with the one before, unless the clock is right.

    Returns the transaction with what is known now. Starts and stops teach nothing: a station
    repeats them for hours. A queue that is replayed comes faster than its stamps.
    """
    stamps = [
        reading.time.at
        for reading in event.readings
        if reading.context in _PERIODIC and reading.time.at is not None
    ]
    newest = max(stamps, default=None)
    if newest is not None and not _agrees(newest, event.received_at, running.skew_s):
        skew_s = await _compare(
            connection, event.station_id, newest, event.received_at, is_status=False
        )
        if skew_s != running.skew_s:
            running = running.replace(skew_s=skew_s)
            await keep_start_offsets(connection, event.station_id, skew_s)
    if not running.skew_s:
        return running
    transaction = await _keep_start_offset(connection, running.transaction, running.skew_s)
    return running.replace(transaction=transaction)


async def keep_start_offsets(connection: Connection, station_id: str, skew_s: int | None) -> None:
    """Stores by how much the starts of a station's transactions are moved.

    That is known as long as the clock is: a session stands on one line, however the clock is set.
    """
    if skew_s:
        for transaction in await store.open_of_station(connection, station_id):
            await _keep_start_offset(connection, transaction, skew_s)


async def forget_clock(connection: Connection, station_id: str) -> None:
    """Forgets how far a station's clock is off, but not where its transactions began by it."""
    skew_s = await store_clocks.skew_of(connection, station_id)
    await keep_start_offsets(connection, station_id, skew_s)
    await store_clocks.forget_clock(connection, station_id)


async def _keep_start_offset(
    connection: Connection, transaction: StationTransaction, skew_s: int
) -> StationTransaction:
    """Stores by how much a start is moved, where that is more than clocks may be off."""
    if transaction.start_shift_s is not None:
        return transaction
    shift = shift_of(transaction, skew_s)
    if abs(shift) <= SKEW_LIMIT:
        return transaction
    shift_s = round(shift.total_seconds())
    await store.set_start_shift(connection, transaction.id, shift_s)
    return replace(transaction, start_shift_s=shift_s)


async def learn_from_status(connection: Connection, event: StationStatus) -> None:
    """Compares the stamp of a status with that of the frame before, unless the clock is right.

    A station may send the statuses of its connectors again with the stamps of their changes, at the
    pace of before: a stamp that came before says nothing, nor do two within a minute.
    """
    stamp, raw = event.time
    if stamp is None or raw is None:
        return
    skew_s = await store_clocks.skew_of(connection, event.station_id)
    if _agrees(stamp, event.received_at, skew_s):
        return
    if await stations.was_stamp_reported(
        connection, event.station_id, event.connector, raw, event.received_at
    ):
        return
    known_s = await _compare(connection, event.station_id, stamp, event.received_at, is_status=True)
    if known_s != skew_s:
        await keep_start_offsets(connection, event.station_id, known_s)


async def _compare(
    connection: Connection,
    station_id: str,
    stamp: datetime,
    received_at: datetime,
    *,
    is_status: bool,
) -> int | None:
    """Compares a stamp that is not what is known. Returns how far the clock is known to be off."""
    return await store_clocks.learn_clock(
        connection, station_id, stamp, received_at, is_status=is_status, pace_s=_PACE_S,
        least_s=_LEAST_S, least_status_s=_LEAST_STATUS_S,
    )  # fmt: skip


def _agrees(stamp: datetime, received_at: datetime, skew_s: int | None) -> bool:
    """Returns whether a stamp is what is known of its clock: most frames have nothing to write."""
    off = received_at - stamp
    if skew_s:
        return abs(off.total_seconds() - skew_s) <= _PACE_S
    return abs(off) <= SKEW_LIMIT
