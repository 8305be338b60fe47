"""Routes by which operators see and begin the set-up of a station."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends

from evpower.foundation.openapi import Responses, problem
from evpower.identity import OperatorCalls, Principal, actor_of, operator_call
from evpower.stations import profile_schemas as schemas
from evpower.stations.find import get_station
from evpower.stations.model import STATION_CHANGED, station_key
from evpower.stations.setup import latest_setup, request_setup
from evpower.stations.station_path import STATION_REFUSALS, StationName

_ACCEPTED: Final = 202
_BEGUN: Final[Responses] = {
    **STATION_REFUSALS,
    409: problem("`setup_running`, `station_retired`, `station_forwarded`, `idempotency_conflict`"),
}


def add_setup_routes(routes: APIRouter, calls: OperatorCalls) -> None:
    """Adds the routes to those of stations."""

    @routes.get(
        "/stations/{station}/setup",
        summary="A station's set-up",
        responses=STATION_REFUSALS,
        openapi_extra=operator_call("read"),
    )
    async def setup(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(calls.access.may("read"))], station: StationName
    ) -> schemas.SetupShown:
        """The newest one, key by key: wanted, actual, and what was written."""
        async with calls.db.connection() as connection:
            station_id = (await get_station(connection, station)).station.id
            newest = await latest_setup(connection, station_id)
        return schemas.setup_shown(station_id, newest)

    @routes.post(
        "/stations/{station}/setup",
        summary="Set a station up anew",
        status_code=_ACCEPTED,
        responses=_BEGUN,
        openapi_extra=operator_call("station.change"),
    )
    async def begin(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(calls.access.may("station.change"))],
        station: StationName,
        body: schemas.BegunSetup,
    ) -> schemas.SetupShown:
        """It reads the keys and writes those that differ, one by one; see how far it is by GET."""
        async with calls.db.transaction() as connection:
            begun = await request_setup(
                connection,
                station=station,
                now=calls.clock(),
                actor=actor_of(caller),
                reason=body.reason,
            )
        calls.bus.publish(STATION_CHANGED, station_key(begun.station_id))
        return schemas.setup_shown(begun.station_id, begun)
