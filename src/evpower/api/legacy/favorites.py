"""`/api/v1/favorites`: the locations that a driver has marked."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from evpower import identity, stations
from evpower.api import messages
from evpower.api.legacy.respond import language_of, spoken
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.errors import Forbidden
from evpower.foundation.openapi import Responses, json_response, problem
from evpower.foundation.segments import SegmentRoute
from evpower.identity import Access, Principal

FAVORITES_PATH: Final = "/api/v1/favorites"
FAVORITE_PATH: Final = "/api/v1/favorites/{location_id}"
_MAX_ID: Final = 64
_CLIENTS_ONLY: Final[dict[str, Any]] = {"security": [{"supabaseToken": []}]}


class FavoriteBody(BaseModel):
    """The request; what else an app sends is passed over."""

    location_id: Annotated[str, Field(min_length=1, max_length=_MAX_ID)]


class Favorites(BaseModel):
    """The client's favourites, the newest first."""

    success: Literal[True]
    favorites: Annotated[list[str], Field(description="Ids of locations")]


class FavoriteChanged(BaseModel):
    """It is as it was asked to be."""

    success: Literal[True]
    message: str


_REFUSALS: Final[Responses] = {
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    403: problem("`forbidden`: only a client has favourites"),
}
_LISTED: Final[Responses] = {200: json_response("Their ids", Favorites)}
_ADDED: Final[Responses] = {
    200: json_response("It is marked", FavoriteChanged),
    404: problem("`location_not_found`"),
    409: problem("`too_many_favorites`: a client has at most 200; `idempotency_conflict`"),
}
_REMOVED: Final[Responses] = {200: json_response("It is not marked", FavoriteChanged)}


def favorites_router(db: Database, access: Access, clock: Clock) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(tags=["favorites"], route_class=SegmentRoute, responses=_REFUSALS)
    caller = Depends(access.require_client)

    @routes.get(
        FAVORITES_PATH,
        summary="Favourite locations",
        responses=_LISTED,
        openapi_extra=_CLIENTS_ONLY,
    )
    async def favorites(  # pyright: ignore[reportUnusedFunction]
        principal: Annotated[Principal, caller],
    ) -> Response:
        """Answer the ids of the locations that the client has marked."""
        async with db.connection() as connection:
            listed = await identity.list_favorites(connection, _client_of(principal))
        return Response(
            orjson.dumps({"success": True, "favorites": listed}), media_type="application/json"
        )

    @routes.post(
        FAVORITES_PATH,
        summary="Mark a location",
        responses=_ADDED,
        openapi_extra=_CLIENTS_ONLY,
    )
    async def add(  # pyright: ignore[reportUnusedFunction]
        request: Request, principal: Annotated[Principal, caller], body: FavoriteBody
    ) -> Response:
        """Mark a location; one that is marked already stays so, and is a success."""
        client_id = _client_of(principal)
        async with db.transaction() as connection:
            location = await stations.get_location(connection, body.location_id)
            await identity.add_favorite(connection, client_id, location.id, clock())
        return _changed(request, "favorite_added")

    @routes.delete(
        FAVORITE_PATH,
        summary="Take the mark away",
        responses=_REMOVED,
        openapi_extra=_CLIENTS_ONLY,
    )
    async def remove(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        principal: Annotated[Principal, caller],
        location_id: Annotated[str, Path(max_length=255)],
    ) -> Response:
        """Take the mark away; of a location that was not marked it is a success, too."""
        async with db.transaction() as connection:
            await identity.remove_favorite(connection, _client_of(principal), location_id)
        return _changed(request, "favorite_removed")

    return routes


def _changed(request: Request, code: str) -> Response:
    language = language_of(request)
    return spoken({"success": True, "message": messages.sentence([code], language)}, language)


def _client_of(principal: Principal) -> UUID:
    if principal.client_id is None:
        raise Forbidden("forbidden", "only a client may do this")
    return principal.client_id
