"""`/payment/h2h-status`, in both families: a payment by its order or invoice id."""

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from evpower.api.legacy import mobile_schemas, payment_schemas
from evpower.api.legacy.families import PREFIXES, Family
from evpower.api.legacy.payments import InvoiceId, PaymentCalls, find_payment, to_response
from evpower.foundation.errors import NotFound
from evpower.foundation.money import to_som
from evpower.payments import Payment

_H2H_TAIL: Final = "/payment/h2h-status/{transaction_id}"
_WORDS: Final = {
    "processing": "pending",
    "approved": "approved",
    "canceled": "canceled",
    "refunded": "refunded",
    "partial_refund": "refunded",
}


def payment_calls_router(calls: PaymentCalls) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(tags=["payment"])
    for family in PREFIXES:
        _add_h2h_status(routes, calls, family)
    return routes


def _add_h2h_status(routes: APIRouter, calls: PaymentCalls, family: Family) -> None:
    @routes.get(
        f"{PREFIXES[family]}{_H2H_TAIL}",
        summary="What became of a payment, in the words of card payments",
        responses=payment_schemas.H2H_RESPONSES if family == "v1" else mobile_schemas.H2H_RESPONSES,
    )
    async def h2h_status(  # pyright: ignore[reportUnusedFunction]
        request: Request, transaction_id: InvoiceId
    ) -> Response:
        """Answer by invoice or order id: pending, approved, canceled or refunded."""
        payment = await find_payment(calls, request, family, "read", transaction_id)
        if payment is None:
            raise NotFound("payment_not_found", "there is no such payment")
        shape = _mobile if family == "mobile" else _newer
        return to_response(
            shape(payment, transaction_id, _WORDS[payment.shown_status(calls.clock())])
        )


def _mobile(payment: Payment, transaction_id: str, word: str) -> dict[str, Any]:
    del payment, transaction_id
    return {"success": True, "status": word, "final": word != "pending", "detail": word}


def _newer(payment: Payment, transaction_id: str, word: str) -> dict[str, Any]:
    return {
        "success": True,
        "transaction_id": transaction_id,
        "invoice_id": payment.invoice_id,
        "status": word,
        "client_id": str(payment.client_id),
        "amount": to_som(payment.amount_minor),
    }
