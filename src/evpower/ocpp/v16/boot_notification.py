"""BootNotification: the station started, or was asked to say what it is."""

from datetime import datetime
from typing import Final

from evpower import alerts, charging, stations
from evpower.charging import Changes
from evpower.foundation.db import Connection
from evpower.ocpp.model import Frame, Handled, OcppPayload
from evpower.ocpp.v16.heartbeat import clock_text
from evpower.ocpp.values import text

HEARTBEAT_S: Final = 120
_HEARTBEAT_WITHOUT_PING_S: Final = 30  # three of them: a station is online for 90 s
_MOST: Final = 255
_LIMITS: Final = {
    "chargePointVendor": 20, "chargePointModel": 20, "chargePointSerialNumber": 25,
    "chargeBoxSerialNumber": 25, "firmwareVersion": 50, "iccid": 20, "imsi": 20, "meterType": 25,
    "meterSerialNumber": 25,
}  # fmt: skip


async def handle(connection: Connection, frame: Frame, now: datetime) -> Handled:
    """Stores what the station is. A boot that we asked for ends nothing."""
    if isinstance(frame.payload.get("chargingStation"), dict):
        return await _refuse_other_version(connection, frame, now)
    texts = {
        name: text(frame.payload.get(name), frame.notes, most=_MOST, limit=limit)
        for name, limit in _LIMITS.items()
    }
    await stations.report_boot(
        connection,
        frame.station_id,
        vendor=texts["chargePointVendor"],
        model=texts["chargePointModel"],
        firmware=texts["firmwareVersion"],
        now=now,
    )
    if not frame.is_triggered:
        await stations.restore_availability(connection, frame.station_id, now)
    changes = await charging.station_booted(
        connection, frame.station_id, frame.is_triggered, now=now, rules=frame.rules
    )
    return Handled(accepted(frame, now), changes)


async def _refuse_other_version(connection: Connection, frame: Frame, now: datetime) -> Handled:
    """Ends the socket of a station that offered 1.6 and speaks a later version on it.

    None of its transactions could be read.
    """
    frame.notes.add("version_mixed")
    frame.must_close = True
    detail = {"hint": "set the station to OCPP 1.6"}
    await alerts.open_alert(connection, "version_mixed", frame.station_id, detail, now)
    return Handled(accepted(frame, now) | {"status": "Rejected"}, Changes())


def accepted(frame: Frame, now: datetime) -> OcppPayload:
    """Returns the answer: go on, and send a heartbeat each two minutes.

    Only heartbeats show that a station is there which takes no pings: it sends them more often.
    """
    interval_s = HEARTBEAT_S if frame.profile.ping else _HEARTBEAT_WITHOUT_PING_S
    return {"currentTime": clock_text(now), "interval": interval_s, "status": "Accepted"}
