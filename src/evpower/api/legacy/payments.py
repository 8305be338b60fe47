"""`POST /api/v1/balance/topup-qr` and `GET /api/v1/payment/status/{invoice_id}`."""

from collections.abc import Mapping
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from evpower import payments
from evpower.api import messages
from evpower.api.legacy import payment_answers, payment_schemas
from evpower.api.legacy.top_up_request import MAX_BYTES, parse_top_up
from evpower.foundation import idempotency
from evpower.foundation.body import read_body
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Database
from evpower.foundation.errors import Forbidden
from evpower.identity import Access, Principal, may_read

TOP_UP_PATHS: Final = ("/api/v1/balance/topup-qr", "/api/v1/balance/topup-card")
_MAX_INVOICE_ID: Final = 128


def payments_router(
    db: Database,
    access: Access,
    providers: payments.Providers,
    *,
    min_som: int,
    max_som: int,
    clock: Clock = utc_now,
) -> APIRouter:
    """Returns the routes; `min_som` and `max_som` limit a top-up."""
    routes = APIRouter(prefix="/api/v1")
    _add_top_up(routes, db, access, providers, (min_som * 100, max_som * 100), clock)
    _add_status(routes, db, access, clock)
    return routes


def _add_top_up(
    routes: APIRouter,
    db: Database,
    access: Access,
    providers: payments.Providers,
    bounds_minor: tuple[int, int],
    clock: Clock,
) -> None:
    @routes.post(
        "/balance/topup-qr",
        tags=["balance"],
        summary="Begin a top-up by QR",
        responses=payment_schemas.TOP_UP_RESPONSES,
        openapi_extra=payment_schemas.TOP_UP_BODY,
    )
    async def topup_qr(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, Depends(access.require_client_for_money)]
    ) -> Response:
        """Make an invoice the client pays in their bank's app. The client is the token's."""
        client_id = _client_of(principal)
        raw = await read_body(request, MAX_BYTES)
        request_body = parse_top_up(raw, client_id, *bounds_minor)
        if request_body.speaks_for is not None:
            may_read(principal, await access.resolve(principal, request_body.speaks_for))
        begun = await payments.top_up(
            db,
            providers.qr,
            client_id=client_id,
            amount_minor=request_body.amount_minor,
            description=request_body.description,
            clock=clock,
            key=idempotency.key_of(request.scope["state"]),
        )
        if isinstance(begun, payments.TopUpFailure):
            outcome = "refused" if begun.is_known else "unknown"
            idempotency.set_outcome(request.scope["state"], outcome)
            message, headers = _text(begun.code, request)
            return _json(payment_answers.not_begun(begun, client_id, message), headers)
        return _json(payment_answers.topping_up(begun))


def _add_status(routes: APIRouter, db: Database, access: Access, clock: Clock) -> None:
    @routes.get(
        "/payment/status/{invoice_id}",
        tags=["payment"],
        summary="What became of a payment",
        responses=payment_schemas.STATUS_RESPONSES,
    )
    async def payment_status(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        invoice_id: Annotated[str, Path(max_length=_MAX_INVOICE_ID)],
        principal: Annotated[Principal, Depends(access.principal)],
    ) -> Response:
        """Answer by invoice or order id: 0 processing, 1 approved, 2 canceled, 3 or 4 refunded."""
        payment = None
        if invoice_id.isascii() and invoice_id.isprintable():
            async with db.connection() as connection:
                payment = await payments.find_by_invoice(connection, invoice_id)
        if payment is None:
            message, headers = _text("payment_not_found", request)
            return _json(payment_answers.unknown_payment(invoice_id, message), headers)
        may_read(principal, payment.client_id)
        return _json(payment_answers.status(payment, clock()))


def _client_of(principal: Principal) -> UUID:
    if principal.client_id is None:
        raise Forbidden("forbidden", "only a client may do this")
    return principal.client_id


def _text(code: str, request: Request) -> tuple[str, dict[str, str]]:
    """Returns a code's message in the language of the request, and the headers that name it."""
    language = messages.choose_language(request.headers.get("accept-language", ""))
    headers = {"Content-Language": language, "Vary": "Accept-Language"}
    return messages.text(code, 200, language, {}), headers


def _json(answer: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(answer), media_type="application/json", headers=headers)
