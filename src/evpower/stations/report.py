"""What a station reports of itself: its model at a boot, the status of its connectors."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from evpower.foundation.db import Connection
from evpower.stations import store_reports
from evpower.stations.model import STATUSES, Deviation, StatusEntry, StatusReport
from evpower.stations.texts import optional, printable

_TEXT_MAX: Final = 255
_STATUS_MAX: Final = 64
_INFO_MAX: Final = 1000
_SAMPLE_MAX: Final = 4000
_OUT_OF_ORDER: Final = frozenset({"unavailable", "faulted"})  # of connector 0: the whole station


async def report_boot(
    connection: Connection,
    station_id: str,
    *,
    vendor: str | None,
    model: str | None,
    firmware: str | None,
    now: datetime,
) -> None:
    """Stores what a station says of itself as it boots.

    The boot may have set its clock, so the next status counts whatever its stamp.
    """
    await store_reports.set_boot(
        connection,
        station_id,
        optional(vendor, _TEXT_MAX),
        optional(model, _TEXT_MAX),
        optional(firmware, _TEXT_MAX),
        now,
    )


async def report_status(connection: Connection, report: StatusReport) -> bool:
    """Logs a status, and stores it as the present one; returns whether it is.

    One that is older by the station's stamp than the newest stored one is history. A word that no
    protocol has, or a connector that the station has not, is only logged, too.
    """
    report = replace(
        report,
        status=printable(report.status, _STATUS_MAX) or "?",
        error=optional(report.error, _TEXT_MAX),
        info=optional(report.info, _INFO_MAX),
        station_time=optional(report.station_time, _STATUS_MAX),
    )
    is_applied = report.status in STATUSES and await _apply(connection, report)
    await store_reports.insert_status(connection, report, is_applied=is_applied)
    return is_applied


async def _apply(connection: Connection, report: StatusReport) -> bool:
    """Stores a status as the present one; returns whether it is."""
    # A stamp of the future would make every later status history.
    stamp = report.station_at and min(report.station_at, report.received_at)
    if report.connector == 0:
        availability = "inoperative" if report.status in _OUT_OF_ORDER else "operative"
        return await store_reports.set_station_status(
            connection, report.station_id, availability, stamp
        )
    return await store_reports.set_connector_status(connection, report, stamp)


async def count_deviations(connection: Connection, deviations: Sequence[Deviation]) -> None:
    """Adds to the counts of what stations do off the protocol."""
    merged: dict[tuple[str, str], Deviation] = {}
    for deviation in deviations:
        key = deviation.station_id, deviation.kind
        before = merged.get(key)
        if before is not None:
            deviation = replace(  # noqa: PLW2901 - the sum of both
                deviation,
                count=before.count + deviation.count,
                at=max(before.at, deviation.at),
                sample=deviation.sample or before.sample,
            )
        merged[key] = deviation
    for _, deviation in sorted(merged.items()):  # in one order, so that two flushes can't deadlock
        sample = optional(deviation.sample, _SAMPLE_MAX)
        await store_reports.add_deviation(connection, replace(deviation, sample=sample))


async def was_stamp_reported(
    connection: Connection, station_id: str, connector: int, station_time: str, before: datetime
) -> bool:
    """Returns whether an earlier status of a connector had the same stamp: it is sent again."""
    stamp = optional(station_time, _STATUS_MAX)
    return stamp is not None and await store_reports.was_stamp_reported(
        connection, station_id, connector, stamp, before
    )


async def list_statuses(connection: Connection, station_id: str, limit: int) -> list[StatusEntry]:
    """Returns the latest statuses that a station reported, the newest first."""
    return await store_reports.latest_statuses(connection, station_id, limit)
