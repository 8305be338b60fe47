"""POST /api/v1/charging/sync-history and GET /api/v1/charging/history/{client_id}."""

from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    WithJsonSchema,
)

from evpower.charging import facts
from evpower.charging.cost_schemas import CostPartRow
from evpower.charging.history import SessionPage, client_not_found, first_pages, history
from evpower.charging.model import (
    SESSION_CHANGED,
    Order,
    RecordResult,
    ReportedSession,
    SessionStatus,
)
from evpower.charging.record import record
from evpower.foundation.bus import Bus
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Database
from evpower.foundation.fast_path import FastPath, plain_limit, plain_uuid
from evpower.foundation.first_pages import FirstPages
from evpower.foundation.json_numbers import whole
from evpower.foundation.money import to_som
from evpower.foundation.openapi import Responses, problem
from evpower.foundation.segments import SegmentRoute
from evpower.identity import CLIENT_CHANGED, Access, Principal, may_read

_DEFAULT_LIMIT: Final = 50
_CREATED: Final = 201
_CLIENT_ID: Final = "UUID, or an id from before"  # an id that the client had in an earlier system
_ID_MAX: Final = 200


def _printable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("control characters or nothing to read")
    return text


# `facts` parses numbers and times, with error codes of its own; these types only describe them.
_Time = Annotated[object, WithJsonSchema({"type": "string", "format": "date-time"})]
_TimeOrNull = Annotated[
    object, WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]})
]
_Energy = Annotated[
    object,
    WithJsonSchema(
        {
            "type": "number",
            "minimum": 0,
            "maximum": facts.MAX_ENERGY_KWH,
            "description": "kWh, at most 3 decimals",
        }
    ),
]
_Cost = Annotated[
    object,
    WithJsonSchema(
        {
            "type": "number",
            "minimum": 0,
            "description": "som, at most 2 decimals",
        }
    ),
]


def _one_form(plate: object) -> object:
    if not isinstance(plate, str):
        return plate
    return facts.normalized_plate(plate)


_Plate = Annotated[
    str,
    Field(
        min_length=1,
        max_length=16,
        description="Of the vehicle; stored in upper case. Left out where it is unknown",
        examples=["01KG123ABC"],
        default_factory=str,
    ),
    BeforeValidator(_one_form),  # after the lengths, which count characters of a str alone
    AfterValidator(_printable),
]


class SessionReport(BaseModel):
    """A charging session that another system ran."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "session_id": "6f1c2d0e-8f57-4f5d-9c55-2f8f5a3f9a11",
                "client_id": "0c1f3a58-5a0b-4b1c-8a64-6a3f0d9b7e21",
                "station_id": "EVI-0080",
                "connector_id": 1,
                "start_time": "2025-09-25T10:00:00Z",
                "end_time": "2025-09-25T10:45:00Z",
                "energy_consumed": 21.375,
                "total_cost": 288.56,
                "status": "stopped",
            }
        }
    )

    session_id: UUID
    client_id: Annotated[str, Field(min_length=1, max_length=_ID_MAX, description=_CLIENT_ID)]
    station_id: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]
    connector_id: Annotated[StrictInt, BeforeValidator(whole), Field(ge=1, le=1000)]
    start_time: _Time
    end_time: _TimeOrNull = None
    energy_consumed: _Energy
    total_cost: _Cost
    status: Annotated[SessionStatus, Field(description="Only a `stopped` session is charged")]
    billed: Annotated[
        StrictBool, Field(description="True: it was paid elsewhere, record it without charging")
    ] = False
    vehicle_plate: _Plate

    def checked(self, client_id: UUID, now: datetime) -> ReportedSession:
        """Returns the report in our units, for the resolved client. Raises Invalid with a code."""
        started_at = facts.moment(self.start_time, "start_time", now)
        return ReportedSession(
            id=self.session_id,
            client_id=client_id,
            station_id=self.station_id,
            connector_id=self.connector_id,
            status=self.status,
            started_at=started_at,
            ended_at=facts.end(self.end_time, self.status, started_at, now),
            energy_wh=facts.energy_wh(self.energy_consumed),
            cost_minor=facts.cost_minor(self.total_cost),
            billed=self.billed,
            vehicle_plate=self.vehicle_plate or None,
        )


class SessionRecorded(BaseModel):
    """What became of the report."""

    success: bool = True
    session_id: UUID
    created: Annotated[bool, Field(description="By this very call")]
    charged: Annotated[bool, Field(description="Its cost went through the wallet, now or before")]
    debt: Annotated[
        float | None, Field(description="som the balance could not pay; taken from the next top-up")
    ] = None


class HistorySession(BaseModel):
    """Keys as in Supabase `charging_sessions`; the older names beside the newer ones.

    While a session charges, its energy and cost are those until now, as in its status.
    """

    id: UUID
    client_id: UUID
    user_id: UUID
    station_id: str
    connector_id: int
    start_time: Annotated[
        datetime, Field(description="Of one that has not begun: when it was recorded")
    ]
    end_time: datetime | None
    stop_time: datetime | None
    energy_consumed: Annotated[float, Field(description="kWh")]
    energy: Annotated[float, Field(description="kWh")]
    total_cost: Annotated[float, Field(description="som")]
    amount: Annotated[float, Field(description="som")]
    cost_parts: Annotated[list[CostPartRow], Field(description="Of one with a bill")] = []
    vehicle_plate: _Plate
    status: SessionStatus
    created_at: datetime


_SYNC_RESPONSES: Final[Responses] = {
    200: {
        "model": SessionRecorded,
        "description": "Known already; or a started one that has now ended",
    },
    201: {"model": SessionRecorded, "description": "Recorded"},
    401: problem("`missing_token`, `invalid_token`"),
    403: problem("`forbidden`: only a service key may report sessions"),
    404: problem("`client_not_found`"),
    409: problem("`session_conflict`: the same id with other facts; `idempotency_conflict`"),
    422: problem(
        "`invalid_request`, `invalid_energy`, `implausible_energy`, "
        "`invalid_amount`, "
        "`invalid_time`, `end_before_start`, `end_time_required`, `end_time_unexpected`"
    ),
}
_HISTORY_RESPONSES: Final[Responses] = {
    200: {
        "model": list[HistorySession],
        "description": (
            "Newest first: by `created_at`, when EvPower recorded the session, or with"
            " `order=start_time` by when it began (one that has not begun: when it was recorded)"
        ),
        "headers": {
            "Link": {
                "description": 'The next page, when there is more: `<...>; rel="next"`',
                "schema": {"type": "string"},
            }
        },
    },
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: problem("`forbidden`: the history of another client"),
    404: problem("`client_not_found`"),
    422: problem("`invalid_request`, `invalid_cursor`"),
}


def router(access: Access, db: Database, bus: Bus, *, clock: Clock = utc_now) -> APIRouter:
    """Builds the routes; committed changes are published on `bus`."""
    routes = APIRouter(prefix="/api/v1/charging", tags=["charging"], route_class=SegmentRoute)

    @routes.post(
        "/sync-history",
        summary="Record a session that another system ran",
        status_code=_CREATED,
        responses=_SYNC_RESPONSES,
        response_class=Response,
        openapi_extra={"security": [{"serviceKey": []}]},
    )
    async def sync_history(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(access.require_service)], report: SessionReport
    ) -> Response:
        """Safe to repeat: a finished session is charged once, in the transaction that keeps it."""
        checked = report.checked(await access.resolve(caller, report.client_id), clock())
        async with db.transaction() as connection:
            result = await record(connection, checked)
        if result.changed:
            bus.publish(SESSION_CHANGED, result.session_id)
            bus.publish(CLIENT_CHANGED, checked.client_id)
        return Response(
            _body(result), 201 if result.created else 200, media_type="application/json"
        )

    @routes.get(
        "/history/{client_id}",
        summary="A client's charging sessions",
        responses=_HISTORY_RESPONSES,
        response_class=Response,
    )
    async def client_history(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(access.principal)],
        client_id: Annotated[str, Path(max_length=_ID_MAX, description=_CLIENT_ID)],
        limit: Annotated[int, Query(ge=1, le=500)] = _DEFAULT_LIMIT,
        before: Annotated[str | None, Query(description="From the Link of the page before")] = None,
        order: Annotated[
            Order, Query(description="Newest first by this time; the Link keeps it")
        ] = "created_at",
    ) -> Response:
        own_id = await access.resolve(caller, client_id)
        may_read(caller, own_id)
        async with db.connection() as connection:
            page = await history(connection, own_id, limit=limit, before=before, order=order)
        return _history_response(page, own_id, limit, order)

    return routes


def fast_paths(access: Access, db: Database) -> list[FastPath]:
    """Returns the history path, which bypasses the router, because every phone polls it."""
    read_first_page = FirstPages(db, first_pages)

    async def serve_history(request: Request, tail: str) -> Response | None:
        client_id, limit = plain_uuid(tail), plain_limit(request, _DEFAULT_LIMIT)
        if client_id is None or limit is None:
            return None
        caller = await access.principal(request)
        own_id = await access.resolve(caller, client_id)
        may_read(caller, own_id)
        page = await read_first_page(own_id, limit)
        if page is None:
            raise client_not_found()
        return _history_response(page, own_id, limit, "created_at")

    template = "/api/v1/charging/history/{client_id}"
    return [FastPath("GET", "/api/v1/charging/history/", template, serve_history)]


def _history_response(page: SessionPage, client_id: UUID, limit: int, order: Order) -> Response:
    response = Response(page.body, media_type="application/json")
    if page.next is not None:
        order_query = {} if order == "created_at" else {"order": order}
        query = urlencode({"limit": limit, "before": page.next, **order_query})
        response.headers["Link"] = f'</api/v1/charging/history/{client_id}?{query}>; rel="next"'
    return response


def _body(result: RecordResult) -> bytes:
    body: dict[str, Any] = {
        "success": True,
        "session_id": str(result.session_id),
        "created": result.created,
        "charged": result.charged,
    }
    if result.debt_minor:
        body["debt"] = to_som(result.debt_minor)
    return orjson.dumps(body)
