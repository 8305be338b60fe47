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
from evpower.api.legacy.respond import language_of, refused, spoken
from evpower.api.legacy.top_up_request import MAX_BYTES, parse_top_up
from evpower.foundation import idempotency
from evpower.foundation.body import read_body
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Database
from evpower.foundation.errors import (
    Conflict,
    EvPowerError,
    Forbidden,
    NotFound,
    Unavailable,
)
from evpower.identity import Access, Principal, may_read

TOP_UP_PATHS: Final = ("/api/v1/balance/topup-qr", "/api/v1/balance/topup-card")
TOP_UP_PATH: Final = "/api/v1/balance/topup-qr"
PAYMENT_PATH: Final = "/api/v1/payment/status/{invoice_id}"
BALANCE_PATH: Final = "/api/v1/balance/{client_id}"
_MAX_INVOICE_ID: Final = 128
_RETRY_S: Final = 5


def payments_router(
    db: Database,
    access: Access,
    providers: payments.Providers,
    confirmer: payments.Confirmer,
    *,
    min_som: int,
    max_som: int,
    clock: Clock = utc_now,
) -> APIRouter:
    """Returns the routes; `min_som` and `max_som` limit a top-up."""
    routes = APIRouter(prefix="/api/v1")
    _add_top_up(routes, db, access, providers, confirmer, (min_som * 100, max_som * 100), clock)
    _add_status(routes, db, access, clock)
    return routes


def _add_top_up(
    routes: APIRouter,
    db: Database,
    access: Access,
    providers: payments.Providers,
    confirmer: payments.Confirmer,
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
            confirmer,
            client_id=client_id,
            amount_minor=request_body.amount_minor,
            description=request_body.description,
            clock=clock,
            key=idempotency.key_of(request.scope["state"]),
        )
        if isinstance(begun, payments.TopUpFailure):
            return _not_begun(begun, client_id, request)
        return _json(payment_answers.topping_up(begun))


def _not_begun(begun: payments.TopUpFailure, client_id: UUID, request: Request) -> Response:
    state = request.scope["state"]
    idempotency.set_outcome(state, "refused" if begun.is_known else "unknown")
    error: EvPowerError
    if begun.code == "client_not_found":
        error = NotFound("client_not_found", "there is no such client")
    elif begun.is_known:
        error = Conflict("payment_provider_error", "the provider refused the invoice")
    else:
        state["is_expected"] = True  # no fault of ours: calls of providers are counted apart
        error = Unavailable(
            "payment_provider_error", "the provider did not answer", retry_after_s=_RETRY_S
        )
    return refused(error, request, payment_answers.not_begun(begun, client_id))


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
        if payment is None or not _may_see(principal, payment.client_id):
            language = language_of(request)
            message = messages.sentence(["payment_not_found"], language)
            return spoken(payment_answers.unknown_payment(invoice_id, message), language)
        return _json(payment_answers.status(payment, clock()))


def _client_of(principal: Principal) -> UUID:
    if principal.client_id is None:
        raise Forbidden("forbidden", "only a client may do this")
    return principal.client_id


def _may_see(principal: Principal, client_id: UUID) -> bool:
    """Returns false for another client's payment, which is answered as one that is unknown."""
    return principal.kind != "client" or principal.client_id == client_id


def _json(answer: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(answer), media_type="application/json")
