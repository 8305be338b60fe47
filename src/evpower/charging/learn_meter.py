"""Learns how a connector's register counts, and how often its station sends values.

A register that goes on from one transaction to the next is a lifetime one. One that is at 0 again
counts per boot, where the station booted in between, else per transaction. The newest two that say
something count: a meter may be replaced, a firmware updated.
"""

from typing import Final

from evpower import stations
from evpower.charging import store_meters
from evpower.charging.events import StationStart
from evpower.charging.register import TOLERANCE_WH
from evpower.charging.running import RunningTransaction
from evpower.charging.store_meters import LearnedMeter, StationFacts
from evpower.foundation.db import Connection
from evpower.stations import RegisterKind, Station

_RARE_S: Final = 60  # more than this between two values is worth a look at what was wanted
_TOO_RARE: Final = 2  # times the wanted interval


async def learn_start(connection: Connection, station: Station, start: StationStart) -> bool:
    """Compares the register of a start with that of the end before it on the connector.

    Returns whether it counts from 0 again.
    """
    known = await store_meters.meter_of(connection, station.id, start.connector)
    if known is None or known.last_wh is None or start.meter_wh is None:
        return False
    kind = _kind(known, station, start)
    if kind != known.register_kind:
        await store_meters.set_register_kind(connection, station.id, start.connector, kind)
    return start.meter_wh <= TOLERANCE_WH < known.last_wh


async def learn_end(connection: Connection, running: RunningTransaction) -> bool:
    """Stores where a transaction's register ended, and how often its values came.

    Returns whether they came much more rarely than the station was set up to send them.
    """
    transaction, progress = running.transaction, running.progress
    if transaction.ended_at is not None or transaction.connector < 1:
        return False  # a later, better end says nothing of the next start
    last = progress.register.last
    await store_meters.set_end(
        connection,
        transaction.station_id,
        transaction.connector,
        None if last is None else last.wh,
        max(transaction.received_at, progress.last_value_at or transaction.received_at),
        progress.interval_s,
    )
    if progress.interval_s is None or progress.interval_s <= _RARE_S:
        return False
    profile = await stations.vendor_profile(connection, transaction.station_id)
    return progress.interval_s > _TOO_RARE * profile.sample_interval_s


async def register_kind(
    connection: Connection, station_id: str, connector: int
) -> RegisterKind | None:
    """Returns how a connector's register counts: as its make does, else as was learned."""
    profile = await stations.vendor_profile(connection, station_id)
    if profile.register_kind is not None:
        return profile.register_kind
    known = await store_meters.meter_of(connection, station_id, connector)
    return None if known is None else known.register_kind


async def list_meters(
    connection: Connection, station_id: str
) -> tuple[list[LearnedMeter], StationFacts]:
    """Returns what was learned of a station: its meters by connector, and the rest."""
    return (
        await store_meters.meters_of(connection, station_id),
        await store_meters.facts_of(connection, station_id),
    )


def _kind(known: LearnedMeter, station: Station, start: StationStart) -> RegisterKind | None:
    assert known.last_wh is not None, "the caller asked"  # noqa: S101
    assert start.meter_wh is not None, "the caller asked"  # noqa: S101
    last_wh, meter_wh = known.last_wh, start.meter_wh
    if last_wh <= TOLERANCE_WH:
        return known.register_kind  # either way it would begin here
    has_booted = (
        station.booted_at is not None
        and known.ended_at is not None
        and station.booted_at > known.ended_at
    )
    if meter_wh <= TOLERANCE_WH:
        if has_booted and known.register_kind != "per_transaction":
            return "per_boot"
        return "per_transaction"
    if meter_wh >= last_wh - TOLERANCE_WH:
        is_per_boot = known.register_kind == "per_boot" and not has_booted
        return "per_boot" if is_per_boot else "lifetime"
    return None
