"""MeterValues: registers, power and the like, of a transaction or of an idle connector."""

from datetime import datetime

from evpower.charging import StationReadings
from evpower.ocpp.model import Frame, OcppPayload
from evpower.ocpp.readings import read_meter_values
from evpower.ocpp.schemas import is_valid
from evpower.ocpp.values import connector, transaction_id


def _is_by_the_book(payload: OcppPayload) -> bool:
    """Returns whether the members beside the values are by the schema; false: perhaps."""
    return (
        type(payload.get("connectorId")) is int
        and len(payload) == (3 if type(payload.get("transactionId")) is int else 2)
        and "meterValue" in payload
    )


def read(frame: Frame, now: datetime) -> StationReadings:
    """Returns the request as charging takes it."""
    payload, notes = frame.payload, frame.notes
    transaction = transaction_id(payload.get("transactionId"), notes)
    readings, signed, is_by_the_book = read_meter_values(
        payload.get("meterValue"), since=frame.since, now=now, notes=notes, zone=frame.zone
    )
    if not (is_by_the_book and _is_by_the_book(payload)) and not is_valid("MeterValues", payload):
        notes.add("schema")
    return StationReadings(
        station_id=frame.station_id,
        connector=connector(payload.get("connectorId"), notes),
        transaction_id=transaction.number,
        text_id=transaction.text,
        readings=readings,
        signed=signed,
        received_at=frame.received_at,
    )
