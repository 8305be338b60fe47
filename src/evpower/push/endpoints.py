"""`/api/v1/devices/...` and `/api/v1/notifications/...`: where a client's messages are sent.

Answers and refusals have the form that the app knows from the old API.
"""

from typing import Annotated, Any, Final, NamedTuple, cast
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.errors import Forbidden, NotFound
from evpower.foundation.language import ChooseLanguage, Sentence
from evpower.foundation.openapi import Responses, json_response, problem
from evpower.identity import Access, Principal
from evpower.push.devices import (
    FCM_HOST,
    read_fcm_token,
    read_subscription,
    register_device,
    remove_device,
)
from evpower.push.keys import PushSettings
from evpower.push.model import NewDevice, PushLanguage
from evpower.push.schemas import (
    Done,
    PhoneBody,
    PhoneTokenBody,
    PublicKey,
    SubscribeBody,
    UnsubscribeBody,
)

REGISTER_PATH: Final = "/api/v1/devices/register"
UNREGISTER_PATH: Final = "/api/v1/devices/unregister"
KEY_PATH: Final = "/api/v1/notifications/vapid-public-key"
SUBSCRIBE_PATH: Final = "/api/v1/notifications/subscribe"
UNSUBSCRIBE_PATH: Final = "/api/v1/notifications/unsubscribe"
PLAIN_ERRORS: Final = (
    REGISTER_PATH, UNREGISTER_PATH, KEY_PATH, SUBSCRIBE_PATH, UNSUBSCRIBE_PATH,
)  # fmt: skip
_CLIENTS_ONLY: Final[dict[str, Any]] = {"security": [{"supabaseToken": []}]}
_REFUSALS: Final[Responses] = {
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: problem("`forbidden`: only a client has devices"),
}
_DONE: Final[Responses] = {200: json_response("Done", Done)}
_WITHOUT_KEY: Final[Responses] = {404: problem("`push_not_configured`")}
_KEY: Final[Responses] = {200: json_response("The key", PublicKey), **_WITHOUT_KEY}


class PushCalls(NamedTuple):
    """What the routes work with; `settings` None: Web Push is not configured."""

    db: Database
    access: Access
    settings: PushSettings | None
    sentence: Sentence
    choose_language: ChooseLanguage
    clock: Clock

    def language(self, request: Request) -> PushLanguage:
        """Returns the language in which the app reads, and so the device."""
        chosen = self.choose_language(request.headers.get("accept-language", ""))
        return cast("PushLanguage", chosen)

    def done(self, request: Request, code: str) -> Response:
        """Returns the answer with its sentence."""
        language = self.language(request)
        answer = {"success": True, "message": self.sentence([code], language)}
        return Response(
            orjson.dumps(answer),
            media_type="application/json",
            headers={"Content-Language": language, "Vary": "Accept-Language"},
        )

    def configured(self) -> PushSettings:
        """Returns the settings. Raises NotFound("push_not_configured")."""
        if self.settings is None:
            raise NotFound("push_not_configured", "this server sends no messages to browsers")
        return self.settings


def push_router(calls: PushCalls) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(tags=["notifications"], responses=_REFUSALS)
    _add_phones(routes, calls)
    _add_browsers(routes, calls)
    return routes


def _add_phones(routes: APIRouter, calls: PushCalls) -> None:
    caller = Depends(calls.access.require_client)

    @routes.post(
        REGISTER_PATH, summary="Register a phone", responses=_DONE, openapi_extra=_CLIENTS_ONLY
    )
    async def register(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, caller], body: PhoneBody
    ) -> Response:
        """Store where a phone is reached; one that is registered already is a success, too."""
        device = NewDevice(
            _client_of(principal),
            "fcm",
            read_fcm_token(body.fcm_token),
            FCM_HOST,
            body.platform,
            body.app_version,
            calls.language(request),
        )
        async with calls.db.transaction() as connection:
            await register_device(connection, device, calls.clock())
        return calls.done(request, "device_registered")

    @routes.post(
        UNREGISTER_PATH, summary="Remove a phone", responses=_DONE, openapi_extra=_CLIENTS_ONLY
    )
    async def unregister(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, caller], body: PhoneTokenBody
    ) -> Response:
        """Remove a phone; one that is not registered is a success, too."""
        async with calls.db.transaction() as connection:
            await remove_device(connection, _client_of(principal), "fcm", body.fcm_token.strip())
        return calls.done(request, "device_removed")


def _add_browsers(routes: APIRouter, calls: PushCalls) -> None:
    caller = Depends(calls.access.require_client)

    @routes.get(
        KEY_PATH,
        summary="The key for subscriptions",
        responses=_KEY,
        openapi_extra=_CLIENTS_ONLY,
    )
    async def public_key(  # pyright: ignore[reportUnusedFunction]
        principal: Annotated[Principal, caller],
    ) -> Response:
        """Answer what an app gives its browser as applicationServerKey."""
        del principal
        answer = {"success": True, "public_key": calls.configured().keys.public}
        return Response(orjson.dumps(answer), media_type="application/json")

    @routes.post(
        SUBSCRIBE_PATH,
        summary="Register a browser",
        responses={**_DONE, **_WITHOUT_KEY},
        openapi_extra=_CLIENTS_ONLY,
    )
    async def subscribe(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, caller], body: SubscribeBody
    ) -> Response:
        """Store a browser's subscription; the same again renews it."""
        settings = calls.configured()
        endpoint, host, keys = read_subscription(
            settings.hosts, body.endpoint, body.keys.p256dh, body.keys.auth
        )
        device = NewDevice(
            _client_of(principal),
            "web",
            endpoint,
            host,
            "web",
            None,
            calls.language(request),
            keys,
            settings.keys.public,
        )
        async with calls.db.transaction() as connection:
            await register_device(connection, device, calls.clock())
        return calls.done(request, "device_registered")

    @routes.post(
        UNSUBSCRIBE_PATH, summary="Remove a browser", responses=_DONE, openapi_extra=_CLIENTS_ONLY
    )
    async def unsubscribe(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, caller], body: UnsubscribeBody
    ) -> Response:
        """Remove a browser's subscription; one that is not stored is a success, too."""
        async with calls.db.transaction() as connection:
            await remove_device(connection, _client_of(principal), "web", body.endpoint)
        return calls.done(request, "device_removed")


def _client_of(principal: Principal) -> UUID:
    if principal.client_id is None:
        raise Forbidden("forbidden", "only a client may do this")
    return principal.client_id
