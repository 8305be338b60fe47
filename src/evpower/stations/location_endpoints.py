"""Routes by which operators see and change locations: /api/v1/operator/locations."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path

from evpower.foundation.openapi import Responses, problem
from evpower.identity import (
    OPERATOR_REFUSALS,
    OperatorCalls,
    Principal,
    actor_of,
    operator_call,
)
from evpower.stations.change_location import change_location
from evpower.stations.model import STATION_CHANGED, station_key
from evpower.stations.operator_schemas import OperatedLocation
from evpower.stations.request_schemas import ChangedLocation
from evpower.stations.search import all_locations

_CHANGED: Final[Responses] = {
    **OPERATOR_REFUSALS,
    404: problem("`location_not_found`"),
    409: problem("`location_ambiguous`, `location_name_taken`, `idempotency_conflict`"),
    422: problem("`invalid_request`, `location_invalid`"),
}
_LocationName = Annotated[
    str, Path(min_length=1, max_length=200, description="Its id, or its name if no other has it")
]


def add_location_routes(routes: APIRouter, calls: OperatorCalls) -> None:
    """Adds the routes to those of stations."""
    may_read = calls.access.may("read")
    may_change = calls.access.may("station.change")

    @routes.get(
        "/locations", summary="Locations by id", responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("read"),
    )  # fmt: skip
    async def locations(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
    ) -> list[OperatedLocation]:
        """All of them, also those without stations."""
        async with calls.db.connection() as connection:
            listed = await all_locations(connection)
        return [OperatedLocation.model_validate(location) for location in listed]

    @routes.patch(
        "/locations/{location}",
        summary="Change a location",
        responses=_CHANGED,
        openapi_extra=operator_call("station.change"),
    )
    async def change(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)],
        location: _LocationName,
        body: ChangedLocation,
    ) -> OperatedLocation:
        """What drivers see of it: its name, address, place on the map, time zone."""
        async with calls.db.transaction() as connection:
            changed = await change_location(
                connection,
                location=location,
                change=body.change(),
                actor=actor_of(caller),
                reason=body.reason,
            )
        for station_id in changed.station_ids:
            calls.bus.publish(STATION_CHANGED, station_key(station_id))
        return OperatedLocation.model_validate(changed.location)
