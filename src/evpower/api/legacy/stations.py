"""`/api/v1/station/status/{station_id}` and `/api/v1/locations`: read by everyone, no sign-in."""

from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from evpower.api import messages
from evpower.api.legacy import mobile_schemas, station_schemas
from evpower.api.legacy.families import PREFIXES
from evpower.api.legacy.respond import language_of
from evpower.api.legacy.station_board import Body, StationBoard
from evpower.foundation.errors import NotFound
from evpower.foundation.fast_path import FastPath
from evpower.foundation.segments import SegmentRoute

LOCATIONS_PATH: Final = "/api/v1/locations"
LOCATION_PATH: Final = "/api/v1/locations/{location_id}"
REFRESH_PATH: Final = "/api/v1/locations/{location_id}/refresh-status"
_STATION_TAIL: Final = "/station/status/"
STATION_PREFIXES: Final = tuple(f"{prefix}{_STATION_TAIL}" for prefix in PREFIXES.values())
_API: Final = "/api/v1/"
_MAX_ID: Final = 255
_NOT_MODIFIED: Final = 304
# What is cached may be shown again only after the server was asked.
_CACHE: Final = "no-cache"


def is_old_host(host: str, old_hosts: frozenset[str]) -> bool:
    """Returns whether a Host header, with a port or without, names one of the hosts."""
    name, _, port = host.lower().rpartition(":")
    return (name if name and port.isdigit() else host.lower()) in old_hosts


class StationCalls:
    """What the calls work with; `old_hosts`: where a free station is called active."""

    def __init__(self, board: StationBoard, old_hosts: frozenset[str]) -> None:
        self.board = board
        self._old_hosts = old_hosts

    def uses_old_words(self, request: Request) -> bool:
        """Returns whether the apps that call this host know only the older words."""
        return is_old_host(request.headers.get("host", ""), self._old_hosts)


def stations_router(calls: StationCalls) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(tags=["stations"], route_class=SegmentRoute)
    for prefix in STATION_PREFIXES:
        _add_station(routes, calls, prefix)
    _add_locations(routes, calls)
    return routes


def stations_fast_paths(calls: StationCalls) -> list[FastPath]:
    """Returns the paths that bypass the router, because every phone polls them."""

    async def serve_station(request: Request, tail: str) -> Response | None:
        if b"%2f" in request.scope["raw_path"].lower():
            return None
        return await _station(calls, request, tail)

    async def serve_locations(request: Request, tail: str) -> Response | None:
        query: bytes = request.scope["query_string"]
        if tail != "locations" or query not in {b"", b"include_stations=true"}:
            return None
        return await _locations(calls, request, with_stations=bool(query))

    return [
        FastPath("GET", _API, LOCATIONS_PATH, serve_locations),
        *(
            FastPath("GET", prefix, f"{prefix}{{station_id}}", serve_station)
            for prefix in STATION_PREFIXES
        ),
    ]


def _add_station(routes: APIRouter, calls: StationCalls, prefix: str) -> None:
    @routes.get(
        f"{prefix}{{station_id}}",
        summary="A station and its connectors",
        responses=station_schemas.STATION_RESPONSES
        if prefix == STATION_PREFIXES[1]
        else mobile_schemas.STATION_RESPONSES,
        openapi_extra=station_schemas.PUBLIC,
    )
    async def station_status(  # pyright: ignore[reportUnusedFunction]
        request: Request, station_id: Annotated[str, Path(max_length=_MAX_ID)]
    ) -> Response:
        """Answer by any of its names: OCPP id, old id, serial number, post code."""
        return await _station(calls, request, station_id)


def _add_locations(routes: APIRouter, calls: StationCalls) -> None:
    @routes.get(
        LOCATIONS_PATH,
        summary="Every location",
        responses=station_schemas.LOCATIONS_RESPONSES,
        openapi_extra=station_schemas.PUBLIC,
    )
    async def locations(  # pyright: ignore[reportUnusedFunction]
        request: Request, *, include_stations: Annotated[bool, Query()] = False
    ) -> Response:
        """Answer all locations by name, with their stations if `include_stations` is true."""
        return await _locations(calls, request, with_stations=include_stations)

    @routes.get(
        LOCATION_PATH,
        summary="One location",
        responses=station_schemas.LOCATION_RESPONSES,
        openapi_extra=station_schemas.PUBLIC,
    )
    async def location(  # pyright: ignore[reportUnusedFunction]
        request: Request, location_id: Annotated[str, Path(max_length=_MAX_ID)]
    ) -> Response:
        """Answer one location with its stations."""
        board = await calls.board.get()
        body = board.location(location_id, old_words=calls.uses_old_words(request))
        if body is None:
            raise NotFound("location_not_found", "there is no such location")
        return _cached(request, body, "Host")

    @routes.post(
        REFRESH_PATH,
        summary="One location, read anew",
        responses=station_schemas.REFRESH_RESPONSES,
        openapi_extra=station_schemas.PUBLIC,
    )
    async def refresh_status(  # pyright: ignore[reportUnusedFunction]
        request: Request, location_id: Annotated[str, Path(max_length=_MAX_ID)]
    ) -> Response:
        """Read a location anew, once in 5 s; in between its answer is at most 2 s old."""
        board = await calls.board.refresh(location_id)
        answer = board.location_answer(location_id, old_words=calls.uses_old_words(request))
        if answer is None:
            raise NotFound("location_not_found", "there is no such location")
        message = messages.sentence(["location_refreshed"], language_of(request))
        body = orjson.dumps({"success": True, "message": message, "location": answer})
        return Response(body, media_type="application/json")


async def _station(calls: StationCalls, request: Request, name: str) -> Response:
    board = await calls.board.get()
    language = language_of(request)
    body = board.station(name, language) if len(name) <= _MAX_ID else None
    if body is None:
        raise NotFound("station_not_found", "there is no such station")
    response = _cached(request, body, "Accept-Language")
    response.headers["Content-Language"] = language
    return response


async def _locations(calls: StationCalls, request: Request, *, with_stations: bool) -> Response:
    board = await calls.board.get()
    old_words = calls.uses_old_words(request)
    return _cached(
        request, board.locations(old_words=old_words, with_stations=with_stations), "Host"
    )


def _cached(request: Request, body: Body, varies_by: str) -> Response:
    """Returns the body, or only that it is the one which the caller has."""
    headers = {"ETag": body.etag, "Cache-Control": _CACHE, "Vary": varies_by}
    if _has(request.headers.get("if-none-match", ""), body.etag):
        return Response(status_code=_NOT_MODIFIED, headers=headers)
    return Response(body.content, media_type="application/json", headers=headers)


def _has(if_none_match: str, etag: str) -> bool:
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return if_none_match != "" and any(tag in {etag, "*"} for tag in tags)
