"""Switches a station between EvPower and another CSMS, and shows what was charged under that."""

from datetime import datetime

from evpower import alerts, stations
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, NotFound
from evpower.ocpp import store_forwards
from evpower.ocpp.forward import UNREACHABLE
from evpower.ocpp.store_forwards import ForwardedCharge


async def forward_station(
    connection: Connection,
    *,
    station: str,
    url: str | None,
    now: datetime,
    actor: str,
    reason: str | None = None,
) -> str:
    """Lets another CSMS answer a station; None: EvPower does. Returns the station's id.

    Its nodes drop the station's connection; the next one goes to the other side. Raises
    NotFound("station_not_found"), Conflict("station_in_use"), Invalid("forward_url_invalid").
    """
    stored = await stations.lock_station(connection, station)
    if url is not None and await store_forwards.has_open_session(connection, stored.id):
        raise Conflict(
            "station_in_use", "a session is open at this station: its end would not be heard here"
        )
    await stations.forward_station(connection, station=station, url=url, actor=actor, reason=reason)
    if url is None:
        await alerts.close_alert(connection, UNREACHABLE, stored.id, now)
    return stored.id


async def list_forwarded_charges(
    connection: Connection, station: str, *, limit: int = 20
) -> list[ForwardedCharge]:
    """Returns a station's latest charges under another CSMS, the newest first.

    Raises NotFound("station_not_found").
    """
    stored = await stations.resolve_station(connection, station)
    if stored is None:
        raise NotFound("station_not_found", f"there is no station {station!a:.80}")
    return await store_forwards.latest_charges(connection, stored.id, limit)
