"""Gives a station a new password, or its first one."""

from evpower import identity
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict
from evpower.stations import store, store_credentials
from evpower.stations.credentials import give_password
from evpower.stations.find import lock_station


async def secure_station(
    connection: Connection,
    *,
    station: str,
    at_once: bool = False,
    actor: str,
    reason: str | None = None,
) -> str:
    """Returns a new password, shown only here.

    The one before, or connecting without any, counts until the station first uses the new one; with
    `at_once` it ends now, and an open connection is closed. Raises NotFound("station_not_found"),
    Conflict("station_retired").
    """
    stored = await lock_station(connection, station)
    if stored.retired_at is not None:
        raise Conflict("station_retired", f"station {stored.id} is retired")
    password = await give_password(connection, stored.id)
    if at_once:
        await store_credentials.end_present(connection, stored.id)
        await store.end_no_auth(connection, stored.id)
        await store.close_connections(connection, stored.id, "operator")
    await identity.record_act(
        connection,
        actor=actor,
        action="station.secure",
        subject=stored.id,
        reason=reason,
        details={"at_once": at_once, "had_no_auth": stored.no_auth},
    )
    return password
