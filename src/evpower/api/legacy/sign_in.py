"""`/api/v1/auth/`: sign-in by a code sent to the phone, refresh, logout, me."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from evpower.api import messages
from evpower.api.legacy import sign_in_schemas as schemas
from evpower.api.legacy.respond import language_of, refused, spoken
from evpower.api.legacy.users import shown_caller, shown_client, shown_operator
from evpower.foundation import idempotency
from evpower.foundation.addresses import Network, client_address
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError
from evpower.identity import (
    Access,
    PhoneSignIn,
    Principal,
    SignedIn,
    log_out,
    refresh,
    send_code,
    sign_in_by_code,
)

SEND_PATHS: Final = ("/api/v1/auth/send-otp", "/api/v1/auth/otp/send")
VERIFY_PATHS: Final = ("/api/v1/auth/verify-otp", "/api/v1/auth/otp/verify")
REFRESH_PATH: Final = "/api/v1/auth/refresh"
LOGOUT_PATH: Final = "/api/v1/auth/logout"
ME_PATH: Final = "/api/v1/auth/me"
CODE_PATHS: Final = (*SEND_PATHS, *VERIFY_PATHS)
TOKEN_PATHS: Final = (REFRESH_PATH, LOGOUT_PATH)
_ACCESS_S: Final = 900
_HTTP_OK: Final = 200


@dataclass(frozen=True, slots=True)
class SignInRoutes:
    """What the routes work with."""

    db: Database
    access: Access
    phones: PhoneSignIn
    trusted_proxies: tuple[Network, ...] = ()

    def address_of(self, request: Request) -> str:
        """Returns the caller's address; IPv6 as its /64."""
        peer = request.client.host if request.client else ""
        forwarded_for = ", ".join(request.headers.getlist("x-forwarded-for"))
        return client_address(peer, forwarded_for, self.trusted_proxies)


def sign_in_router(routes: SignInRoutes) -> APIRouter:
    """Returns the routes."""
    router = APIRouter(tags=["auth"])
    _add_send(router, routes)
    _add_verify(router, routes)
    _add_tokens(router, routes)
    return router


def _add_send(router: APIRouter, routes: SignInRoutes) -> None:
    async def send_otp(request: Request, body: schemas.CodeRequestBody) -> Response:
        """Send a code by SMS; the answer does not tell whether the phone is known."""
        language = language_of(request)

        async def send() -> Response:
            calls = routes.phones.signing_in()
            sent = await send_code(
                calls.db,
                calls.rules,
                body.phone,
                routes.address_of(request),
                text=lambda code: messages.text("sms_code", _HTTP_OK, language, {"code": code}),
                clock=calls.clock,
            )
            answer = {
                "success": True,
                "phone": sent.phone,
                "expires_in_seconds": sent.expires_in_s,
                "resend_available_in_seconds": sent.resend_in_s,
                "message": messages.sentence(["code_sent"], language),
            }
            return _secret(request, answer)

        return await _limited(request, send)

    for path in SEND_PATHS:
        router.add_api_route(
            path,
            send_otp,
            methods=["POST"],
            summary="Send a sign-in code",
            responses=schemas.SEND_RESPONSES,
            openapi_extra=schemas.PUBLIC,
            operation_id=_operation(path),
        )


def _add_verify(router: APIRouter, routes: SignInRoutes) -> None:
    async def verify_otp(request: Request, body: schemas.CodeBody) -> Response:
        """Sign in with the code; a phone without an account gets one."""

        async def verify() -> Response:
            calls = routes.phones.signing_in()
            address = routes.address_of(request)
            signed_in = await sign_in_by_code(calls, body.phone, body.code, address)
            return _secret(request, await _signed_in(routes.db, signed_in))

        return await _limited(request, verify)

    for path in VERIFY_PATHS:
        router.add_api_route(
            path,
            verify_otp,
            methods=["POST"],
            summary="Sign in with a code",
            responses=schemas.VERIFY_RESPONSES,
            openapi_extra=schemas.PUBLIC,
            operation_id=_operation(path),
        )


def _add_tokens(router: APIRouter, routes: SignInRoutes) -> None:
    @router.post(
        REFRESH_PATH,
        summary="Get the next access token",
        responses=schemas.REFRESH_RESPONSES,
        openapi_extra=schemas.PUBLIC,
    )
    async def auth_refresh(  # pyright: ignore[reportUnusedFunction]
        request: Request, body: schemas.RefreshBody
    ) -> Response:
        """Return an access token; the refresh token stays the same without `rotation`."""
        token = body.refresh_token.get_secret_value()
        tokens = await refresh(routes.phones.refreshing(), token, rotation=body.rotation)
        answer: dict[str, Any] = {
            "success": True,
            "access_token": tokens.access,
            "token_type": "bearer",
            "expires_in": _ACCESS_S,
        }
        if tokens.refresh:
            answer["refresh_token"] = tokens.refresh
        return _secret(request, answer)

    @router.post(
        LOGOUT_PATH,
        summary="End a sign-in",
        responses=schemas.LOGOUT_RESPONSES,
        openapi_extra=schemas.PUBLIC,
    )
    async def auth_logout(  # pyright: ignore[reportUnusedFunction]
        request: Request, body: schemas.LogoutBody
    ) -> Response:
        """Revoke the refresh token; the access token ends within 15 minutes by itself."""
        if body.refresh_token is not None and routes.phones.refreshes is not None:
            await log_out(routes.phones.refreshes, body.refresh_token.get_secret_value())
        language = language_of(request)
        answer = {"success": True, "message": messages.sentence(["signed_out"], language)}
        return _secret(request, answer)

    @router.get(
        ME_PATH,
        summary="Who calls",
        responses=schemas.ME_RESPONSES,
        openapi_extra={"security": [{"supabaseToken": []}]},
    )
    async def auth_me(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, Depends(routes.access.principal)]
    ) -> Response:
        """Return the client or operator of the access token."""
        async with routes.db.connection() as connection:
            user, kind = await shown_caller(connection, principal)
        return _secret(request, {"success": True, "user": user, "user_type": kind})


async def _signed_in(db: Database, signed_in: SignedIn) -> dict[str, Any]:
    account, tokens = signed_in.account, signed_in.tokens
    if account.operator is not None:
        user = shown_operator(account.operator, account.phone)
    else:
        async with db.connection() as connection:
            user = await shown_client(connection, account.user_id)
    return {
        "success": True,
        "access_token": tokens.access,
        "refresh_token": tokens.refresh,
        "token_type": "bearer",
        "expires_in": _ACCESS_S,
        "user": user,
        "user_type": tokens.subject.kind,
        "is_new_user": account.is_new,
    }


def _secret(request: Request, answer: dict[str, Any]) -> Response:
    """Returns an answer that is stored nowhere, whatever key the request has."""
    idempotency.store_nothing(request.scope.setdefault("state", {}))
    return spoken(answer, language_of(request))


async def _limited(request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
    """Returns the response; a refusal that passes tells the app's countdown when."""
    try:
        return await work()
    except EvPowerError as error:
        if error.retry_after_s is None:
            raise
        return refused(error, request, {"retry_after_seconds": error.retry_after_s})


def _operation(path: str) -> str:
    return path.removeprefix("/api/v1/").replace("/", "_").replace("-", "_")
