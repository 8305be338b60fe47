"""Authorize: may this tag charge here? It starts nothing."""

from datetime import datetime

from evpower import charging
from evpower.charging import Changes
from evpower.foundation.db import Connection
from evpower.ocpp.model import Frame, Handled, OcppPayload
from evpower.ocpp.v16.tags import read_tag, tag_info


async def handle(connection: Connection, frame: Frame, now: datetime) -> Handled:
    """Returns what charging says of the tag."""
    tag = read_tag(frame.payload.get("idTag"), frame.notes)
    if tag is None:
        frame.notes.add("tag_missing")
        return Handled(refused(frame, now), Changes())
    status = await charging.authorize(connection, frame.station_id, tag, now=now, rules=frame.rules)
    return Handled({"idTagInfo": tag_info(status)}, Changes())


def refused(_frame: Frame, _now: datetime) -> OcppPayload:
    """Returns the answer for an unknown tag."""
    return {"idTagInfo": tag_info("invalid")}
