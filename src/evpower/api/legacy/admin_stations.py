"""`/api/v1/admin/stats` and `/api/v1/admin/stations`."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from evpower import charging, stations
from evpower.api.legacy import admin_schemas as schemas
from evpower.api.legacy.admin import (
    ADMIN_PATH,
    MOST_DAYS,
    MOST_OFFSET,
    MOST_ROWS,
    REFUSALS,
    AdminCalls,
    changed,
    known,
    shown,
)
from evpower.api.legacy.station_answers import ShownStation, connector_word
from evpower.foundation.clock import to_z
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.foundation.money import to_som
from evpower.foundation.segments import SegmentRoute
from evpower.identity import Principal, actor_of, operator_call
from evpower.stations import STATION_CHANGED, StationChange, station_key

STATS_PATH: Final = f"{ADMIN_PATH}/stats"
STATIONS_PATH: Final = f"{ADMIN_PATH}/stations"
STATION_PATH: Final = f"{ADMIN_PATH}/stations/{{station_id}}"
_W_PER_KW: Final = 1000
_REASON: Final = "changed in the app's admin pages"
_StationWord = Literal["active", "inactive", "maintenance"]


class StationBody(BaseModel):
    """What becomes of a station; what is left out stays."""

    status: _StationWord | None = None
    is_available: bool | None = None
    price_per_kwh: Annotated[Decimal | None, Field(ge=0, le=100_000)] = None
    session_fee: Annotated[Decimal | None, Field(ge=0, le=100_000)] = None
    reason: Annotated[str | None, Field(min_length=3, max_length=500, pattern=r"\S")] = None


def stations_routes(calls: AdminCalls) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(tags=["admin"], responses=REFUSALS, route_class=SegmentRoute)
    _add_reads(routes, calls)
    _add_change(routes, calls)
    return routes


def _add_reads(routes: APIRouter, calls: AdminCalls) -> None:
    may_read = Depends(calls.access.may("read"))
    read = operator_call("read")

    @routes.get(STATS_PATH, summary="Figures", responses=schemas.STATS, openapi_extra=read)
    async def stats(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, may_read],
        period_days: Annotated[int, Query(ge=1, le=MOST_DAYS)] = 1,
    ) -> Response:
        """Answer how many stations and sessions there are, and what the days brought."""
        return shown(await _stats(calls, period_days))

    @routes.get(STATIONS_PATH, summary="Stations", responses=schemas.STATIONS, openapi_extra=read)
    async def listed(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, may_read],
        *,
        status: Annotated[_StationWord | None, Query()] = None,
        location_id: Annotated[str | None, Query(max_length=64)] = None,
        is_online: Annotated[bool | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 100,
        offset: Annotated[int, Query(ge=0, le=MOST_OFFSET)] = 0,
    ) -> Response:
        """Answer a page of the stations that are not retired, by id."""
        wanted = [
            station
            for station in await _all(calls)
            if (status is None or _word(station) == status)
            and (location_id is None or station.view.location.id == location_id)
            and (is_online is None or station.is_online is is_online)
        ]
        rows = [_row(station) for station in wanted[offset : offset + limit]]
        return shown({"stations": rows, "total": len(wanted), "limit": limit, "offset": offset})

    @routes.get(STATION_PATH, summary="One station", responses=schemas.STATION, openapi_extra=read)
    async def station(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, may_read],
        station_id: Annotated[str, Path(max_length=255)],
    ) -> Response:
        """Answer a station by any of its names."""
        return shown(_row(await _find(calls, station_id)))


def _add_change(routes: APIRouter, calls: AdminCalls) -> None:
    @routes.put(
        STATION_PATH,
        summary="Change a station",
        responses=schemas.STATION_CHANGE,
        openapi_extra=operator_call("station.change"),
    )
    async def change(  # pyright: ignore[reportUnusedFunction]
        request: Request,
        caller: Annotated[Principal, Depends(calls.access.may("station.change"))],
        station_id: Annotated[str, Path(max_length=255)],
        body: StationBody,
    ) -> Response:
        """Take a station out of service, or into it. Prices are those of its tariff."""
        before = await _find(calls, station_id)
        _check_prices(before, body)
        wanted = _availability(body)
        if wanted is not None:
            async with calls.db.transaction() as connection:
                await stations.change_station(
                    connection,
                    station=station_id,
                    change=StationChange(availability=wanted),
                    now=calls.clock(),
                    actor=actor_of(caller),
                    reason=body.reason or _REASON,
                )
            calls.bus.publish(STATION_CHANGED, station_key(before.view.station.id))
            calls.board.expire()
        after = _row(await _find(calls, station_id))
        members = ("id", "status", "is_available", "price_per_kwh", "session_fee")
        return changed(request, {name: after[name] for name in members})


def _availability(body: StationBody) -> Literal["operative", "inoperative"] | None:
    """Returns what is wanted of the station. Raises Invalid("invalid_request")."""
    words = set[bool]()
    if body.status is not None:
        words.add(body.status == "active")
    if body.is_available is not None:
        words.add(body.is_available)
    if len(words) > 1:
        raise Invalid("invalid_request", "status and is_available contradict each other")
    if not words:
        return None
    return "operative" if words.pop() else "inoperative"


def _check_prices(station: ShownStation, body: StationBody) -> None:
    """Refuses another price: it is money, and a tariff has more parts than these two."""
    row = _row(station)
    for name, wanted in (
        ("price_per_kwh", body.price_per_kwh),
        ("session_fee", body.session_fee),
    ):
        if wanted is not None and wanted != Decimal(str(row[name])):
            raise Conflict(
                "price_by_tariff",
                f"{name} is of the station's tariff: save and assign another one by "
                "POST /api/v1/operator/tariffs/{plan}/versions, with the role finance",
            )


async def _stats(calls: AdminCalls, days: int) -> dict[str, Any]:
    now = calls.clock()
    today = await calls.period_totals(calls.db, 1, now)
    period = today if days == 1 else await calls.period_totals(calls.db, days, now)
    async with calls.db.connection() as connection:
        sessions = await charging.count_sessions(connection, today.begins_at)
    every = await _all(calls)
    faulty = sum(
        any(connector_word(word) == "faulted" for _, word in station.connectors)
        for station in every
    )
    online = sum(station.is_online for station in every)
    return {
        "stations": {
            "total": len(every),
            "online": online,
            "offline": len(every) - online,
            "error": faulty,
        },
        "sessions": {"active": sessions.open, "today": sessions.made},
        "today": {
            "energy_kwh": today.energy_wh / _W_PER_KW,
            "revenue_som": to_som(today.revenue_minor),
        },
        "period": {
            "from": to_z(period.begins_at),
            "to": to_z(period.ends_at),
            "energy_kwh": period.energy_wh / _W_PER_KW,
            "revenue_som": to_som(period.revenue_minor),
        },
    }


async def _all(calls: AdminCalls) -> Sequence[ShownStation]:
    board = await calls.board.get()
    every = [station for _, listed in board.shown for station in listed]
    return sorted(every, key=lambda station: station.view.station.id)


async def _find(calls: AdminCalls, name: str) -> ShownStation:
    station = (await calls.board.get()).find(name)
    if station is None:
        raise NotFound("station_not_found", f"there is no station {name!a:.80}")
    return station


def _word(station: ShownStation) -> _StationWord:
    return "maintenance" if station.in_maintenance else "active"


def _row(station: ShownStation) -> dict[str, Any]:
    view, rates = station.view, station.rates
    row = {
        "id": view.station.id,
        "serial_number": stations.shown_serial(view),
        "model": view.station.model or "",
        "manufacturer": view.station.vendor or "",
        "location_id": view.location.id,
        "location_name": view.location.name,
        "location_address": view.location.address,
        "status": _word(station),
        "is_available": not station.in_maintenance,
        "is_online": station.is_online,
        "power_capacity": max((c.rated_power_w for c, _ in station.connectors), default=0)
        / _W_PER_KW,
        "price_per_kwh": 0.0 if rates is None else rates.per_kwh,
        "session_fee": 0.0 if rates is None else rates.session_fee,
        "currency": "KGS" if rates is None else rates.currency,
        "connectors_count": len(station.connectors),
        "connectors": [
            known(
                {
                    "id": connector.number,
                    "connector_number": connector.number,
                    "connector_type": stations.connector_label(connector.standard),
                    "power_kw": connector.rated_power_w / _W_PER_KW,
                    "status": connector_word(word),
                    "error_code": connector.reported_error,
                }
            )
            for connector, word in station.connectors
        ],
        "last_heartbeat_at": None if view.last_frame_at is None else to_z(view.last_frame_at),
        "firmware_version": view.station.firmware,
        "created_at": to_z(view.station.created_at),
        "updated_at": to_z(view.station.updated_at),
    }
    return known(row)
