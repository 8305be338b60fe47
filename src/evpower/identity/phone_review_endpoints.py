"""Routes by which operators decide whose a phone is: /api/v1/operator/phone-reviews."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from evpower.foundation.openapi import Responses, problem
from evpower.identity.model import CLIENT_CHANGED, Principal
from evpower.identity.operator_calls import (
    OPERATOR_REFUSALS,
    ActReason,
    OperatorCalls,
    actor_of,
    refuse_own_account,
)
from evpower.identity.roles import OPERATOR_PATH, operator_call
from evpower.identity.sign_in.operate import claims_phone, decide_review, list_reviews
from evpower.identity.sign_in.store_accounts import ReviewReason
from evpower.identity.supabase_admin import SupabaseAdmin


class WaitingPhone(BaseModel):
    """A phone whose owner typed a right code, and has no account until an operator decides."""

    model_config = ConfigDict(from_attributes=True)

    phone: Annotated[str, Field(description="E.164")]
    reason: ReviewReason
    claimants: Annotated[list[UUID], Field(description="Clients that claim it, unverified")]
    opened_at: datetime
    last_at: datetime
    tries: int


class PhoneDecision(BaseModel):
    """Whose the phone is."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "phone": "+996555123456", "owner": None, "reason": "no receipt, another name",
            }
        },
    )  # fmt: skip

    phone: Annotated[str, Field(max_length=64)]
    owner: Annotated[
        UUID | None, Field(description="A claimant; null: none of them, a new account is made")
    ]
    reason: ActReason


_DECIDED: Final[Responses] = {
    **OPERATOR_REFUSALS,
    404: problem("`phone_review_not_found`, `client_not_found`, `user_not_found`"),
    409: problem(
        "`not_a_claimant`, `phone_taken`, `client_closed`, `own_account`, `idempotency_conflict`"
    ),
    422: problem("`invalid_request`, `invalid_phone`"),
    503: problem("`auth_unavailable`"),
}


def phone_reviews_router(calls: OperatorCalls, admin: SupabaseAdmin) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(prefix=f"{OPERATOR_PATH}/phone-reviews", tags=["operator clients"])

    @routes.get(
        "", summary="Phones without an account", responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("read"),
    )  # fmt: skip
    async def reviews(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(calls.access.may("read"))],
    ) -> list[WaitingPhone]:
        """Those that wait for a decision, the oldest first."""
        async with calls.db.connection() as connection:
            waiting = await list_reviews(connection)
        return [WaitingPhone.model_validate(review) for review in waiting]

    @routes.post(
        "/decide", summary="Decide whose a phone is", responses=_DECIDED,
        openapi_extra=operator_call("client.phone"),
    )  # fmt: skip
    async def decide(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(calls.access.may("client.phone"))],
        body: PhoneDecision,
    ) -> WaitingPhone:
        """The next sign-in with it follows; the owner's login gets the phone at once."""
        await refuse_own_account(calls.db, caller, body.owner, "client.phone")
        if await claims_phone(calls.db, body.phone, caller.user_id):
            await refuse_own_account(calls.db, caller, caller.user_id, "client.phone")
        review = await decide_review(
            calls.db,
            admin,
            body.phone,
            owner_id=body.owner,
            actor=actor_of(caller),
            reason=body.reason,
            clock=calls.clock,
        )
        if body.owner is not None:
            calls.bus.publish(CLIENT_CHANGED, body.owner)
        return WaitingPhone.model_validate(review)

    return routes
