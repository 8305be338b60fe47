"""BootNotification: the station started, or was asked to say what it is."""

from datetime import datetime
from typing import Final

from evpower import charging, stations
from evpower.foundation.db import Connection
from evpower.ocpp.model import Frame, Handled, OcppPayload
from evpower.ocpp.v16.heartbeat import clock_text
from evpower.ocpp.values import text

HEARTBEAT_S: Final = 120
_HEARTBEAT_WITHOUT_PING_S: Final = 60  # a station is online for 90 s after its last sign of life
_MOST: Final = 255
_LIMITS: Final = {
    "chargePointVendor": 20, "chargePointModel": 20, "chargePointSerialNumber": 25,
    "chargeBoxSerialNumber": 25, "firmwareVersion": 50, "iccid": 20, "imsi": 20, "meterType": 25,
    "meterSerialNumber": 25,
}  # fmt: skip


async def handle(connection: Connection, frame: Frame, now: datetime) -> Handled:
    """Stores what the station is. A boot that we asked for ends nothing."""
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


def accepted(frame: Frame, now: datetime) -> OcppPayload:
    """Returns the answer: go on, and send a heartbeat each two minutes.

    Only heartbeats show that a station is there which takes no pings: it sends them more often.
    """
    interval_s = HEARTBEAT_S if frame.profile.ping else _HEARTBEAT_WITHOUT_PING_S
    return {"currentTime": clock_text(now), "interval": interval_s, "status": "Accepted"}
