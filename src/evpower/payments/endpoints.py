"""Providers' notices: /payment/webhook/{provider}, and the old address without a provider."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from evpower.foundation.addresses import Network, client_address
from evpower.foundation.body import read_body
from evpower.foundation.fast_path import FastPath
from evpower.payments import schemas, webhook
from evpower.payments.confirm import Confirmer
from evpower.payments.providers.protocol import NoticeRequest
from evpower.payments.providers.registry import OLD_NOTICE_PATHS, WEBHOOK_PREFIX, Providers
from evpower.payments.questions import Questions

_METHODS: Final = ("GET", "POST")


class Notices:
    """Takes notices of every provider."""

    def __init__(
        self,
        providers: Providers,
        confirmer: Confirmer,
        questions: Questions,
        *,
        old_provider: str = "",
        trusted_proxies: tuple[Network, ...] = (),
    ) -> None:
        """`old_provider`: whose notices the addresses without a provider take."""
        self.old_provider = old_provider
        self._providers = providers
        self._confirmer = confirmer
        self._questions = questions
        self._trusted = trusted_proxies

    async def respond(self, request: Request, name: str) -> Response:
        """Returns the provider's answer. Raises NotFound("provider_not_found"), see `receive`."""
        provider = self._providers.named(name)
        notice = self._request(request, await read_body(request, webhook.MAX_BYTES))
        answer, is_verified = await webhook.receive(
            provider, self._confirmer, self._questions, notice
        )
        if not is_verified:
            request.scope.setdefault("state", {})["is_unverified"] = (
                True  # it costs its sender's budget
            )
        return Response(answer.body, answer.status, media_type=answer.media_type)

    def _request(self, request: Request, raw: bytes) -> NoticeRequest:
        headers, scope = request.headers, request.scope
        peer = request.client.host if request.client else ""
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        return NoticeRequest(
            method=scope["method"],
            path=path.partition(b"?")[0].decode("latin-1"),
            host=headers.get("host", ""),
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            raw=raw,
            peer=client_address(peer, headers.get("x-forwarded-for", ""), self._trusted),
        )


def router(notices: Notices) -> APIRouter:
    """Builds the routes."""
    routes = APIRouter()

    @routes.api_route(
        f"{WEBHOOK_PREFIX}/{{provider}}",
        methods=["POST"],
        tags=["payment"],
        summary="A provider says what happened",
        responses=schemas.WEBHOOK_RESPONSES,
        openapi_extra=schemas.WEBHOOK_BODY,
    )
    async def payment_webhook(request: Request, provider: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Take a signed event; repeated, reordered or late ones are harmless."""
        return await notices.respond(request, provider)

    async def by_query(request: Request, provider: str) -> Response:
        return await notices.respond(request, provider)

    async def old(request: Request) -> Response:
        return await notices.respond(request, notices.old_provider)

    routes.add_api_route(
        f"{WEBHOOK_PREFIX}/{{provider}}", by_query, methods=["GET"], include_in_schema=False
    )
    for path in OLD_NOTICE_PATHS:
        routes.add_api_route(path, old, methods=list(_METHODS), include_in_schema=False)
    return routes


def fast_paths(notices: Notices) -> list[FastPath]:
    """Returns the webhook path, which bypasses the router: banks call it for every payment."""
    template = f"{WEBHOOK_PREFIX}/{{provider}}"
    return [FastPath("POST", f"{WEBHOOK_PREFIX}/", template, notices.respond)]
