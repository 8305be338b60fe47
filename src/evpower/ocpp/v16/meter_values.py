"""MeterValues: registers, power and the like, of a transaction or of an idle connector."""

from datetime import datetime

from evpower import charging
from evpower.charging import StationReadings
from evpower.foundation.db import Connection
from evpower.ocpp.model import Frame, Handled
from evpower.ocpp.readings import read_meter_values
from evpower.ocpp.values import connector, transaction_id


async def handle(connection: Connection, frame: Frame, now: datetime) -> Handled:
    """Passes what could be read to charging."""
    changes = await charging.meter_values(connection, read(frame, now), now=now, rules=frame.rules)
    return Handled({}, changes)


def read(frame: Frame, now: datetime) -> StationReadings:
    """Returns the request as charging takes it."""
    payload, notes = frame.payload, frame.notes
    transaction = transaction_id(payload.get("transactionId"), notes)
    readings, signed = read_meter_values(
        payload.get("meterValue"), since=frame.since, now=now, notes=notes
    )
    return StationReadings(
        station_id=frame.station_id,
        connector=connector(payload.get("connectorId"), notes),
        transaction_id=transaction.number,
        text_id=transaction.text,
        readings=readings,
        signed=signed,
        received_at=frame.received_at,
    )
