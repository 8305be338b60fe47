"""The route of the reports: /api/v1/operator/reports/daily."""

from datetime import date
from typing import Annotated, Final, Literal

import orjson
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.openapi import Responses, json_schema, problem
from evpower.identity import Access, Principal, operator_call
from evpower.reports.daily import daily_report, last_day
from evpower.reports.shown import report_csv, report_json


class ReportFigures(BaseModel):
    """What a row sums up."""

    energy_wh: int
    sessions: int
    free_sessions: int
    quarantined_sessions: int
    charged_minor: int
    debts_collected_minor: Annotated[int, Field(description="Of what was charged")]
    refunded_minor: int
    revenue_minor: Annotated[int, Field(description="Charged less refunded")]
    uptime: Annotated[float | None, Field(description="0 to 1; null: no connector was observed")]
    unbilled_tail_wh: Annotated[int, Field(description="After the stops of the day's charges")]
    outside_charges: Annotated[int, Field(description="Of no client")]
    outside_wh: int


class StationReport(ReportFigures):
    """A station's day."""

    station_id: str
    location_id: str | None
    owner: str | None


class LocationReport(ReportFigures):
    """A location's day."""

    location_id: str | None
    name: str | None


class OwnerReport(ReportFigures):
    """An owner's day, by the owner that each bill records."""

    owner: str | None


class OperatorsReport(BaseModel):
    """A day by the clocks of Asia/Bishkek. Money is minor units (tyiyn)."""

    date: str
    time_zone: str
    begins_at: str
    ends_at: str
    is_complete: Annotated[bool, Field(description="false: the day is not over")]
    currency: str
    total: ReportFigures
    stations: list[StationReport]
    locations: list[LocationReport]
    owners: list[OwnerReport]


_REFUSALS: Final[Responses] = {
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: problem("`forbidden`: no operator, or the role does not allow it"),
    422: problem("`invalid_request`: no date, or one that has not begun"),
}
_REPORT: Final[Responses] = {
    200: {
        "description": "The report",
        "content": {
            "application/json": {"schema": json_schema(OperatorsReport)},
            "text/csv": {"schema": {"type": "string"}},
        },
    }
}


def report_router(access: Access, db: Database, clock: Clock) -> APIRouter:
    """Builds the route."""
    routes = APIRouter(prefix="/api/v1/operator/reports", tags=["operator"], responses=_REFUSALS)

    @routes.get(
        "/daily",
        summary="Energy, revenue and uptime of a day",
        openapi_extra=operator_call("read"),
        response_class=Response,
        responses=_REPORT,
    )
    async def daily(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(access.may("read"))],
        day: Annotated[
            date | None, Query(alias="date", description="The last day that is over by default")
        ] = None,
        form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
    ) -> Response:
        now = clock()
        report = await daily_report(db, day or last_day(now), now)
        if form == "csv":
            name = f"evpower-{report.day.isoformat()}.csv"
            return Response(
                report_csv(report),
                media_type="text/csv",
                headers={"Content-Disposition": f'attachment; filename="{name}"'},
            )
        return Response(orjson.dumps(report_json(report)), media_type="application/json")

    return routes
