"""`/api/v1/admin/clients`: who they are, and the two things that these pages change of them."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, BeforeValidator, Field

from evpower import charging, identity, payments, wallet
from evpower.api.legacy import admin_schemas as schemas
from evpower.api.legacy.admin import (
    ADMIN_PATH,
    MOST_OFFSET,
    MOST_ROWS,
    REFUSALS,
    AdminCalls,
    changed,
    known,
    shown,
)
from evpower.api.legacy.admin_sessions import session_answers
from evpower.foundation.body import exact_amount
from evpower.foundation.clock import to_z
from evpower.foundation.db import Connection
from evpower.foundation.errors import Invalid
from evpower.foundation.json_numbers import number
from evpower.foundation.money import to_som
from evpower.foundation.segments import SegmentRoute
from evpower.identity import (
    CLIENT_CHANGED,
    Client,
    Principal,
    actor_of,
    operator_call,
    refuse_own_account,
)

CLIENTS_PATH: Final = f"{ADMIN_PATH}/clients"
CLIENT_PATH: Final = f"{ADMIN_PATH}/clients/{{client_id}}"
BALANCE_PATH: Final = f"{ADMIN_PATH}/clients/{{client_id}}/balance"
STATUS_PATH: Final = f"{ADMIN_PATH}/clients/{{client_id}}/status"
_REASON: Final = "changed in the app's admin pages"
_RECENT: Final = 10  # sessions of one client
_WH_PER_KWH: Final = 1000
_Word = Literal["active", "blocked"]
_STATUSES: Final[dict[_Word | None, tuple[str, ...]]] = {
    None: ("active", "blocked", "closed"),
    "active": ("active",),
    "blocked": ("blocked", "closed"),
}
_ClientId = Annotated[str, Path(max_length=200, description="UUID, or an id from before")]


class BalanceBody(BaseModel):
    """Money that was received by hand."""

    amount: Annotated[
        Decimal,
        BeforeValidator(number),
        Field(ge=-10_000_000, le=10_000_000, description="som; upwards only"),
    ]
    reason: Annotated[
        str,
        Field(min_length=1, max_length=200, description="The receipt's number: credited once"),
    ]


def clients_routes(calls: AdminCalls) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(tags=["admin"], responses=REFUSALS, route_class=SegmentRoute)
    _add_reads(routes, calls)
    _add_balance(routes, calls)
    _add_status(routes, calls)
    return routes


def _add_reads(routes: APIRouter, calls: AdminCalls) -> None:
    may_read = Depends(calls.access.may("read"))
    read = operator_call("read")

    @routes.get(CLIENTS_PATH, summary="Clients", responses=schemas.CLIENTS, openapi_extra=read)
    async def listed(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, may_read],
        search: Annotated[
            str | None, Query(max_length=320, description="id, old id, email or phone")
        ] = None,
        status: Annotated[_Word | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 50,
        offset: Annotated[int, Query(ge=0, le=MOST_OFFSET)] = 0,
    ) -> Response:
        """Answer a page of clients by id; with `search` those of an id, email or phone."""
        statuses = _STATUSES[status]
        async with calls.db.connection() as connection:
            if search is not None and search.strip():
                every = await _search(connection, search, statuses)
                total, page = len(every), every[offset : offset + limit]
            else:
                total = await identity.count_clients(connection, statuses)
                page = await identity.list_clients(connection, statuses, limit, offset)
            rows = await _answers(connection, page)
        return shown({"clients": rows, "total": total, "limit": limit, "offset": offset})

    @routes.get(CLIENT_PATH, summary="One client", responses=schemas.CLIENT, openapi_extra=read)
    async def client(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, may_read], client_id: _ClientId
    ) -> Response:
        """Answer a client with its newest sessions."""
        resolved = await calls.access.resolve(caller, client_id)
        board = await calls.board.get()
        async with calls.db.connection() as connection:
            stored = await identity.get_client(connection, resolved)
            [answer] = await _answers(connection, [stored])
            rows = await charging.list_sessions(connection, client_id=resolved, limit=_RECENT)
            recent = await session_answers(connection, board, rows, calls.clock())
        return shown({**answer, "recent_sessions": recent})


def _add_balance(routes: APIRouter, calls: AdminCalls) -> None:
    @routes.put(
        BALANCE_PATH,
        summary="Credit money received by hand",
        responses=schemas.CREDIT,
        openapi_extra=operator_call("client.credit"),
    )
    async def credit(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Principal, Depends(calls.access.may("client.credit"))],
        client_id: _ClientId,
        body: BalanceBody,
    ) -> Response:
        """Credit a payment; the same receipt again changes nothing. Downwards it is a refund."""
        resolved = await calls.access.resolve(caller, client_id)
        await refuse_own_account(calls.db, caller, resolved, "client.credit")
        amount_minor = await exact_amount(request, "amount")
        if amount_minor < 0:
            raise Invalid(
                "lowered_by_refund",
                "a balance is lowered by a refund only: evpower payments refund-payment gives "
                "the money back to whoever paid it",
            )
        receipt = body.reason.strip()
        async with calls.db.transaction() as connection:
            before = await wallet.get_wallet(connection, resolved)
            posted = await payments.cash(
                connection,
                client_id=resolved,
                amount_minor=amount_minor,
                operator=actor_of(caller),
                reason=receipt,
                receipt=receipt,
                now=calls.clock(),
            )
        calls.bus.publish(CLIENT_CHANGED, resolved)
        old_minor = 0 if before is None else before.balance_minor
        return changed(
            request,
            {
                "client_id": str(resolved),
                "old_balance": to_som(old_minor),
                "new_balance": to_som(posted.balance_minor),
                "adjustment": to_som(amount_minor if posted.new else 0),
                "reason": receipt,
            },
            sentence="admin_changed" if posted.new else "admin_credited_before",
        )


def _add_status(routes: APIRouter, calls: AdminCalls) -> None:
    @routes.put(
        STATUS_PATH,
        summary="Block or unblock a client",
        responses=schemas.STATUS,
        openapi_extra=operator_call("client.block"),
    )
    async def set_status(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Principal, Depends(calls.access.may("client.block"))],
        client_id: _ClientId,
        status: Annotated[_Word, Query()],
        reason: Annotated[str, Query(min_length=3, max_length=500, pattern=r"\S")] = _REASON,
    ) -> Response:
        """Block a client, or lift the block; the status is in the query, there is no body."""
        resolved = await calls.access.resolve(caller, client_id)
        await refuse_own_account(calls.db, caller, resolved, "client.block")
        act = identity.block_client if status == "blocked" else identity.unblock_client
        async with calls.db.transaction() as connection:
            before = await identity.lock_client(connection, resolved)
            after = await act(
                connection,
                resolved,
                actor=actor_of(caller),
                reason=reason.strip(),
                details={"name": caller.name},
            )
        calls.bus.publish(CLIENT_CHANGED, resolved)
        old = after if before is None else before
        return changed(
            request,
            {
                "client_id": str(resolved),
                "old_status": _word(old),
                "new_status": _word(after),
            },
        )


async def _search(connection: Connection, search: str, statuses: Sequence[str]) -> list[Client]:
    try:
        clients = await identity.find_clients(connection, search)
    except Invalid:  # it is no id, email or phone: no client has it
        return []
    return [client for client in clients if client.status in statuses]


async def _answers(connection: Connection, clients: Sequence[Client]) -> list[dict[str, Any]]:
    ids: list[UUID] = [client.id for client in clients]
    wallets = await wallet.get_wallets(connection, ids)
    totals = await charging.client_totals(connection, ids)
    answers: list[dict[str, Any]] = []
    for client in clients:
        money, sums = wallets.get(client.id), totals.get(client.id)
        answers.append(
            known(
                {
                    "id": str(client.id),
                    "name": client.name or "",
                    "email": client.email or "",
                    "phone": client.phone or "",
                    "balance": 0.0 if money is None else to_som(money.balance_minor),
                    "status": _word(client),
                    "sessions_count": 0 if sums is None else sums.sessions,
                    "total_energy_kwh": 0.0 if sums is None else sums.energy_wh / _WH_PER_KWH,
                    "total_spent_som": 0.0 if money is None else to_som(money.spent_minor),
                    "anonymized": client.status == "closed",
                    "created_at": to_z(client.created_at),
                    "updated_at": to_z(client.updated_at),
                }
            )
        )
    return answers


def _word(client: Client) -> _Word:
    """Returns the word of the admin pages, which know two: a closed client can do nothing."""
    return "active" if client.status == "active" else "blocked"
