"""StartTransaction: a transaction runs. It can't be refused, only its tag."""

from datetime import datetime

from evpower import charging
from evpower.charging import StationStart
from evpower.foundation.db import Connection
from evpower.ocpp.model import Frame, Handled, OcppPayload
from evpower.ocpp.times import read_station_time
from evpower.ocpp.v16.tags import read_tag, tag_info
from evpower.ocpp.values import connector, register


async def handle(connection: Connection, frame: Frame, now: datetime) -> Handled:
    """Returns the transaction's id, the same for a repeated start."""
    payload, notes = frame.payload, frame.notes
    number = connector(payload.get("connectorId"), notes)
    if number == 0:
        notes.add("connector_missing")
    tag = read_tag(payload.get("idTag"), notes)
    if tag is None:
        notes.add("tag_missing")
    answer = await charging.start_transaction(
        connection,
        StationStart(
            station_id=frame.station_id,
            connector=number,
            id_tag=tag or "",
            meter_wh=register(payload.get("meterStart"), notes),
            text_id=None,
            time=read_station_time(
                payload.get("timestamp"), since=frame.since, now=now, notes=notes, zone=frame.zone
            ),
            received_at=frame.received_at,
        ),
        now=now,
        rules=frame.rules,
    )
    response = {"transactionId": answer.transaction_id, "idTagInfo": tag_info(answer.tag)}
    return Handled(response, answer.changes)


async def unhandled(connection: Connection, frame: Frame) -> OcppPayload:
    """Returns the answer to a start that can't be handled: a number no transaction has.

    A station drops a transaction whose start is refused a few times; its stop is stored as one
    without a start.
    """
    number = await charging.insert_unhandled_start(connection, frame.station_id, frame.received_at)
    return {"transactionId": number, "idTagInfo": tag_info("invalid")}
