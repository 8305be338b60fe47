"""Routes by which operators register and limit the cards of technicians."""

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from evpower.charging.card_endpoints import MAX_TAG, RemovedCard
from evpower.charging.model import Technician
from evpower.charging.technicians import (
    DAILY_LIMIT_WH,
    MAX_LIMIT_WH,
    add_technician,
    limit_technician,
    list_technicians,
    remove_technician,
)
from evpower.foundation.openapi import problem
from evpower.foundation.segments import SegmentRoute
from evpower.identity import (
    OPERATOR_PATH,
    OPERATOR_REFUSALS,
    ActReason,
    OperatorCalls,
    Principal,
    actor_of,
    operator_call,
)

_CREATED: Final = 201
_Tag = Annotated[str, Path(min_length=1, max_length=MAX_TAG)]
_LimitKwh = Annotated[
    int,
    Field(ge=1, le=MAX_LIMIT_WH // 1000, description="What the card may take in any 24 hours"),
]


class TechnicianCard(BaseModel):
    """A card of the operator's own: it charges anywhere without a session or a bill."""

    tag: str
    name: str
    daily_limit_kwh: Annotated[float, Field(description="In any 24 hours")]
    created_at: datetime


class NewTechnicianCard(BaseModel):
    """A card, whose it is, and what it may take."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "tag": "04A2B3C4",
                "name": "Bek",
                "daily_limit_kwh": 20,
                "reason": "new card",
            }
        },
    )

    tag: Annotated[str, Field(min_length=1, max_length=MAX_TAG)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    daily_limit_kwh: _LimitKwh = DAILY_LIMIT_WH // 1000
    reason: ActReason


class TechnicianLimit(BaseModel):
    """What a technician's card may take."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"daily_limit_kwh": 60, "reason": "tests at a new site"}},
    )

    daily_limit_kwh: _LimitKwh
    reason: ActReason


def technicians_router(calls: OperatorCalls) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(prefix=OPERATOR_PATH, tags=["operator cards"], route_class=SegmentRoute)
    may_read = calls.access.may("read")
    may_change = calls.access.may("card.change")

    @routes.get(
        "/technicians", summary="Cards of technicians", responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("read"),
    )  # fmt: skip
    async def technicians(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
    ) -> list[TechnicianCard]:
        """By name."""
        async with calls.db.connection() as connection:
            rows = await list_technicians(connection)
        return [_shown(row) for row in rows]

    @routes.post(
        "/technicians",
        summary="Register a technician's card",
        status_code=_CREATED,
        responses={
            **OPERATOR_REFUSALS,
            409: problem("`id_tag_taken`: it is a client's, or registered; `idempotency_conflict`"),
        },
        openapi_extra=operator_call("card.change"),
    )
    async def add(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)], body: NewTechnicianCard
    ) -> TechnicianCard:
        """It charges without a session and without a bill, up to its limit."""
        async with calls.db.transaction() as connection:
            added = await add_technician(
                connection,
                tag=body.tag,
                name=body.name,
                daily_limit_wh=body.daily_limit_kwh * 1000,
                actor=actor_of(caller),
                reason=body.reason,
            )
        return _shown(added)

    @routes.put(
        "/technicians/{tag}/limit",
        summary="Change what a technician's card may take",
        responses={
            **OPERATOR_REFUSALS,
            404: problem("`technician_not_found`"),
            409: problem("`idempotency_conflict`"),
        },
        openapi_extra=operator_call("card.change"),
    )
    async def limit(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)], tag: _Tag, body: TechnicianLimit
    ) -> TechnicianCard:
        """From its next start on."""
        async with calls.db.transaction() as connection:
            card = await limit_technician(
                connection,
                tag=tag,
                daily_limit_wh=body.daily_limit_kwh * 1000,
                actor=actor_of(caller),
                reason=body.reason,
            )
        return _shown(card)

    @routes.post(
        "/technicians/{tag}/remove",
        summary="Remove a technician's card",
        status_code=204,
        responses={
            **OPERATOR_REFUSALS,
            404: problem("`technician_not_found`"),
            409: problem("`idempotency_conflict`"),
        },
        openapi_extra=operator_call("card.change"),
    )
    async def remove(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)],
        tag: _Tag,
        body: RemovedCard,
    ) -> None:
        """What it began goes on."""
        async with calls.db.transaction() as connection:
            await remove_technician(connection, tag=tag, actor=actor_of(caller), reason=body.reason)

    return routes


def _shown(card: Technician) -> TechnicianCard:
    return TechnicianCard(
        tag=card.tag,
        name=card.name,
        daily_limit_kwh=card.daily_limit_wh / 1000,
        created_at=card.created_at,
    )
