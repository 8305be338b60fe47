"""Routes by which operators see unknown cards and give cards to clients."""

from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from evpower import identity
from evpower.charging.cards import add_card, remove_card
from evpower.charging.search import list_unknown_cards
from evpower.foundation.openapi import problem
from evpower.foundation.paging import LIMIT_DEFAULT
from evpower.foundation.segments import SegmentRoute
from evpower.identity import (
    OPERATOR_PATH,
    OPERATOR_REFUSALS,
    ActReason,
    OperatorCalls,
    Principal,
    RowLimit,
    actor_of,
    operator_call,
)

_CREATED: Final = 201
MAX_TAG: Final = 200


class UnknownCardShown(BaseModel):
    """A card that no client has and that charged: what it took is in `/unattributed`."""

    model_config = ConfigDict(from_attributes=True)

    id_tag: str
    charges: int
    energy_kwh: float
    last_station: str
    last_seen_at: datetime


class ClientCard(BaseModel):
    """A card of a client: it starts charges, billed to the client's wallet."""

    model_config = ConfigDict(from_attributes=True)

    tag: str
    client_id: UUID
    created_at: datetime


class NewClientCard(BaseModel):
    """A card, and the client it is given to."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "tag": "04A2B3C4",
                "client_id": "0c1f3a58-5a0b-4b1c-8a64-6a3f0d9b7e21",
                "reason": "given at the desk",
            }
        },
    )

    tag: Annotated[str, Field(min_length=1, max_length=MAX_TAG)]
    client_id: Annotated[str, Field(min_length=1, max_length=200, description="Or an old id")]
    reason: ActReason


class RemovedCard(BaseModel):
    """Why a card may no more."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "card was lost"}}
    )

    reason: ActReason


def cards_router(calls: OperatorCalls) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(prefix=OPERATOR_PATH, tags=["operator cards"], route_class=SegmentRoute)
    may_read = calls.access.may("read")
    may_change = calls.access.may("card.change")

    @routes.get(
        "/unknown-cards", summary="Cards that no client has", responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("read"),
    )  # fmt: skip
    async def unknown(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)], limit: RowLimit = LIMIT_DEFAULT
    ) -> list[UnknownCardShown]:
        """With what they took, the one that charged last first."""
        async with calls.db.connection() as connection:
            rows = await list_unknown_cards(connection, limit=limit)
        return [
            UnknownCardShown(
                id_tag=row.id_tag, charges=row.charges, energy_kwh=row.energy_wh / 1000,
                last_station=row.last_station, last_seen_at=row.last_seen_at,
            )
            for row in rows
        ]  # fmt: skip

    @routes.get(
        "/cards",
        summary="Cards of clients",
        responses=OPERATOR_REFUSALS,
        openapi_extra=operator_call("read"),
    )
    async def cards(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, Depends(may_read)],
        client: Annotated[UUID | None, Query(description="Its id")] = None,
        tag: Annotated[str | None, Query(min_length=1, max_length=MAX_TAG)] = None,
        limit: RowLimit = LIMIT_DEFAULT,
    ) -> list[ClientCard]:
        """The newest first, of a client or with a tag if it is given."""
        async with calls.db.connection() as connection:
            rows = await identity.list_id_tags(connection, client_id=client, tag=tag, limit=limit)
        return [ClientCard.model_validate(row) for row in rows]

    @routes.post(
        "/cards",
        summary="Give a card to a client",
        status_code=_CREATED,
        responses={
            **OPERATOR_REFUSALS,
            404: problem("`client_not_found`"),
            409: problem("`id_tag_taken`: another client's or a technician's"),
            422: problem("`invalid_request`, `phone_is_no_card`"),
        },
        openapi_extra=operator_call("card.change"),
    )
    async def give(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)], body: NewClientCard
    ) -> ClientCard:
        """It starts charges from now on, billed to the client's wallet."""
        async with calls.db.transaction() as connection:
            card = await add_card(
                connection,
                tag=body.tag,
                client_id=body.client_id,
                actor=actor_of(caller),
                reason=body.reason,
            )
        return ClientCard.model_validate(card)

    @routes.post(
        "/cards/{tag}/remove",
        summary="Take a card from its client",
        status_code=204,
        responses={
            **OPERATOR_REFUSALS,
            404: problem("`card_not_found`"),
            409: problem("`idempotency_conflict`"),
        },
        openapi_extra=operator_call("card.change"),
    )
    async def take(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(may_change)],
        tag: Annotated[str, Path(min_length=1, max_length=MAX_TAG)],
        body: RemovedCard,
    ) -> None:
        """What it began goes on."""
        async with calls.db.transaction() as connection:
            await remove_card(connection, tag=tag, actor=actor_of(caller), reason=body.reason)

    return routes
