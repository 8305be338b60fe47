"""StopTransaction: a transaction ended. Whatever it lacks, it is never refused."""

from datetime import datetime
from typing import Final

from evpower import charging
from evpower.charging import StationStop
from evpower.foundation.db import Connection
from evpower.ocpp.model import Frame, Handled, OcppPayload
from evpower.ocpp.readings import read_meter_values
from evpower.ocpp.times import read_station_time
from evpower.ocpp.v16.tags import read_tag, tag_info
from evpower.ocpp.values import register, text, transaction_id

_REASONS: Final = frozenset({
    "EmergencyStop", "EVDisconnected", "HardReset", "Local", "Other", "PowerLoss", "Reboot",
    "Remote", "SoftReset", "UnlockCommand", "DeAuthorized",
})  # fmt: skip
_MOST_REASON: Final = 64


async def handle(connection: Connection, frame: Frame, now: datetime) -> Handled:
    """Passes the stop to charging; the answer names the tag's state if the request had one."""
    payload, notes = frame.payload, frame.notes
    transaction = transaction_id(payload.get("transactionId"), notes)
    if transaction.number is None and transaction.text is None:
        notes.add("transaction_id_none")
    tag = read_tag(payload.get("idTag"), notes)
    reason = text(payload.get("reason"), notes, most=_MOST_REASON)
    if reason and reason not in _REASONS:
        notes.add("reason_unknown")
    readings, signed, _ = read_meter_values(
        payload.get("transactionData"), since=frame.since, now=now, notes=notes, zone=frame.zone
    )
    answer = await charging.stop_transaction(
        connection,
        StationStop(
            station_id=frame.station_id,
            transaction_id=transaction.number,
            text_id=transaction.text,
            id_tag=tag,
            meter_wh=register(payload.get("meterStop"), notes),
            time=read_station_time(
                payload.get("timestamp"), since=frame.since, now=now, notes=notes, zone=frame.zone
            ),
            reason=reason or None,
            readings=readings,
            signed=signed,
            received_at=frame.received_at,
        ),
        now=now,
        rules=frame.rules,
    )
    response: OcppPayload = {} if tag is None else {"idTagInfo": tag_info(answer.tag)}
    return Handled(response, answer.changes)
