"""The export of charge detail records: /api/v1/operator/cdrs, as CSV or OCPI 2.2.1 JSON."""

from datetime import timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response, StreamingResponse

from evpower import identity, stations
from evpower.charging.export_cdrs import csv_lines, ocpi_list
from evpower.charging.store_cdrs import CdrFilter
from evpower.foundation.clock import to_z
from evpower.foundation.errors import Invalid
from evpower.foundation.openapi import Responses, problem
from evpower.foundation.request_time import UtcTime
from evpower.identity import (
    OPERATOR_PATH,
    OPERATOR_REFUSALS,
    OperatorCalls,
    Principal,
    actor_of,
    operator_call,
)

_ENDS: Final = {"csv": "csv", "ocpi": "json"}
_LONGEST: Final = timedelta(days=366)
_EXPORTED: Final[Responses] = {
    **OPERATOR_REFUSALS,
    200: {
        "description": "Streamed: every bill of that time, in the order in which it was written",
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/json": {
                "schema": {
                    "type": "array",
                    "description": "OCPI 2.2.1 CDRs; a later bill is a credit CDR and a new one",
                    "items": {"type": "object"},
                }
            },
        },
    },
    404: problem("`station_not_found`"),
}


def cdrs_router(calls: OperatorCalls) -> APIRouter:
    """Returns the route."""
    routes = APIRouter(prefix=OPERATOR_PATH, tags=["operator sessions"])

    @routes.get(
        "/cdrs",
        summary="Export charge detail records",
        response_class=Response,
        responses=_EXPORTED,
        openapi_extra=operator_call("export"),
    )
    async def cdrs(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(calls.access.may("export"))],
        made_from: Annotated[UtcTime, Query(alias="from", description="Billed from then on")],
        made_before: Annotated[UtcTime, Query(alias="to", description="And before then")],
        form: Annotated[Literal["csv", "ocpi"], Query(alias="format")] = "csv",
        owner: Annotated[str | None, Query(max_length=200, description="Of the station")] = None,
        station: Annotated[str | None, Query(min_length=1, max_length=255)] = None,
    ) -> Response:
        """By when the bill was written, at most 366 days; each bill counts at its own time."""
        if not made_from < made_before <= made_from + _LONGEST:
            raise Invalid("invalid_request", "`to` is after `from`, at most 366 days")
        station_id = None
        async with calls.db.transaction() as connection:
            if station is not None:
                station_id = (await stations.get_station(connection, station)).station.id
            await identity.record_act(
                connection,
                actor=actor_of(caller),
                action="cdrs.export",
                subject=station_id or owner or "everything",
                details={"from": to_z(made_from), "to": to_z(made_before), "format": form},
            )
        wanted = CdrFilter(made_from, made_before, owner, station_id)
        pieces, kind = (
            (csv_lines(calls.db, wanted), "text/csv; charset=utf-8")
            if form == "csv"
            else (ocpi_list(calls.db, wanted), "application/json")
        )
        headers = {"Content-Disposition": f'attachment; filename="cdrs.{_ENDS[form]}"'}
        return StreamingResponse(pieces, headers=headers, media_type=kind)

    return routes
