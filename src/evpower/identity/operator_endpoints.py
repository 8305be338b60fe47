"""Routes by which operators find, block, unblock and close clients: /api/v1/operator/clients."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from evpower.foundation.bus import Bus
from evpower.foundation.db import Database
from evpower.foundation.openapi import Responses, problem
from evpower.foundation.segments import SegmentRoute
from evpower.identity.access import Access
from evpower.identity.clients import block_client, close_client, unblock_client
from evpower.identity.find import MAX_QUERY, find_clients
from evpower.identity.model import CLIENT_CHANGED, Client, ClientStatus, Principal
from evpower.identity.operator_calls import refuse_own_account
from evpower.identity.roles import Right, operator_call

_Act = Callable[..., Awaitable[Client]]
OperatedClientId = Annotated[str, Path(max_length=200, description="UUID, or an id from before")]


class OperatorsClient(BaseModel):
    """A client as operators see one."""

    model_config = ConfigDict(from_attributes=True)

    client_id: Annotated[UUID, Field(validation_alias="id")]
    email: str | None
    email_verified: Annotated[
        bool, Field(description="By Supabase Auth; else a claim that other clients may make too")
    ]
    phone: Annotated[str | None, Field(description="E.164")]
    phone_verified: bool
    name: str | None
    status: ClientStatus
    banned_until: Annotated[datetime | None, Field(description="A ban in Supabase Auth")]
    unmapped_status: Annotated[
        str | None, Field(description="A word from before EvPower that no operator mapped yet")
    ]
    deletion_requested_at: datetime | None
    created_at: datetime
    updated_at: datetime


class Reason(BaseModel):
    """Why, for the audit."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[
        str, Field(min_length=3, max_length=500, pattern=r"\S", examples=["chargeback, call 4711"])
    ]


_REFUSALS: Final[Responses] = {
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: problem("`forbidden`: no operator, or the role does not allow it"),
    404: problem("`client_not_found`"),
    409: problem("`client_closed`, `own_account`"),
    422: problem("`invalid_request`"),
}


def operator_router(access: Access, db: Database, bus: Bus) -> APIRouter:
    """Builds the routes."""
    routes = APIRouter(
        prefix="/api/v1/operator/clients",
        tags=["operator"],
        responses=_REFUSALS,
        route_class=SegmentRoute,
    )

    @routes.get("", summary="Find clients", openapi_extra=operator_call("read"))
    async def find(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(access.may("read"))],
        q: Annotated[
            str, Query(min_length=1, max_length=MAX_QUERY, description="id, old id, email or phone")
        ],
    ) -> list[OperatorsClient]:
        async with db.connection() as connection:
            clients = await find_clients(connection, q)
        return [OperatorsClient.model_validate(client) for client in clients]

    async def act(
        act: _Act, caller: Principal, raw_id: str, reason: str, right: Right = "client.block"
    ) -> OperatorsClient:
        client_id = await access.resolve(caller, raw_id)
        await refuse_own_account(db, caller, client_id, right)
        async with db.transaction() as connection:
            client = await act(
                connection,
                client_id,
                actor=f"operator:{caller.user_id}",
                reason=reason.strip(),
                details={"name": caller.name},
            )
        bus.publish(CLIENT_CHANGED, client.id)
        return OperatorsClient.model_validate(client)

    @routes.post(
        "/{client_id}/block",
        summary="Block a client",
        openapi_extra=operator_call("client.block"),
    )
    async def block(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(access.may("client.block"))],
        client_id: OperatedClientId,
        body: Reason,
    ) -> OperatorsClient:
        """Keep a client from moving money; reading stays, and a running charge is billed."""
        return await act(block_client, caller, client_id, body.reason)

    @routes.post(
        "/{client_id}/unblock",
        summary="Unblock a client",
        openapi_extra=operator_call("client.block"),
    )
    async def unblock(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(access.may("client.block"))],
        client_id: OperatedClientId,
        body: Reason,
    ) -> OperatorsClient:
        """Lift the operator's block; a ban in Supabase Auth stays."""
        return await act(unblock_client, caller, client_id, body.reason)

    @routes.post(
        "/{client_id}/close",
        summary="Close a client for good",
        openapi_extra=operator_call("client.close"),
    )
    async def close(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(access.may("client.close"))],
        client_id: OperatedClientId,
        body: Reason,
    ) -> OperatorsClient:
        """Close a client; money and history stay, email and phone become free. Not undone."""
        return await act(close_client, caller, client_id, body.reason, "client.close")

    return routes
