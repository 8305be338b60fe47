"""Routes by which administrators give roles and read the audit: /api/v1/operator/operators."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from evpower.foundation.errors import Conflict
from evpower.foundation.openapi import Responses, problem
from evpower.foundation.paging import LIMIT_DEFAULT, Page, cut, read_cursor, write_cursor
from evpower.identity.audit import list_acts
from evpower.identity.model import OperatorRole, Principal
from evpower.identity.operator_calls import (
    OPERATOR_REFUSALS,
    ActReason,
    OperatorCalls,
    RowCursor,
    RowLimit,
    actor_of,
)
from evpower.identity.operators import add_operator, list_operators, remove_operator
from evpower.identity.roles import OPERATOR_PATH, operator_call

_NO_CONTENT: Final = 204
_OWN: Final = problem("`own_role`: another administrator changes it; `idempotency_conflict`")
_GIVEN: Final[Responses] = {
    **OPERATOR_REFUSALS,
    409: _OWN,
    422: problem("`invalid_request`, `invalid_name`"),
}
_Text = Annotated[str | None, Query(min_length=1, max_length=200)]


class StaffMember(BaseModel):
    """An operator."""

    model_config = ConfigDict(from_attributes=True)

    user_id: UUID
    name: str
    role: OperatorRole
    created_at: datetime


class GivenRole(BaseModel):
    """A role for a Supabase user; one who has a role gets this one in its place."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "Aida", "role": "support", "reason": "new shift"}},
    )

    name: Annotated[str, Field(min_length=1, max_length=200)]
    role: OperatorRole
    reason: ActReason


class OperatedAct(BaseModel):
    """An entry of the audit."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    at: datetime
    actor: Annotated[str, Field(examples=["operator:0c1f3a58-5a0b-4b1c-8a64-6a3f0d9b7e21"])]
    action: Annotated[str, Field(examples=["station.change"])]
    subject: str
    reason: str | None
    details: Mapping[str, Any]


class ActPlace(NamedTuple):
    """Where a page of the audit ended."""

    id: int


def staff_router(calls: OperatorCalls) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(prefix=OPERATOR_PATH, tags=["operator staff"])
    may_change = calls.access.may("operator.change")

    @routes.get(
        "/operators", summary="Who has which role", responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("operator.change"),
    )  # fmt: skip
    async def operators(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_change)],
    ) -> list[StaffMember]:
        """The oldest first."""
        async with calls.db.connection() as connection:
            listed = await list_operators(connection)
        return [StaffMember.model_validate(operator) for operator in listed]

    @routes.put(
        "/operators/{user_id}", summary="Give a role", responses=_GIVEN,
        openapi_extra=operator_call("operator.change"),
    )  # fmt: skip
    async def give(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)], user_id: UUID, body: GivenRole
    ) -> StaffMember:
        """From the next request on. The own role is given by another administrator."""
        _refuse_own(caller, user_id)
        async with calls.db.transaction() as connection:
            await add_operator(
                connection,
                user_id=user_id,
                name=body.name,
                role=body.role,
                actor=actor_of(caller),
                reason=body.reason,
            )
            listed = {row.user_id: row for row in await list_operators(connection)}
        return StaffMember.model_validate(listed[user_id])

    @routes.delete(
        "/operators/{user_id}",
        summary="Take a role away",
        status_code=_NO_CONTENT,
        responses={**_GIVEN, 404: problem("`operator_not_found`")},
        openapi_extra=operator_call("operator.change"),
    )
    async def take(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)],
        user_id: UUID,
        reason: Annotated[str, Query(min_length=3, max_length=500, pattern=r"\S")],
    ) -> None:
        """From the next request on."""
        _refuse_own(caller, user_id)
        async with calls.db.transaction() as connection:
            await remove_operator(
                connection, user_id=user_id, actor=actor_of(caller), reason=reason
            )

    @routes.get(
        "/audit", summary="Who did what", responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("audit.read"),
    )  # fmt: skip
    async def audit(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(calls.access.may("audit.read"))],
        subject: _Text = None,
        actor: _Text = None,
        action: _Text = None,
        limit: RowLimit = LIMIT_DEFAULT,
        cursor: RowCursor = None,
    ) -> Page[OperatedAct]:
        """The newest first: acts of operators and of commands."""
        place = read_cursor(cursor, ActPlace)
        async with calls.db.connection() as connection:
            rows = await list_acts(
                connection, subject=subject, actor=actor, action=action,
                before=place and place.id, limit=limit + 1,
            )  # fmt: skip
        page, last = cut(rows, limit)
        return Page(
            items=[OperatedAct.model_validate(row) for row in page],
            next=None if last is None else write_cursor(ActPlace(last.id)),
        )

    return routes


def _refuse_own(caller: Principal, user_id: UUID) -> None:
    if caller.user_id == user_id:
        raise Conflict("own_role", "another administrator changes this role")
