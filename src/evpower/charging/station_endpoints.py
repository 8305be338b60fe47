"""Routes by which operators see what a station does, set it free for a while, and retire it."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path

from evpower import stations
from evpower.charging import station_schemas as schemas
from evpower.charging.free_period import end_free, free_station, list_free_periods
from evpower.charging.learn_meter import list_meters
from evpower.charging.retire_station import retire_station
from evpower.foundation.openapi import Responses, problem
from evpower.identity import (
    OPERATOR_REFUSALS,
    OperatorCalls,
    Principal,
    actor_of,
    operator_call,
)

_FREED: Final[Responses] = {
    **OPERATOR_REFUSALS,
    404: problem("`station_not_found`"),
    409: problem("`station_retired`, `station_forwarded`, `idempotency_conflict`"),
}
_StationName = Annotated[str, Path(min_length=1, max_length=255)]


def add_station_routes(routes: APIRouter, calls: OperatorCalls) -> None:
    """Adds the routes to those of sessions."""
    may_change = calls.access.may("station.change")

    @routes.post(
        "/stations/{station}/retire",
        summary="Retire a station, or bring it back",
        responses={
            **OPERATOR_REFUSALS,
            404: problem("`station_not_found`"),
            409: problem("`station_in_use`: a session is open there; `idempotency_conflict`"),
        },
        openapi_extra=operator_call("station.change"),
    )
    async def retire(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)],
        station: _StationName,
        body: schemas.RetiredStation,
    ) -> schemas.StationRetired:
        """It connects no more; its sessions, bills and names stay."""
        async with calls.db.transaction() as connection:
            stored = await stations.lock_station(connection, station)
            is_changed = await retire_station(
                connection,
                station=station,
                undo=body.undo,
                now=calls.clock(),
                actor=actor_of(caller),
                reason=body.reason,
            )
        calls.bus.publish(stations.STATION_CHANGED, stations.station_key(stored.id))
        return schemas.StationRetired(
            station=stored.id, is_retired=not body.undo, is_changed=is_changed
        )

    @routes.get(
        "/stations/{station}/learned",
        summary="What a station was seen to do",
        responses={**OPERATOR_REFUSALS, 404: problem("`station_not_found`")},
        openapi_extra=operator_call("read"),
    )
    async def learned(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(calls.access.may("read"))], station: _StationName
    ) -> schemas.LearnedStation:
        """How its registers count, how often values come, its clock, and energy that no one paid.

        A member of its vendor profile counts before what was learned.
        """
        async with calls.db.connection() as connection:
            station_id = (await stations.get_station(connection, station)).station.id
            meters, facts = await list_meters(connection, station_id)
        return schemas.learned_shown(station_id, meters, facts)

    @routes.get(
        "/stations/{station}/free",
        summary="The free times of a station",
        responses={**OPERATOR_REFUSALS, 404: problem("`station_not_found`")},
        openapi_extra=operator_call("read"),
    )
    async def free_times(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(calls.access.may("read"))], station: _StationName
    ) -> list[schemas.FreeTime]:
        """The newest first."""
        async with calls.db.connection() as connection:
            rows = await list_free_periods(connection, station)
        return [schemas.FreeTime.model_validate(row) for row in rows]

    @routes.post(
        "/stations/{station}/free",
        summary="Let any tag charge for a while",
        responses=_FREED,
        openapi_extra=operator_call("station.change"),
    )
    async def free(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)],
        station: _StationName,
        body: schemas.FreedStation,
    ) -> schemas.FreeTime:
        """While the app is down, for one: it ends by itself. A time that runs is replaced."""
        async with calls.db.transaction() as connection:
            period = await free_station(
                connection,
                station=station,
                minutes=body.minutes,
                actor=actor_of(caller),
                reason=body.reason,
                now=calls.clock(),
            )
        calls.bus.publish(stations.STATION_CHANGED, stations.station_key(period.station_id))
        return schemas.FreeTime.model_validate(period)

    @routes.post(
        "/stations/{station}/free/end",
        summary="End the free time of a station",
        status_code=204,
        responses={**_FREED, 409: problem("`station_not_free`, `idempotency_conflict`")},
        openapi_extra=operator_call("station.change"),
    )
    async def end(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)],
        station: _StationName,
        body: schemas.EndedFreeTime,
    ) -> None:
        """Now; what runs goes on."""
        async with calls.db.transaction() as connection:
            stored = await stations.lock_station(connection, station)
            await end_free(
                connection,
                station=station,
                actor=actor_of(caller),
                reason=body.reason,
                now=calls.clock(),
            )
        calls.bus.publish(stations.STATION_CHANGED, stations.station_key(stored.id))
