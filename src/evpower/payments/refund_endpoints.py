"""Routes by which operators return money to a driver's bank, as `evpower payments refund` does."""

from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Final, Literal, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from evpower.foundation.body import exact_amount
from evpower.foundation.json_numbers import number
from evpower.foundation.money import to_som
from evpower.foundation.openapi import Responses, problem
from evpower.foundation.paging import LIMIT_DEFAULT, Page, cut, read_cursor, write_cursor
from evpower.foundation.segments import SegmentRoute
from evpower.identity import (
    OPERATOR_PATH,
    OPERATOR_REFUSALS,
    OperatorCalls,
    Principal,
    RowCursor,
    RowLimit,
    actor_of,
    operator_call,
    refuse_own_account,
)
from evpower.payments import store, store_bank_refunds
from evpower.payments.bank_refund import RefundDesk, decide_refund, refund_at_bank
from evpower.payments.model import BankRefund

_Reason = Annotated[
    str,
    Field(
        min_length=3, max_length=200, pattern=r"\S", description="Why, for the audit",
        examples=["asked by phone, call 4711"],
    ),
]  # fmt: skip
_Invoice = Annotated[str, Path(min_length=1, max_length=64, description="As `payments review`")]
_Key = Annotated[str, Path(min_length=1, max_length=200)]
_Som = Annotated[float, Field(description="som")]


class RefundPlace(NamedTuple):
    """Where a page of refunds ends."""

    id: int


class NewBankRefund(BaseModel):
    """`key` makes it happen once, for ever: the number of the driver's request."""

    model_config = ConfigDict(extra="forbid")

    amount: Annotated[
        Decimal,
        BeforeValidator(number),
        Field(gt=0, le=10_000_000, description="som, at most 2 decimals"),
    ]
    key: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
    reason: _Reason


class RefundDecision(BaseModel):
    """How a refund ended, as the bank's cabinet shows it."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["returned", "refused"]
    reason: _Reason


class OrderedRefund(BaseModel):
    """A refund at the bank. `requested`: the bank is being called; `unknown`: it did not answer."""

    key: str
    invoice_id: str
    client_id: UUID
    amount: _Som
    state: Literal["requested", "returned", "refused", "unknown"]
    requested_at: datetime
    ended_at: datetime | None
    actor: str
    reason: str


_REFUSED: Final = (
    "`refund_exceeds`, `balance_too_low`, `refund_pending`, `refund_conflict`, `own_account`"
)
_ORDERS: Final[Responses] = {
    **OPERATOR_REFUSALS,
    202: {"description": "Its outcome is not known yet", "model": OrderedRefund},
    404: problem("`payment_not_found`"),
    409: problem(f"{_REFUSED}, `not_credited`"),
    503: problem("`payment_provider_error`: nothing was ordered"),
}
_DECIDES: Final[Responses] = {
    **OPERATOR_REFUSALS,
    404: problem("`refund_not_found`"),
    409: problem("`refund_decided`, `own_account`"),
}


def refund_router(calls: OperatorCalls, desk: RefundDesk) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(prefix=OPERATOR_PATH, tags=["operator payments"], route_class=SegmentRoute)
    may_read = calls.access.may("read")
    may_refund = calls.access.may("payment.refund")

    @routes.get(
        "/bank-refunds", summary="Refunds to drivers' banks",
        responses=OPERATOR_REFUSALS, openapi_extra=operator_call("read"),
    )  # fmt: skip
    async def refunds(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        state: Annotated[Literal["open", "ended", "all"], Query()] = "open",
        limit: Annotated[RowLimit, Query()] = LIMIT_DEFAULT,
        cursor: Annotated[RowCursor, Query()] = None,
    ) -> Page[OrderedRefund]:
        """Open: without an outcome. The newest first."""
        place = read_cursor(cursor, RefundPlace)
        async with calls.db.connection() as connection:
            rows = await store_bank_refunds.list_newest(
                connection, state, place and place.id, limit + 1
            )
        page, last = cut(rows, limit)
        return Page(
            items=[_shown(row) for row in page],
            next=None if last is None else write_cursor(RefundPlace(last.id)),
        )

    @routes.post(
        "/payments/{invoice_id}/bank-refunds", summary="Return money to the driver's bank",
        responses=_ORDERS, openapi_extra=operator_call("payment.refund"),
    )  # fmt: skip
    async def refund(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Principal, Depends(may_refund)],
        invoice_id: _Invoice,
        body: NewBankRefund,
        response: Response,
    ) -> OrderedRefund:
        """Call the bank once for a key; the same key again returns what became of it."""
        async with calls.db.connection() as connection:
            payment = await store.find_by_invoice(connection, invoice_id)
        client_id = None if payment is None else payment.client_id
        await refuse_own_account(calls.db, caller, client_id, "payment.refund")
        order = await refund_at_bank(
            desk,
            invoice_id=invoice_id,
            amount_minor=await exact_amount(request, "amount"),
            operator=actor_of(caller),
            reason=body.reason,
            key=body.key,
        )
        response.status_code = HTTPStatus.OK if order.ended_at else HTTPStatus.ACCEPTED
        return _shown(order)

    @routes.post(
        "/bank-refunds/{key}/decide", summary="End a refund whose outcome is unknown",
        responses=_DECIDES, openapi_extra=operator_call("payment.refund"),
    )  # fmt: skip
    async def decide(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_refund)], key: _Key, body: RefundDecision
    ) -> OrderedRefund:
        """The bank is not called: `returned` takes the money from the wallet."""
        async with calls.db.connection() as connection:
            earlier = await store_bank_refunds.find(connection, key)
        client_id = None if earlier is None else earlier.client_id
        await refuse_own_account(calls.db, caller, client_id, "payment.refund")
        order = await decide_refund(
            desk,
            key=key,
            decision=body.decision,
            operator=actor_of(caller),
            reason=body.reason,
        )
        return _shown(order)

    return routes


def _shown(order: BankRefund) -> OrderedRefund:
    return OrderedRefund(
        key=order.key,
        invoice_id=order.invoice_id,
        client_id=order.client_id,
        amount=to_som(order.amount_minor),
        state=order.state,
        requested_at=order.requested_at,
        ended_at=order.ended_at,
        actor=order.actor,
        reason=order.reason,
    )
