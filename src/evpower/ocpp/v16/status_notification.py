"""StatusNotification: a connector's state, or the whole station's as connector 0."""

from datetime import datetime
from typing import Final

from evpower import charging, stations
from evpower.charging import Changes, StationStatus
from evpower.foundation.db import Connection
from evpower.ocpp.model import Frame, Handled
from evpower.ocpp.times import read_station_time
from evpower.ocpp.values import connector, text

_STATUSES: Final = {
    "available": "available", "preparing": "preparing", "charging": "charging",
    "suspendedevse": "suspended_evse", "suspendedev": "suspended_ev", "finishing": "finishing",
    "reserved": "reserved", "unavailable": "unavailable", "faulted": "faulted",
    "occupied": "occupied",
}  # fmt: skip
_ERRORS: Final = frozenset({
    "ConnectorLockFailure", "EVCommunicationError", "GroundFailure", "HighTemperature",
    "InternalError", "LocalListConflict", "NoError", "OtherError", "OverCurrentFailure",
    "PowerMeterFailure", "PowerSwitchFailure", "ReaderFailure", "ResetFailure", "UnderVoltage",
    "OverVoltage", "WeakSignal",
})  # fmt: skip
_NO_ERROR: Final = "NoError"
_ABSENT: Final = frozenset({"", "null", "0x0000", "none"})
_MOST: Final = 255
_MOST_INFO: Final = 1000
_INFO_LIMIT: Final = 50


async def handle(connection: Connection, frame: Frame, now: datetime) -> Handled:
    """Logs the status, and passes it to charging unless it is of the whole station."""
    payload, notes = frame.payload, frame.notes
    number = connector(payload.get("connectorId"), notes)
    written = text(payload.get("status"), notes, most=64) or ""
    status = _STATUSES.get(written.replace("_", "").replace(" ", "").lower(), written)
    if status == written or not written:
        notes.add("status_unknown")
    time_raw = payload.get("timestamp")
    time = (
        charging.StationTime(None, None)
        if time_raw is None  # optional here
        else read_station_time(time_raw, since=frame.since, now=now, notes=notes, zone=frame.zone)
    )
    error = _error(frame)
    await stations.lock_station(connection, frame.station_id)  # first, as everywhere
    is_applied = await stations.report_status(
        connection,
        stations.StatusReport(
            station_id=frame.station_id,
            connector=number,
            status=status,
            error=error,
            info=_info(frame),
            station_at=time.at,
            station_time=time.raw,
            received_at=frame.received_at,
        ),
    )
    changes = Changes(stations={frame.station_id} if is_applied else set())
    if number > 0:
        reported = StationStatus(
            frame.station_id, number, status, error, time, frame.received_at, not is_applied
        )
        changes.merge(
            await charging.status_reported(connection, reported, now=now, rules=frame.rules)
        )
    return Handled({}, changes)


def _error(frame: Frame) -> str | None:
    code = text(frame.payload.get("errorCode"), frame.notes, most=_MOST)
    if code is not None and code not in _ERRORS:
        frame.notes.add("error_code_unknown")
        return f"OtherError: {code}" if code else None
    return None if code == _NO_ERROR else code


def _info(frame: Frame) -> str | None:
    parts = [
        text(frame.payload.get(name), frame.notes, most=_MOST_INFO, limit=_INFO_LIMIT)
        for name in ("vendorErrorCode", "info")
    ]
    return " ".join(part for part in parts if part and part.lower() not in _ABSENT) or None
