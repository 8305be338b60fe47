"""Routes by which operators see what stations did: connections, statuses, deviations."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from evpower.foundation.paging import LIMIT_DEFAULT
from evpower.identity import OPERATOR_REFUSALS, OperatorCalls, Principal, RowLimit, operator_call
from evpower.stations import operator_schemas as schemas
from evpower.stations.connections import list_connections
from evpower.stations.find import get_station, list_unknown
from evpower.stations.report import list_statuses
from evpower.stations.search import list_deviations
from evpower.stations.station_path import STATION_NAME_MAX, STATION_REFUSALS, StationName


def add_log_routes(routes: APIRouter, calls: OperatorCalls) -> None:
    """Adds the routes to those of stations."""
    may_read = calls.access.may("read")

    @routes.get(
        "/stations/{station}/connections",
        summary="A station's latest connections",
        responses=STATION_REFUSALS,
        openapi_extra=operator_call("read"),
    )
    async def connections(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        station: StationName,
        limit: RowLimit = LIMIT_DEFAULT,
    ) -> list[schemas.ConnectionShown]:
        """The newest first, each with the reason of its end."""
        async with calls.db.connection() as connection:
            view = await get_station(connection, station)
            rows = await list_connections(connection, view.station.id, limit)
        return [schemas.ConnectionShown.model_validate(row) for row in rows]

    @routes.get(
        "/stations/{station}/statuses",
        summary="A station's latest statuses",
        responses=STATION_REFUSALS,
        openapi_extra=operator_call("read"),
    )
    async def statuses(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        station: StationName,
        limit: RowLimit = LIMIT_DEFAULT,
    ) -> list[schemas.StatusShown]:
        """The newest first, as reported."""
        async with calls.db.connection() as connection:
            view = await get_station(connection, station)
            rows = await list_statuses(connection, view.station.id, limit)
        return [schemas.StatusShown.model_validate(row) for row in rows]

    @routes.get(
        "/deviations",
        summary="What stations do off the protocol",
        responses=STATION_REFUSALS,
        openapi_extra=operator_call("read"),
    )
    async def deviations(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        station: Annotated[str | None, Query(min_length=1, max_length=STATION_NAME_MAX)] = None,
        kind: Annotated[str | None, Query(max_length=64)] = None,
        limit: RowLimit = LIMIT_DEFAULT,
    ) -> list[schemas.CountedDeviation]:
        """Counted by station and kind, what was seen last first."""
        async with calls.db.connection() as connection:
            view = None if station is None else await get_station(connection, station)
            rows = await list_deviations(
                connection, station_id=view and view.station.id, kind=kind, limit=limit
            )
        return [
            schemas.CountedDeviation(
                station=row.station_id, kind=row.kind, count=row.count, sample=row.sample,
                last_seen_at=row.at,
            )
            for row in rows
        ]  # fmt: skip

    @routes.get(
        "/unknown-stations",
        summary="Names that tried to connect",
        responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("read"),
    )
    async def unknown(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
    ) -> list[schemas.UnknownName]:
        """And were refused, with the reason, the latest attempt first; 1000 at most."""
        async with calls.db.connection() as connection:
            rows = await list_unknown(connection)
        return [schemas.UnknownName.model_validate(row) for row in rows]
