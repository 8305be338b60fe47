"""`/api/v1/admin/sessions`."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import Response

from evpower import charging, identity, stations
from evpower.api.legacy import admin_schemas as schemas
from evpower.api.legacy.admin import (
    ADMIN_PATH,
    MOST_OFFSET,
    MOST_ROWS,
    REFUSALS,
    AdminCalls,
    known,
    shown,
)
from evpower.api.legacy.station_board import Board
from evpower.charging import SessionFilter, SessionRow, SessionState
from evpower.foundation.clock import to_z
from evpower.foundation.db import Connection
from evpower.foundation.errors import Invalid, NotFound
from evpower.foundation.money import to_som
from evpower.identity import Client, Principal, operator_call

SESSIONS_PATH: Final = f"{ADMIN_PATH}/sessions"
HISTORY_PATH: Final = f"{ADMIN_PATH}/sessions/history"
SESSION_PATH: Final = f"{ADMIN_PATH}/sessions/{{session_id}}"
_WORDS = Literal["started", "stopped", "error"]
_STATES: Final[Mapping[_WORDS, tuple[SessionState, ...]]] = {
    "started": ("requested", "starting", "charging", "stopping"),
    "stopped": ("finished", "settled"),
    "error": ("expired", "refused", "cancelled", "failed"),
}
_WORD_OF: Final = {state: word for word, states in _STATES.items() for state in states}
_KILO: Final = 1000
_Limit = Annotated[int, Query(ge=1, le=MOST_ROWS)]
_Offset = Annotated[int, Query(ge=0, le=MOST_OFFSET)]
_Station = Annotated[str | None, Query(max_length=255, description="Any of its names")]


def sessions_routes(calls: AdminCalls) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(tags=["admin"], responses=REFUSALS)
    may_read = Depends(calls.access.may("read"))
    read = operator_call("read")

    @routes.get(
        SESSIONS_PATH, summary="Open sessions", responses=schemas.SESSIONS, openapi_extra=read
    )
    async def listed(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, may_read],
        station_id: _Station = None,
        limit: _Limit = 50,
        offset: _Offset = 0,
    ) -> Response:
        """Answer a page of the sessions that may still use energy, the newest first."""
        wanted = SessionFilter(states=_STATES["started"])
        return shown(await _page(calls, wanted, station_id, limit, offset))

    @routes.get(HISTORY_PATH, summary="Sessions", responses=schemas.SESSIONS, openapi_extra=read)
    async def history(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, may_read],
        station_id: _Station = None,
        status: Annotated[_WORDS | None, Query()] = None,
        date_from: Annotated[datetime | None, Query()] = None,
        date_to: Annotated[datetime | None, Query()] = None,
        limit: _Limit = 50,
        offset: _Offset = 0,
    ) -> Response:
        """Answer a page of all sessions that EvPower ran, the newest first."""
        wanted = SessionFilter(
            states=() if status is None else _STATES[status],
            made_from=_aware(date_from),
            made_before=_aware(date_to),
        )
        return shown(await _page(calls, wanted, station_id, limit, offset))

    @routes.get(SESSION_PATH, summary="One session", responses=schemas.SESSION, openapi_extra=read)
    async def session(  # pyright: ignore[reportUnusedFunction]
        _: Annotated[Principal, may_read],
        session_id: Annotated[str, Path(max_length=100)],
    ) -> Response:
        """Answer one session."""
        try:
            parsed = UUID(session_id)
        except ValueError as error:
            raise NotFound("session_not_found", "there is no such session") from error
        board = await calls.board.get()
        async with calls.db.connection() as connection:
            row, _bills = await charging.get_session(connection, parsed)
            [answer] = await session_answers(connection, board, [row], calls.clock())
        return shown(answer)

    return routes


async def _page(
    calls: AdminCalls, wanted: SessionFilter, station: str | None, limit: int, offset: int
) -> dict[str, Any]:
    board = await calls.board.get()
    async with calls.db.connection() as connection:
        if station is not None:
            named = await stations.resolve_station(connection, station)
            if named is None:
                raise NotFound("station_not_found", f"there is no station {station!a:.80}")
            wanted = SessionFilter(
                states=wanted.states,
                station_id=named.id,
                made_from=wanted.made_from,
                made_before=wanted.made_before,
            )
        rows = await charging.search_sessions(
            connection, wanted, before=None, limit=offset + limit + 1
        )
        page = rows[offset : offset + limit]
        answers = await session_answers(connection, board, page, calls.clock())
    has_more = len(rows) > offset + limit
    return {"sessions": answers, "limit": limit, "offset": offset, "has_more": has_more}


def _aware(at: datetime | None) -> datetime | None:
    """Returns a time with its zone; UTC where it has none."""
    if at is None:
        return None
    try:
        return datetime.fromisoformat(f"{at.isoformat()}+00:00") if at.tzinfo is None else at
    except ValueError as error:
        raise Invalid("invalid_request", "this is no time") from error


async def session_answers(
    connection: Connection, board: Board, rows: Sequence[SessionRow], now: datetime
) -> list[dict[str, Any]]:
    """Returns sessions as the admin pages show them, with their clients and stations."""
    clients = {
        client.id: client
        for client in await identity.clients_by_id(connection, [row.client_id for row in rows])
    }
    return [_answer(row, board, clients.get(row.client_id), now) for row in rows]


def _answer(row: SessionRow, board: Board, client: Client | None, now: datetime) -> dict[str, Any]:
    station = board.find(row.station_id)
    limit_type, limit_value = _limit(row)
    begins_at = row.started_at or row.created_at
    ends_at = row.ended_at or (now if _WORD_OF[row.state] == "started" else begins_at)
    return known(
        {
            "id": str(row.id),
            "station_id": row.station_id,
            "station_name": row.station_id,
            "location_name": None if station is None else station.view.location.name,
            "location_address": None if station is None else station.view.location.address,
            "client_id": str(row.client_id),
            "client_email": None if client is None else client.email,
            "client_phone": None if client is None else client.phone,
            "status": _WORD_OF[row.state],
            "state": row.state,
            "energy_kwh": row.energy_wh / _KILO,
            "amount_som": to_som(row.cost_minor),
            "duration_minutes": max(ends_at - begins_at, timedelta()) // timedelta(minutes=1),
            "limit_type": limit_type,
            "limit_value": limit_value,
            "start_time": to_z(begins_at),
            "stop_time": None if row.ended_at is None else to_z(row.ended_at),
            "created_at": to_z(row.created_at),
        }
    )


def _limit(row: SessionRow) -> tuple[str, float]:
    if row.limit_energy_wh is not None:
        return "energy", row.limit_energy_wh / _KILO
    if row.limit_amount_minor is not None:
        return "amount", to_som(row.limit_amount_minor)
    return "none", 0.0
