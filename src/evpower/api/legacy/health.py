"""`/health` and `/health-force`: what they always answered, without secrets, and always as 200.

Tools that read the status use `/readyz`. The members about Redis, which EvPower has not, tell of
the database: it does what Redis did.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import orjson
import structlog
from fastapi import APIRouter
from fastapi.responses import Response

from evpower import stations
from evpower.api.legacy import store_health
from evpower.api.legacy.families import PREFIXES
from evpower.foundation.cache import CachedValue
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError
from evpower.foundation.openapi import Responses

logger = structlog.get_logger(__name__)
HEALTH_PATH: Final = "/health"
_TTL_S: Final = 5.0
_FORCED_S: Final = 1.0  # however many ask, the database is asked this often
_TIMEOUT_S: Final = 2.0
_SERVICE: Final = "EvPower OCPP WebSocket Server"
_NOTE: Final = "The members named redis tell of the database. Use /readyz."
_EXAMPLE: Final = {"status": "healthy", "service": _SERVICE, "connected_stations": 12}
_RESPONSES: Final[Responses] = {
    200: {
        "description": "Also where it is `unhealthy`",
        "content": {"application/json": {"example": _EXAMPLE}},
    }
}


class _State(NamedTuple):
    connected: int  # stations
    may_write: bool
    error: str  # the code of why it is not healthy, or ""


def health_router(
    db: Database,
    clock: Clock,
    *,
    version: str,
    station_paths: Sequence[str],
    now_s: Callable[[], float] = time.monotonic,
) -> APIRouter:
    """Returns the routes. `station_paths`: of stations' sockets; `now_s` is a monotonic clock."""
    routes = APIRouter(tags=["service"])
    endpoints = [*station_paths, PREFIXES["v1"]]

    async def ask() -> _State:
        return await _ask(db, clock)

    usual = CachedValue(ask, ttl_s=_TTL_S, now_s=now_s)
    forced = CachedValue(ask, ttl_s=_FORCED_S, now_s=now_s)

    @routes.get(HEALTH_PATH, summary="Whether it is healthy, as it was", responses=_RESPONSES)
    async def health() -> Response:  # pyright: ignore[reportUnusedFunction]
        return _respond(_members(await usual.get(), version, endpoints))

    @routes.get("/health-force", summary="The same, asked anew", responses=_RESPONSES)
    async def health_force() -> Response:  # pyright: ignore[reportUnusedFunction]
        state = await forced.get()
        tests = {
            "rw_test": "ok" if state.may_write else "failed",
            "ping_result": not state.error,
        }
        return _respond(_members(state, version, endpoints) | tests)

    return routes


async def _ask(db: Database, clock: Clock) -> _State:
    try:
        async with asyncio.timeout(_TIMEOUT_S), db.connection() as connection:
            connected = await stations.count_online(connection, clock())
            is_standby = await store_health.is_read_only(connection)
    except EvPowerError as error:
        return _State(0, may_write=False, error=error.code)
    except TimeoutError:
        return _State(0, may_write=False, error="database_unavailable")
    error = "database_read_only" if is_standby else ""
    return _State(connected, may_write=not is_standby, error=error)


def _members(state: _State, version: str, endpoints: list[str]) -> dict[str, Any]:
    is_healthy = not state.error
    about: dict[str, Any] = {
        "status": "healthy" if is_healthy else "unhealthy",
        "service": _SERVICE,
        "version": version,
        "redis": "connected" if is_healthy else "disconnected",
    }
    if is_healthy:
        about |= {"connected_stations": state.connected, "endpoints": endpoints}
    else:
        about |= {"error": state.error}
    return {**about, "note": _NOTE}


def _respond(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
