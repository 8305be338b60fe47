"""POST /balance/topup-qr, GET /payment/status/{invoice_id}, POST /payment/webhook/{provider}."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, Protocol
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from evpower.foundation import idempotency
from evpower.foundation.body import read_body
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Database
from evpower.foundation.errors import Forbidden
from evpower.foundation.fast_path import HotPath
from evpower.identity import Principal, may_read
from evpower.payments import old_shape, schemas, store, webhook
from evpower.payments.confirm import Confirmer
from evpower.payments.parse import MAX_BYTES, parse_top_up
from evpower.payments.providers.registry import Providers
from evpower.payments.top_up import NotBegun, top_up

# The text of a code in the language a request asks for: (code, Accept-Language) -> text.
Say = Callable[[str, str], str]
_MAX_INVOICE_ID: Final = 128


class Access(Protocol):
    """Who calls, as identity finds it."""

    def principal(self, request: Request) -> Awaitable[Principal]:
        """Anybody with a valid token or key."""
        ...

    def resolve(self, caller: Principal, raw: str | UUID) -> Awaitable[UUID]:
        """Whom an id means, one from before included."""
        ...

    def require_client_for_money(self, request: Request) -> Awaitable[Principal]:
        """A client alone, whom Supabase still knows if the settings want it asked."""
        ...


def router(
    db: Database,
    access: Access,
    providers: Providers,
    confirmer: Confirmer,
    *,
    min_som: int,
    max_som: int,
    say: Say,
    clock: Clock = utc_now,
) -> APIRouter:
    """Build the routes; `min_som` and `max_som` bound a top-up."""
    routes = APIRouter(prefix="/api/v1")
    _add_top_up(routes, db, access, providers, (min_som * 100, max_som * 100), say, clock)
    _add_status(routes, db, access, say, clock)
    _add_webhook(routes, providers, confirmer, clock)
    return routes


def _add_top_up(
    routes: APIRouter,
    db: Database,
    access: Access,
    providers: Providers,
    bounds_minor: tuple[int, int],
    say: Say,
    clock: Clock,
) -> None:
    @routes.post(
        "/balance/topup-qr",
        tags=["balance"],
        summary="Begin a top-up by QR",
        responses=schemas.TOP_UP_RESPONSES,
        openapi_extra=schemas.TOP_UP_BODY,
    )
    async def topup_qr(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, Depends(access.require_client_for_money)]
    ) -> Response:
        """Make an invoice the client pays in their bank's app. The client is the token's."""
        client_id = _client_of(principal)
        raw = await read_body(request, MAX_BYTES)
        asked = parse_top_up(raw, client_id, *bounds_minor)
        if asked.speaks_for is not None:
            may_read(principal, await access.resolve(principal, asked.speaks_for))
        begun = await top_up(
            db,
            providers.qr,
            client_id=client_id,
            amount_minor=asked.amount_minor,
            description=asked.description,
            clock=clock,
            key=idempotency.key_of(request.scope["state"]),
        )
        if isinstance(begun, NotBegun):
            outcome = "refused" if begun.is_known else "unknown"
            idempotency.set_outcome(request.scope["state"], outcome)
            message = say(begun.code, request.headers.get("accept-language", ""))
            return _json(old_shape.not_begun(begun, client_id, message))
        return _json(old_shape.topping_up(begun))


def _add_status(routes: APIRouter, db: Database, access: Access, say: Say, clock: Clock) -> None:
    @routes.get(
        "/payment/status/{invoice_id}",
        tags=["payment"],
        summary="What became of a payment",
        responses=schemas.STATUS_RESPONSES,
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
                payment = await store.by_invoice(connection, invoice_id)
        if payment is None:
            message = say("payment_not_found", request.headers.get("accept-language", ""))
            return _json(old_shape.unknown_payment(invoice_id, message))
        may_read(principal, payment.client_id)
        return _json(old_shape.status(payment, clock()))


def _add_webhook(
    routes: APIRouter, providers: Providers, confirmer: Confirmer, clock: Clock
) -> None:
    @routes.post(
        "/payment/webhook/{provider}",
        tags=["payment"],
        summary="A provider says what happened",
        responses=schemas.WEBHOOK_RESPONSES,
        openapi_extra=schemas.WEBHOOK_BODY,
    )
    async def payment_webhook(request: Request, provider: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Take a signed event; repeated, reordered or late ones are harmless."""
        return await _take_webhook(request, provider, providers, confirmer, clock)


def hot_paths(
    providers: Providers, confirmer: Confirmer, *, clock: Clock = utc_now
) -> list[HotPath]:
    """Name the path banks call for every payment."""

    async def serve_webhook(request: Request, tail: str) -> Response | None:
        return await _take_webhook(request, tail, providers, confirmer, clock)

    template = "/api/v1/payment/webhook/{provider}"
    return [HotPath("POST", "/api/v1/payment/webhook/", template, serve_webhook)]


async def _take_webhook(
    request: Request, provider: str, providers: Providers, confirmer: Confirmer, clock: Clock
) -> Response:
    known = providers.named(provider)
    raw = await read_body(request, webhook.MAX_BYTES)
    return _json(await webhook.receive(known, confirmer, request.headers, raw, clock))


def _client_of(principal: Principal) -> UUID:
    if principal.client_id is None:
        raise Forbidden("forbidden", "only a client may do this")
    return principal.client_id


def _json(answer: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(answer), media_type="application/json")
