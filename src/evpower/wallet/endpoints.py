"""GET /api/v1/balance/{client_id} and GET /api/v1/balance/history/{client_id}."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, Field

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Invalid, NotFound
from evpower.foundation.fast_path import FastPath, plain_limit, plain_uuid
from evpower.foundation.first_pages import FirstPages
from evpower.foundation.openapi import Responses, problem
from evpower.foundation.segments import SegmentRoute
from evpower.identity import Access, Principal, may_read
from evpower.wallet.model import TransactionKind
from evpower.wallet.statement import balance, first_statements, statement

_MAX_CURSOR_DIGITS: Final = 18
_EMPTY: Final = b"[]"


_DEFAULT_LIMIT: Final = 50
# Returns who reads the balance of this client. Raises EvPowerError.
BalanceReader = Callable[[Request, str | UUID], Awaitable[Principal]]
# A UUID, or the id a client had in an earlier system: old apps and integrations still send it.
ClientId = Annotated[str, Path(max_length=200, description="UUID, or an id from before")]


class Balance(BaseModel):
    """The shape the apps know, with what is set aside and what is owed."""

    success: bool
    client_id: UUID
    balance: Annotated[float, Field(description="som")]
    currency: str
    last_topup_at: Annotated[
        datetime, Field(description="Absent before the first", default_factory=datetime.now)
    ]
    total_spent: Annotated[float, Field(description="som")]
    held: Annotated[float, Field(description="som set aside for running sessions")]
    available: Annotated[float, Field(description="som: balance less held")]
    version: Annotated[int, Field(description="Of the last transaction; never goes down")]
    debt: Annotated[float, Field(description="som owed, taken from the next top-up")]


class StatementLine(BaseModel):
    """Keys as in Supabase `transactions`, and `version`."""

    id: UUID
    client_id: UUID
    type: TransactionKind
    amount: Annotated[float, Field(description="som, signed")]
    balance_before: float
    balance_after: float
    version: int
    created_at: datetime
    event_at: Annotated[datetime, Field(description="When it happened out there")]
    invoice_id: str | None
    session_id: UUID | None


_REFUSALS: Final[Responses] = {
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: problem("`forbidden`: the money of another client"),
    404: problem("`client_not_found`"),
}
_LINK: Final = {
    "description": 'The next page, when there is more: `<...>; rel="next"`',
    "schema": {"type": "string"},
}


def router(access: Access, db: Database, reader: BalanceReader | None = None) -> APIRouter:
    """Builds the routes; `reader` identifies who reads a balance, the token by default."""
    identify = reader or _by_token(access)
    routes = APIRouter(prefix="/api/v1/balance", tags=["balance"], route_class=SegmentRoute)

    @routes.get(
        "/get",
        summary="The caller's own balance",
        responses={200: {"model": Balance, "description": "The balance now"}, **_REFUSALS},
        response_class=Response,
        openapi_extra={"security": [{"supabaseToken": []}]},
    )
    async def own_balance(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(access.require_client)],
    ) -> Response:
        assert caller.client_id is not None  # noqa: S101 - of a client
        return await _balance_response(access, db, caller, caller.client_id)

    @routes.get(
        "/{client_id}",
        summary="A client's balance",
        responses={200: {"model": Balance, "description": "The balance now"}, **_REFUSALS},
        response_class=Response,
    )
    async def client_balance(  # pyright: ignore[reportUnusedFunction]
        request: Request, client_id: ClientId
    ) -> Response:
        return await _balance_response(access, db, await identify(request, client_id), client_id)

    @routes.get(
        "/history/{client_id}",
        summary="Every change of a client's balance",
        responses={
            200: {
                "model": list[StatementLine],
                "description": "Newest first",
                "headers": {"Link": _LINK},
            },
            **_REFUSALS,
            422: problem("`invalid_request`, `invalid_cursor`"),
        },
        response_class=Response,
    )
    async def client_statement(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(access.principal)],
        client_id: ClientId,
        limit: Annotated[int, Query(ge=1, le=500)] = _DEFAULT_LIMIT,
        before: Annotated[str | None, Query(description="From the Link of the page before")] = None,
    ) -> Response:
        cursor = None if before is None else _read_cursor(before)
        own_id = await _own_id(access, caller, client_id)
        async with db.connection() as connection:
            body, next_version = await statement(connection, own_id, limit, cursor)
        return await _statement_response(db, own_id, limit, body, next_version)

    return routes


def _by_token(access: Access) -> BalanceReader:
    async def principal(request: Request, client: str | UUID) -> Principal:
        del client
        return await access.principal(request)

    return principal


def fast_paths(access: Access, db: Database, reader: BalanceReader | None = None) -> list[FastPath]:
    """Returns the paths that bypass the router, because every phone polls them."""
    identify = reader or _by_token(access)
    first_pages = FirstPages(db, first_statements)

    async def serve_balance(request: Request, tail: str) -> Response | None:
        client_id = plain_uuid(tail)
        if client_id is None or request.scope["query_string"]:
            return None
        return await _balance_response(access, db, await identify(request, client_id), client_id)

    async def serve_statement(request: Request, tail: str) -> Response | None:
        client_id, limit = plain_uuid(tail), plain_limit(request, _DEFAULT_LIMIT)
        if client_id is None or limit is None:
            return None
        own_id = await _own_id(access, await access.principal(request), client_id)
        body, next_version = await first_pages(own_id, limit)
        return await _statement_response(db, own_id, limit, body, next_version)

    return [
        FastPath("GET", "/api/v1/balance/", "/api/v1/balance/{client_id}", serve_balance),
        FastPath(
            "GET",
            "/api/v1/balance/history/",
            "/api/v1/balance/history/{client_id}",
            serve_statement,
        ),
    ]


async def _balance_response(
    access: Access,
    db: Database,
    caller: Principal,
    raw_client_id: str | UUID,
) -> Response:
    client_id = await _own_id(access, caller, raw_client_id)
    async with db.connection() as connection:
        body = await _balance_json(connection, client_id)
    return Response(body, media_type="application/json")


async def _own_id(access: Access, caller: Principal, raw_client_id: str | UUID) -> UUID:
    client_id = await access.resolve(caller, raw_client_id)
    may_read(caller, client_id)
    return client_id


async def _statement_response(
    db: Database, client_id: UUID, limit: int, body: bytes, next_version: int | None
) -> Response:
    if body == _EMPTY:
        async with db.connection() as connection:
            await _balance_json(connection, client_id)
    response = Response(body, media_type="application/json")
    if next_version is not None:
        query = urlencode({"limit": limit, "before": next_version})
        response.headers["Link"] = f'</api/v1/balance/history/{client_id}?{query}>; rel="next"'
    return response


async def _balance_json(connection: Connection, client_id: UUID) -> bytes:
    body = await balance(connection, client_id)
    if body is None:
        raise NotFound("client_not_found", "there is no such client")
    return body


def _read_cursor(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_CURSOR_DIGITS:
        raise Invalid("invalid_cursor", "not a cursor of ours")
    return int(text)
