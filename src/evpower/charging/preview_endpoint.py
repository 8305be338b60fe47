"""The route by which operators see past sessions' bills beside another version's."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field, model_validator

from evpower import tariffs
from evpower.charging.cost_schemas import CostPartRow
from evpower.charging.preview import PreviewedBill, preview_session, preview_station
from evpower.foundation.money import to_som
from evpower.foundation.openapi import problem
from evpower.foundation.segments import SegmentRoute
from evpower.identity import (
    OPERATOR_PATH,
    OPERATOR_REFUSALS,
    OperatorCalls,
    Principal,
    operator_call,
)
from evpower.tariffs import Snapshot

_MOST: Final = 100  # bills in one answer; the command takes more


class PreviewRequest(BaseModel):
    """One session that is over, or the newest of a station."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"station": "EVP-0042", "last": 20}}
    )

    session_id: UUID | None = None
    station: Annotated[
        str | None, Field(min_length=1, max_length=200, description="Any name of it")
    ] = None
    last: Annotated[int, Field(ge=1, le=_MOST, description="How many of the station")] = 20

    @model_validator(mode="after")
    def _is_of_one(self) -> "PreviewRequest":
        if (self.session_id is None) == (self.station is None):
            message = "either session_id or station"
            raise ValueError(message)
        return self


class BillByVersion(BaseModel):
    """A bill and the version it is made by; both null where another system priced it."""

    plan: str | None
    version: int | None
    total: Annotated[float, Field(description="som")]
    parts: list[CostPartRow]


class PreviewedSession(BaseModel):
    """A past session's newest bill, and what it would have cost."""

    session_id: UUID
    station_id: str
    connector_id: int
    started_at: datetime
    ended_at: datetime
    energy_kwh: float
    billed: BillByVersion
    preview: BillByVersion
    difference: Annotated[float, Field(description="som; above 0 the preview costs more")]
    is_even: Annotated[
        bool,
        Field(description="Its meter values are gone: the energy is taken to have flowed evenly"),
    ]


def preview_router(calls: OperatorCalls) -> APIRouter:
    """Returns the route."""
    routes = APIRouter(prefix=OPERATOR_PATH, tags=["operator tariffs"], route_class=SegmentRoute)
    may_read = calls.access.may("read")

    @routes.post(
        "/tariffs/{plan}/versions/{version}/preview",
        summary="Price past sessions by a version, a draft too",
        responses={
            **OPERATOR_REFUSALS,
            404: problem("`tariff_not_found`, `session_not_found`, `station_not_found`"),
        },
        openapi_extra=operator_call("read"),
    )
    async def preview(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        plan: Annotated[str, Path(min_length=1, max_length=64)],
        version: Annotated[int, Path(ge=1, le=2**31 - 1)],
        body: PreviewRequest,
    ) -> list[PreviewedSession]:
        """By the price function that bills, the newest session first; it changes nothing."""
        async with calls.db.connection() as connection:
            other = await tariffs.get_plan(connection, plan, at=calls.clock(), number=version)
            if body.session_id is not None:
                bills = [await preview_session(connection, body.session_id, other)]
            else:
                bills = await preview_station(
                    connection, body.station or "", other, count=body.last
                )
        return [_shown(bill, other) for bill in bills]

    return routes


def _shown(bill: PreviewedBill, other: Snapshot) -> PreviewedSession:
    session, billed_by = bill.session, bill.billed_by
    return PreviewedSession(
        session_id=session.id,
        station_id=session.station_id,
        connector_id=session.connector,
        started_at=session.started_at,
        ended_at=session.ended_at,
        energy_kwh=session.energy_wh / 1000,
        billed=_bill(billed_by, session.cost_minor, session.parts),
        preview=_bill(other, bill.cost_minor, bill.parts),
        difference=to_som(bill.cost_minor - session.cost_minor),
        is_even=bill.is_even,
    )


def _bill(snapshot: Snapshot | None, cost_minor: int, parts: Sequence[object]) -> BillByVersion:
    return BillByVersion(
        plan=None if snapshot is None else snapshot.plan,
        version=None if snapshot is None else snapshot.version,
        total=to_som(cost_minor),
        parts=[CostPartRow.model_validate(part) for part in parts],
    )
