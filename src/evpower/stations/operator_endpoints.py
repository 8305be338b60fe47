"""Routes by which operators see and change stations: /api/v1/operator/stations."""

from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from evpower.foundation import idempotency
from evpower.foundation.db import Connection
from evpower.foundation.etags import check_version, respond
from evpower.foundation.openapi import Responses, problem
from evpower.foundation.paging import Page, cut, read_cursor, write_cursor
from evpower.foundation.segments import SegmentRoute
from evpower.identity import (
    ETAG_RESPONSES,
    OPERATOR_PATH,
    OPERATOR_REFUSALS,
    OperatorCalls,
    Principal,
    actor_of,
    operator_call,
)
from evpower.stations import operator_schemas as schemas
from evpower.stations import request_schemas as requests
from evpower.stations.accept import accept_station
from evpower.stations.add import add_station
from evpower.stations.change import StationChange, change_station
from evpower.stations.credentials import as_hex
from evpower.stations.find import get_station, lock_station
from evpower.stations.location_endpoints import add_location_routes
from evpower.stations.log_endpoints import add_log_routes
from evpower.stations.model import (
    STATION_CHANGED,
    AddedStation,
    StationView,
    station_key,
)
from evpower.stations.pin import pin_station
from evpower.stations.search import list_owners, search_stations
from evpower.stations.secure import secure_station
from evpower.stations.setup_endpoints import add_setup_routes
from evpower.stations.station_path import STATION_REFUSALS, StationName

_CREATED: Final = 201
_SINGLE: Final[Responses] = {**STATION_REFUSALS, **ETAG_RESPONSES}
_CHANGED: Final[Responses] = {
    **OPERATOR_REFUSALS,
    404: problem("`station_not_found`"),
    409: problem("`station_retired`, `idempotency_conflict`"),
    412: problem("`changed_meanwhile`: not as `If-Match` has it"),
    422: problem("`invalid_request`, `station_invalid`"),
}
_PATCHED: Final[Responses] = {
    **_CHANGED,
    422: problem("`invalid_request`, `station_invalid`, `profile_invalid`"),
}
_ADDED: Final[Responses] = {
    **OPERATOR_REFUSALS,
    409: problem("`station_name_taken`, `location_ambiguous`, `location_differs`"),
    422: problem("`invalid_request`, `station_invalid`"),
}


class StationPlace(NamedTuple):
    """Where a page of stations ended."""

    id: str


def stations_router(calls: OperatorCalls) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(prefix=OPERATOR_PATH, tags=["operator stations"], route_class=SegmentRoute)
    _add_lists(routes, calls)
    add_location_routes(routes, calls)
    add_log_routes(routes, calls)
    _add_new(routes, calls)
    _add_changes(routes, calls)
    add_setup_routes(routes, calls)
    return routes


def _add_lists(routes: APIRouter, calls: OperatorCalls) -> None:
    may_read = calls.access.may("read")

    @routes.get(
        "/stations",
        summary="Stations by id",
        responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("read"),
    )
    async def stations(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        query: Annotated[schemas.StationQuery, Query()],
    ) -> Page[schemas.OperatedStation]:
        """With filters, all of which must hold."""
        place = read_cursor(query.cursor, StationPlace)
        now = calls.clock()
        async with calls.db.connection() as connection:
            listed = await search_stations(
                connection,
                query.filter(),
                after=place.id if place else None,
                limit=query.limit + 1,
                now=now,
            )
        page, last = cut(listed, query.limit)
        return Page(
            items=[schemas.station_shown(view, now) for view in page],
            next=None if last is None else write_cursor(StationPlace(last.station.id)),
        )

    @routes.get(
        "/stations/{station}",
        summary="A station",
        response_model=schemas.OperatedStation,
        responses=_SINGLE,
        openapi_extra=operator_call("read"),
    )
    async def one_station(  # pyright: ignore[reportUnusedFunction]
        request: Request, _: Annotated[Principal, Depends(may_read)], station: StationName
    ) -> Response:
        async with calls.db.connection() as connection:
            view = await get_station(connection, station)
        return _shown(calls, request, view)

    @routes.get(
        "/owners", summary="Owners of stations", responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("read"),
    )  # fmt: skip
    async def owners(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
    ) -> list[schemas.OwnerShown]:
        """With how many stations each has; retired ones are not counted."""
        async with calls.db.connection() as connection:
            listed = await list_owners(connection)
        return [schemas.OwnerShown.model_validate(owner) for owner in listed]


def _add_new(routes: APIRouter, calls: OperatorCalls) -> None:
    may_change = calls.access.may("station.change")

    @routes.post(
        "/stations",
        summary="Add a station",
        status_code=_CREATED,
        responses=_ADDED,
        openapi_extra=operator_call("station.change"),
    )
    async def add(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Principal, Depends(may_change)],
        body: requests.NewStation,
    ) -> schemas.AddedByOperator:
        """Its password is shown once, and is in no stored response of an Idempotency-Key."""
        idempotency.store_nothing(request.scope["state"])
        async with calls.db.transaction() as connection:
            added = await add_station(
                connection,
                body.draft(body.id, is_simulated=body.is_simulated),
                now=calls.clock(),
                actor=actor_of(caller),
                reason=body.reason,
            )
            return await _added(connection, calls, added)

    @routes.post(
        "/unknown-stations/{name}/accept",
        summary="Accept a station that tried to connect",
        status_code=_CREATED,
        responses={**_ADDED, 404: problem("`station_not_found`: no such name tried to connect")},
        openapi_extra=operator_call("station.change"),
    )
    async def accept(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Principal, Depends(may_change)],
        name: StationName,
        body: requests.AcceptedStation,
    ) -> schemas.AddedByOperator:
        """Add it under the name as it writes it."""
        idempotency.store_nothing(request.scope["state"])
        async with calls.db.transaction() as connection:
            added = await accept_station(
                connection,
                body.draft(name),
                now=calls.clock(),
                actor=actor_of(caller),
                reason=body.reason,
            )
            return await _added(connection, calls, added)


def _add_changes(routes: APIRouter, calls: OperatorCalls) -> None:
    may_change = calls.access.may("station.change")

    async def change(
        request: Request, caller: Principal, station: str, wanted: StationChange, reason: str
    ) -> Response:
        async with calls.db.transaction() as connection:
            await _lock_version(connection, request, station)
            await change_station(
                connection,
                station=station,
                change=wanted,
                now=calls.clock(),
                actor=actor_of(caller),
                reason=reason,
            )
            view = await get_station(connection, station)
        calls.bus.publish(STATION_CHANGED, station_key(view.station.id))
        return _shown(calls, request, view)

    @routes.patch(
        "/stations/{station}",
        summary="Change a station",
        response_model=schemas.OperatedStation,
        responses=_PATCHED,
        openapi_extra=operator_call("station.change"),
    )
    async def patch(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Principal, Depends(may_change)],
        station: StationName,
        body: requests.ChangedStation,
    ) -> Response:
        """Whose it is, which cards count there, its vendor profile and its version of OCPP."""
        wanted = body.change()
        actor = actor_of(caller)
        async with calls.db.transaction() as connection:
            await _lock_version(connection, request, station)
            if wanted != StationChange() or body.pinned_version is None:
                await change_station(
                    connection,
                    station=station,
                    change=wanted,
                    now=calls.clock(),
                    actor=actor,
                    reason=body.reason,
                )
            if body.pinned_version is not None:
                await pin_station(
                    connection,
                    station=station,
                    version=None if body.pinned_version == "none" else body.pinned_version,
                    actor=actor,
                    reason=body.reason,
                )
            view = await get_station(connection, station)
        calls.bus.publish(STATION_CHANGED, station_key(view.station.id))
        return _shown(calls, request, view)

    @routes.put(
        "/stations/{station}/availability",
        summary="Take a station out of service, or back",
        response_model=schemas.OperatedStation,
        responses=_CHANGED,
        openapi_extra=operator_call("station.change"),
    )
    async def availability(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Principal, Depends(may_change)],
        station: StationName,
        body: requests.WantedAvailability,
    ) -> Response:
        """What is wanted, beside what it reports; sent at once, and again after each boot."""
        wanted = StationChange(availability=body.availability)
        return await change(request, caller, station, wanted, body.reason)

    @routes.put(
        "/stations/{station}/connectors/{connector}/availability",
        summary="Take a connector out of service, or back",
        response_model=schemas.OperatedStation,
        responses=_CHANGED,
        openapi_extra=operator_call("station.change"),
    )
    async def connector_availability(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Principal, Depends(may_change)],
        station: StationName,
        connector: Annotated[int, Path(ge=1, le=1000)],
        body: requests.WantedAvailability,
    ) -> Response:
        """The same for one connector."""
        wanted = StationChange(availability=body.availability, connector=connector)
        return await change(request, caller, station, wanted, body.reason)

    @routes.post(
        "/stations/{station}/secure",
        summary="Give a station a new password",
        responses=_CHANGED,
        openapi_extra=operator_call("station.change"),
    )
    async def secure(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Principal, Depends(may_change)],
        station: StationName,
        body: requests.SecuredStation,
    ) -> schemas.NewPassword:
        """Shown once; a repeat with the same Idempotency-Key makes another one."""
        idempotency.store_nothing(request.scope["state"])
        async with calls.db.transaction() as connection:
            view = await _lock_version(connection, request, station)
            password = await secure_station(
                connection,
                station=station,
                at_once=body.at_once,
                actor=actor_of(caller),
                reason=body.reason,
            )
        calls.bus.publish(STATION_CHANGED, station_key(view.station.id))
        return schemas.NewPassword(
            station=view.station.id, password=password, password_hex=as_hex(password)
        )


async def _lock_version(connection: Connection, request: Request, station: str) -> StationView:
    """Returns the station, locked. Raises Conflict("changed_meanwhile") where If-Match differs."""
    await lock_station(connection, station)
    view = await get_station(connection, station)
    check_version(request, schemas.decided_of(view))
    return view


async def _added(
    connection: Connection, calls: OperatorCalls, added: AddedStation
) -> schemas.AddedByOperator:
    view = await get_station(connection, added.id)
    return schemas.AddedByOperator(
        station=schemas.station_shown(view, calls.clock()),
        password=added.password,
        password_hex=None if added.password is None else as_hex(added.password),
    )


def _shown(calls: OperatorCalls, request: Request, view: StationView) -> Response:
    shown = schemas.station_shown(view, calls.clock())
    return respond(request, shown, schemas.decided_of(view))
