"""Top-up by QR and the status of a payment, in both families."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from evpower import payments
from evpower.api import messages
from evpower.api.legacy import mobile_answers, mobile_schemas, payment_answers, payment_schemas
from evpower.api.legacy.callers import OldCallers, has_credential
from evpower.api.legacy.families import PREFIXES, Family, Operation
from evpower.api.legacy.respond import language_of, refused, spoken
from evpower.api.legacy.top_up_request import MAX_BYTES, TopUpRequest, parse_top_up
from evpower.foundation import idempotency
from evpower.foundation.body import read_body
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Database
from evpower.foundation.errors import Conflict, EvPowerError, Forbidden, NotFound, Unavailable
from evpower.foundation.segments import NumberedRoute
from evpower.identity import Principal
from evpower.payments import Payment

TOP_UP_TAIL: Final = "/balance/topup-qr"
_STATUS_TAIL: Final = "/payment/status/{invoice_id}"
_MAX_INVOICE_ID: Final = 128
_RETRY_S: Final = 5
InvoiceId = Annotated[str, Path(max_length=_MAX_INVOICE_ID)]


@dataclass(frozen=True, slots=True)
class PaymentCalls:
    """What the calls work with; `bounds_minor` limit a top-up."""

    db: Database
    callers: OldCallers
    providers: payments.Providers
    confirmer: payments.Confirmer
    bounds_minor: tuple[int, int]
    clock: Clock = utc_now


def payments_router(calls: PaymentCalls) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(route_class=NumberedRoute)
    for family in PREFIXES:
        _add_top_up(routes, calls, family)
        _add_status(routes, calls, family)
    return routes


def _add_top_up(routes: APIRouter, calls: PaymentCalls, family: Family) -> None:
    @routes.post(
        f"{PREFIXES[family]}{TOP_UP_TAIL}",
        tags=["balance"],
        summary="Begin a top-up by QR",
        responses=payment_schemas.TOP_UP_RESPONSES
        if family == "v1"
        else mobile_schemas.TOP_UP_RESPONSES,
        openapi_extra=payment_schemas.TOP_UP_BODY,
    )
    async def topup_qr(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Make an invoice the client pays in their bank's app. The client is the token's."""
        await calls.callers.admit(request, family, "top-up")
        raw = await read_body(request, MAX_BYTES)
        try:
            wanted = parse_top_up(raw, *calls.bounds_minor)
        except EvPowerError:
            calls.callers.count_misshaped(request)
            raise
        return await _top_up(calls, request, family, wanted)


async def _top_up(
    calls: PaymentCalls, request: Request, family: Family, wanted: TopUpRequest
) -> Response:
    principal = await calls.callers.client(request, family, "top-up", wanted.client)
    client_id = _client_of(principal)
    try:
        begun = await payments.top_up(
            calls.db,
            calls.providers.qr,
            calls.confirmer,
            client_id=client_id,
            amount_minor=wanted.amount_minor,
            description=wanted.description,
            clock=calls.clock,
            key=idempotency.key_of(request.scope.setdefault("state", {})),
            without_token=not has_credential(request),
        )
    except Forbidden as error:
        if error.code != "client_closed":
            raise
        raise Forbidden("client_deleted", "the client is closed") from error  # the word of a start
    if isinstance(begun, payments.TopUpFailure):
        return _not_begun(begun, client_id, request, family)
    answer = payment_answers.topping_up(begun)
    return to_response(mobile_answers.topping_up(answer) if family == "mobile" else answer)


def _not_begun(
    begun: payments.TopUpFailure, client_id: UUID, request: Request, family: Family
) -> Response:
    state = request.scope.setdefault("state", {})
    idempotency.set_outcome(state, "refused" if begun.is_known else "unknown")
    error: EvPowerError
    if begun.code == "client_not_found":
        error = NotFound("client_not_found", "there is no such client")
    elif begun.is_known or family == "mobile":  # the oldest app reads no other status than 200
        error = Conflict("payment_provider_error", "the provider made no invoice")
    else:
        state["is_expected"] = True  # no fault of ours: calls of providers are counted apart
        error = Unavailable(
            "payment_provider_error", "the provider did not answer", retry_after_s=_RETRY_S
        )
    return refused(error, request, payment_answers.not_begun(begun, client_id), family=family)


def _add_status(routes: APIRouter, calls: PaymentCalls, family: Family) -> None:
    @routes.get(
        f"{PREFIXES[family]}{_STATUS_TAIL}",
        tags=["payment"],
        summary="What became of a payment",
        responses=payment_schemas.STATUS_RESPONSES
        if family == "v1"
        else mobile_schemas.PAYMENT_RESPONSES,
    )
    async def payment_status(  # pyright: ignore[reportUnusedFunction]
        request: Request, invoice_id: InvoiceId
    ) -> Response:
        """Answer by invoice or order id: 0 processing, 1 approved, 2 canceled, 3 or 4 refunded."""
        payment = await find_payment(calls, request, family, invoice_id)
        if payment is not None:
            answer = payment_answers.status(payment, calls.clock())
            return to_response(mobile_answers.payment(answer) if family == "mobile" else answer)
        language = language_of(request)
        message = messages.sentence(["payment_not_found"], language)
        if family == "mobile":
            return spoken(mobile_answers.unknown_payment(invoice_id, message), language)
        return spoken(payment_answers.unknown_payment(invoice_id, message), language)


async def find_payment(
    calls: PaymentCalls, request: Request, family: Family, invoice_id: str
) -> Payment | None:
    """Returns the payment of an invoice or order id if the caller may read it.

    Another client's payment is as one that is unknown. Raises the errors of `OldCallers.by_id`.
    """
    name = _name(invoice_id)
    caller = await calls.callers.by_id(request, family, "read", name)
    payment = await _find(calls, caller, invoice_id)
    if payment is not None:
        calls.callers.exists(request, name)
    return payment


async def find_own_payment(
    calls: PaymentCalls, request: Request, family: Family, operation: Operation, invoice_id: str
) -> Payment | None:
    """Returns the payment if it is the calling client's.

    Another client's is as one that is unknown. Without a token a `top-up` is of a listed client.
    Raises the errors of `OldCallers.client_by_id` and `demand_listed`.
    """
    name = _name(invoice_id)
    caller = await calls.callers.client_by_id(request, family, operation, name)
    payment = await _find(calls, caller, invoice_id)
    if payment is None:
        return None
    if operation == "top-up":
        await calls.callers.demand_listed(request, family, operation, payment.client_id)
    calls.callers.exists(request, name)
    return payment


async def _find(calls: PaymentCalls, caller: Principal | None, invoice_id: str) -> Payment | None:
    if not (invoice_id.isascii() and invoice_id.isprintable()):
        return None
    async with calls.db.connection() as connection:
        payment = await payments.find_by_invoice(connection, invoice_id)
    if payment is None or caller is None:
        return payment
    is_another = caller.kind == "client" and caller.client_id != payment.client_id
    return None if is_another else payment


def _name(invoice_id: str) -> str:
    return f"invoice:{invoice_id}"


def _client_of(principal: Principal) -> UUID:
    if principal.client_id is None:
        raise Forbidden("forbidden", "only a client may do this")
    return principal.client_id


def to_response(answer: Mapping[str, Any]) -> Response:
    """Returns an answer without a sentence."""
    return Response(orjson.dumps(answer), media_type="application/json")
