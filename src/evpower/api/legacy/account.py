"""`/api/v1/profile`, deletion of the account and taking it back."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from evpower import wallet
from evpower.api import messages
from evpower.api.legacy.respond import language_of, spoken
from evpower.api.legacy.sign_in_schemas import DoneAnswer
from evpower.api.legacy.users import client_of, is_charging, shown_client
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict
from evpower.foundation.money import to_text
from evpower.foundation.openapi import Responses, json_response, problem
from evpower.identity import (
    Access,
    AccountDeletion,
    Principal,
    ask_for_deletion,
    delete_account,
    restore_account,
)

PROFILE_PATH: Final = "/api/v1/profile"
DELETE_PATH: Final = "/api/v1/auth/delete-account"
REQUEST_PATH: Final = "/api/v1/account/delete-request"
RESTORE_PATH: Final = "/api/v1/account/restore"
_OK: Final = 200
_CLIENTS_ONLY: Final[dict[str, Any]] = {"security": [{"supabaseToken": []}]}


class ProfileAnswer(BaseModel):
    """The client of the token; unknown texts are empty."""

    success: Literal[True]
    client_id: str
    email: str
    phone: str
    name: str
    balance: Annotated[float, Field(description="som")]
    status: Literal["active", "blocked", "inactive"]


_REFUSALS: Final[Responses] = {
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: problem("`forbidden`: only a client has an account"),
}
_PROFILE: Final[Responses] = {200: json_response("The profile", ProfileAnswer)}
_DONE: Final[Responses] = {200: json_response("It is done", DoneAnswer)}
_IN_USE: Final[Responses] = {
    409: problem(
        "`account_charging`, `account_has_money`, `account_has_debt`, `idempotency_conflict`"
    ),
    503: problem("`auth_unavailable`, `supabase_unavailable`, `database_unavailable`"),
}


def account_router(calls: AccountDeletion, access: Access) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(tags=["account"], responses=_REFUSALS)
    _add_profile(routes, calls, access)
    _add_deletion(routes, calls, access)
    return routes


def _add_profile(routes: APIRouter, calls: AccountDeletion, access: Access) -> None:
    @routes.get(
        PROFILE_PATH,
        summary="The caller's profile",
        responses=_PROFILE,
        openapi_extra=_CLIENTS_ONLY,
    )
    async def profile(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, Depends(access.require_client)]
    ) -> Response:
        """Return contacts, name, balance and status."""
        async with calls.db.connection() as connection:
            user = await shown_client(connection, client_of(principal))
        members = {name: user[name] for name in ("email", "phone", "name", "balance", "status")}
        answer = {"success": True, "client_id": user["id"], **members}
        return spoken(answer, language_of(request))


def _add_deletion(routes: APIRouter, calls: AccountDeletion, access: Access) -> None:
    caller = Depends(access.require_client)

    @routes.post(
        DELETE_PATH,
        summary="Delete the account",
        responses={**_DONE, **_IN_USE},
        openapi_extra=_CLIENTS_ONLY,
    )
    async def auth_delete_account(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, caller]
    ) -> Response:
        """Delete it for good, if it holds no money, owes none and does not charge."""
        await delete_account(calls, client_of(principal), refuse_with_money)
        return _done(request, "account_deleted")

    @routes.post(
        REQUEST_PATH,
        summary="Ask for the account to be deleted",
        responses={**_DONE, **_IN_USE},
        openapi_extra=_CLIENTS_ONLY,
    )
    async def account_delete_request(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, caller]
    ) -> Response:
        """Store the request: no more top-ups and charges until it is taken back."""
        client_id = client_of(principal)
        await ask_for_deletion(calls, client_id, refuse_while_charging)
        async with calls.db.connection() as connection:
            money = await wallet.get_wallet(connection, client_id)
        if money is None or money.balance_minor == 0:
            return _done(request, "deletion_requested")
        balance = {"balance": to_text(money.balance_minor)}
        return _done(request, "deletion_requested_money", balance)

    @routes.post(
        RESTORE_PATH,
        summary="Take the request for deletion back",
        responses={**_DONE, **_IN_USE},
        openapi_extra=_CLIENTS_ONLY,
    )
    async def account_restore(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, caller]
    ) -> Response:
        """Make an account that asked for deletion usable again."""
        await restore_account(calls, client_of(principal))
        return _done(request, "account_restored")


async def refuse_while_charging(connection: Connection, client_id: UUID) -> None:
    """Returns if no session is open. Raises Conflict("account_charging")."""
    money = await wallet.get_wallet(connection, client_id)
    if (money is not None and money.held_minor) or await is_charging(connection, client_id):
        raise Conflict("account_charging", "a charging session is open")


async def refuse_with_money(connection: Connection, client_id: UUID) -> None:
    """Returns if the account is empty and idle.

    Raises Conflict("account_charging" | "account_has_money" | "account_has_debt").
    """
    await refuse_while_charging(connection, client_id)
    money = await wallet.get_wallet(connection, client_id)
    if money is None:
        return
    if money.balance_minor:
        balance = {"balance": to_text(money.balance_minor)}
        raise Conflict("account_has_money", "the account holds money", params=balance)
    if money.debt_minor:
        debt = {"debt": to_text(money.debt_minor)}
        raise Conflict("account_has_debt", "the account owes money", params=debt)


def _done(request: Request, code: str, params: Mapping[str, str | int] | None = None) -> Response:
    language = language_of(request)
    message = messages.text(code, _OK, language, params or {})
    return spoken({"success": True, "message": message}, language)
