"""Less usual calls about a payment, in both families: its check, its end, its state in words."""

from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from evpower import payments
from evpower.api import messages
from evpower.api.legacy import mobile_schemas, payment_schemas
from evpower.api.legacy.callers import has_credential
from evpower.api.legacy.families import PREFIXES, Family
from evpower.api.legacy.payments import (
    InvoiceId,
    PaymentCalls,
    find_own_payment,
    find_payment,
    to_response,
)
from evpower.api.legacy.respond import language_of, refused, spoken
from evpower.foundation.clock import to_z
from evpower.foundation.errors import Conflict, NotFound
from evpower.foundation.money import to_som
from evpower.foundation.segments import NumberedRoute
from evpower.payments import Payment

_CHECK_TAIL: Final = "/payment/status-check/{invoice_id}"
_CANCEL_TAIL: Final = "/payment/cancel/{invoice_id}"
_CHECK_S: Final = 5
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
    routes = APIRouter(tags=["payment"], route_class=NumberedRoute)
    for family in PREFIXES:
        _add_status_check(routes, calls, family)
        _add_cancel(routes, calls, family)
        _add_h2h_status(routes, calls, family)
    return routes


def _add_status_check(routes: APIRouter, calls: PaymentCalls, family: Family) -> None:
    @routes.post(
        f"{PREFIXES[family]}{_CHECK_TAIL}",
        summary="Ask the provider about a payment",
        responses=payment_schemas.CHECK_RESPONSES
        if family == "v1"
        else mobile_schemas.CHECK_RESPONSES,
        openapi_extra=payment_schemas.CLIENT_ONLY,
    )
    async def status_check(  # pyright: ignore[reportUnusedFunction]
        request: Request, invoice_id: InvoiceId
    ) -> Response:
        """Have the provider asked within seconds, also about an invoice that has expired."""
        payment = _known(await find_own_payment(calls, request, family, "read", invoice_id))
        now = calls.clock()
        await payments.ask_soon(calls.db, payment, now=now)
        if payment.shown_status(now) != "processing":
            return _not_waiting(request, family, payment, now)
        language = language_of(request)
        answer: dict[str, Any] = {
            "success": True,
            "message": messages.sentence(["payment_being_checked"], language),
            "invoice_id": payment.invoice_id,
        }
        if family == "mobile":
            answer |= {"check_type": "manual", "estimated_completion_seconds": _CHECK_S}
        return spoken(answer, language)


def _not_waiting(request: Request, family: Family, payment: Payment, now: datetime) -> Response:
    if family == "v1":
        error = Conflict("payment_not_processing", "it does not wait for money any more")
        return refused(error, request, {"status": payment.shown_status(now)})
    if payment.status == "processing":
        error = Conflict("payment_expired", "its QR has expired")
        expired = {"invoice_expires_at": to_z(payment.expires_at)}
        return refused(error, request, expired, family=family)
    error = Conflict("payment_completed", f"it is {payment.status}")
    return refused(error, request, {"current_status": payment.status}, family=family)


def _add_cancel(routes: APIRouter, calls: PaymentCalls, family: Family) -> None:
    @routes.post(
        f"{PREFIXES[family]}{_CANCEL_TAIL}",
        summary="Cancel a payment that is not paid",
        responses=payment_schemas.CANCEL_RESPONSES
        if family == "v1"
        else mobile_schemas.CANCEL_RESPONSES,
        openapi_extra=payment_schemas.CLIENT_ONLY,
    )
    async def cancel(  # pyright: ignore[reportUnusedFunction]
        request: Request, invoice_id: InvoiceId
    ) -> Response:
        """Cancel it at the provider, then here; money that comes nevertheless is credited."""
        payment = _known(await find_own_payment(calls, request, family, "top-up", invoice_id))
        try:
            after = await payments.cancel(
                calls.db,
                calls.providers,
                calls.confirmer,
                invoice_id=payment.invoice_id,
                clock=calls.clock,
            )
        except Conflict as error:
            if error.code != "cannot_cancel":
                raise
            return _not_canceled(request, family, str(error.params["status"]))
        if after.status != "canceled":
            return _not_canceled(request, family, after.status)
        language = language_of(request)
        answer: dict[str, Any] = {
            "success": True,
            "message": messages.sentence(["payment_canceled"], language),
            "invoice_id": after.invoice_id,
        }
        if family == "v1":
            return spoken(answer | {"status": after.status}, language)
        return spoken(
            answer
            | {
                "client_id": str(after.client_id),
                "amount": to_som(after.amount_minor),
                "previous_status": payment.status,
                "new_status": after.status,
                "provider": after.provider,
            },
            language,
        )


def _not_canceled(request: Request, family: Family, status: str) -> Response:
    error = Conflict("payment_not_cancellable", f"it is {status}")
    if family == "v1":
        return refused(error, request, {"status": status})
    members = {"error": "cannot_cancel", "current_status": status}
    return refused(error, request, members, family=family)


def _known(payment: Payment | None) -> Payment:
    if payment is None:
        raise NotFound("payment_not_found", "there is no such payment")
    return payment


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
        payment = _known(await find_payment(calls, request, family, transaction_id))
        word = _WORDS[payment.shown_status(calls.clock())]
        if family == "mobile":
            mobile = {"status": word, "final": word != "pending", "detail": word}
            return to_response({"success": True, **mobile})
        # The id of an invoice does not tell a stranger whose it is.
        owner = {"client_id": str(payment.client_id)} if has_credential(request) else {}
        answer: dict[str, Any] = {
            "success": True,
            "transaction_id": transaction_id,
            "invoice_id": payment.invoice_id,
            "status": word,
            **owner,
            "amount": to_som(payment.amount_minor),
        }
        return to_response(answer)
