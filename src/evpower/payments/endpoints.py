"""POST /payment/webhook/{provider}."""

from collections.abc import Mapping
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from evpower.foundation.body import read_body
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.fast_path import FastPath
from evpower.payments import schemas, webhook
from evpower.payments.confirm import Confirmer
from evpower.payments.providers.registry import Providers

WEBHOOK_PREFIX: Final = "/api/v1/payment/webhook"


def router(providers: Providers, confirmer: Confirmer, *, clock: Clock = utc_now) -> APIRouter:
    """Builds the route."""
    routes = APIRouter(prefix=WEBHOOK_PREFIX)

    @routes.post(
        "/{provider}",
        tags=["payment"],
        summary="A provider says what happened",
        responses=schemas.WEBHOOK_RESPONSES,
        openapi_extra=schemas.WEBHOOK_BODY,
    )
    async def payment_webhook(request: Request, provider: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Take a signed event; repeated, reordered or late ones are harmless."""
        return await _webhook_response(request, provider, providers, confirmer, clock)

    return routes


def fast_paths(
    providers: Providers, confirmer: Confirmer, *, clock: Clock = utc_now
) -> list[FastPath]:
    """Returns the webhook path, which bypasses the router: banks call it for every payment."""

    async def serve_webhook(request: Request, tail: str) -> Response | None:
        return await _webhook_response(request, tail, providers, confirmer, clock)

    template = f"{WEBHOOK_PREFIX}/{{provider}}"
    return [FastPath("POST", f"{WEBHOOK_PREFIX}/", template, serve_webhook)]


async def _webhook_response(
    request: Request, name: str, providers: Providers, confirmer: Confirmer, clock: Clock
) -> Response:
    provider = providers.named(name)
    raw = await read_body(request, webhook.MAX_BYTES)
    return _json(await webhook.receive(provider, confirmer, request.headers, raw, clock))


def _json(body: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
