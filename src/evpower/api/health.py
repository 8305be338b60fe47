"""Liveness, readiness, metrics and the documentation."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

import orjson
import structlog
from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from evpower.api import docs, metrics
from evpower.api.metrics_guard import MetricsGuard
from evpower.foundation import migrations
from evpower.foundation.cache import CachedValue
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError, NotFound
from evpower.foundation.module import Collector, Readiness

logger = structlog.get_logger(__name__)

# Returns the background loops that stand still, each with the code of its last error or "".
Overdue = Callable[[], Mapping[str, str]]

_PROBE_TIMEOUT_S: Final = 2.0
_FRESH_DATABASE_S: Final = 1.0
_FRESH_OUTSIDE_S: Final = 10.0
_COLLECT_TIMEOUT_S: Final = 5.0
_COLLECT_CACHE_S: Final = 2.0  # the database is queried this often, however many scrape
_DESCRIPTION: Final = "The backend of an EV-charging operator"
_NOTE: Final = "Stations speak OCPP 1.6 JSON here; the HTTP API is in /docs"
DatabaseState = Literal["ok", "down", "behind", "unreleased"]


def router(  # noqa: PLR0913 - what readiness and metrics are made of
    db: Database,
    *,
    version: str,
    now_s: Callable[[], float],
    about: Mapping[str, object] | None = None,
    readiness: Sequence[Readiness] = (),
    bus: Callable[[], bool] | None = None,
    overdue: Overdue | None = None,
    overloaded: Callable[[], bool] = lambda: False,
    collectors: Sequence[Collector] = (),
    metrics_guard: MetricsGuard | None = None,
) -> APIRouter:
    """Returns the routes /, /healthz, /readyz, /metrics, /docs. `now_s` is a monotonic clock.

    `about`: what the slices add to /.
    """
    routes = APIRouter(tags=["service"])
    database = CachedValue(lambda: _ask_database(db), ttl_s=_FRESH_DATABASE_S, now_s=now_s)
    outside = {
        check.name: CachedValue(partial(_ask, check), ttl_s=_FRESH_OUTSIDE_S, now_s=now_s)
        for check in readiness
    }
    gauges = CachedValue(lambda: _collect_all(collectors), ttl_s=_COLLECT_CACHE_S, now_s=now_s)

    @routes.get(
        "/",
        summary="What this service is",
        responses=_ok({"service": "evpower", "version": "0.1.0"}),
    )
    async def info() -> Response:
        return _json(
            {
                "success": True,
                "service": "evpower",
                "version": version,
                "docs": "/docs",
                "health": "/readyz",
                "description": _DESCRIPTION,
                **(about or {}),
                "protocol": "OCPP 1.6 JSON",
                "note": _NOTE,
            }
        )

    @routes.get("/healthz", summary="The process is alive", responses=_ok({"status": "alive"}))
    async def alive() -> Response:
        return _json({"status": "alive"})

    ready_example = {
        "status": "ready",
        "database": "ok",
        "load": "ok",
        "supabase": "ok",
        "bus": "local",
        "loops": "ok",
    }

    @routes.get(
        "/readyz",
        summary="The database answers and has every migration, and requests find a place",
        description="`load` is `overloaded` while requests are refused with 503: too many are "
        "being served. Supabase or the bus between nodes being down is `degraded`, not unready: "
        "no driver's request needs them. With one node the bus is `local`. `loops` is `degraded` "
        "while a background loop of this process stands still: `overdue_loops` then names each "
        "one with the code of its last error.",
        responses={
            **_ok(ready_example),
            503: {
                "description": "Not ready: the database is down, behind or unreleased, or "
                "too many requests are being served",
                "content": {
                    "application/json": {
                        "example": {
                            **ready_example,
                            "status": "not_ready",
                            "error": "database_down",
                        }
                    }
                },
            },
        },
    )
    async def ready() -> Response:
        state, *states = await asyncio.gather(
            database.get(), *(cached.get() for cached in outside.values())
        )
        is_full = overloaded()
        is_ready = state == "ok" and not is_full
        late = dict(overdue()) if overdue is not None else {}
        return _json(
            {
                "status": "ready" if is_ready else "not_ready",
                **({} if is_ready else {"error": _why_not(state)}),
                "database": state,
                "load": "overloaded" if is_full else "ok",
                **dict(zip(outside, states, strict=True)),
                "bus": _bus_state(bus),
                "loops": "degraded" if late else "ok",
                **({"overdue_loops": late} if late else {}),
                "version": version,
            },
            200 if is_ready else 503,
        )

    @routes.get(
        "/metrics",
        summary="Counters and gauges for Prometheus",
        responses={
            200: {
                "description": "Prometheus text",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
            401: {
                "description": "A metrics token is configured and was not sent; or, in production, "
                "none is configured and the caller is another machine"
            },
        },
    )
    async def scrape(request: Request) -> Response:
        if metrics_guard is not None:
            metrics_guard.check(request)
        await gauges.get()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @routes.get("/docs", include_in_schema=False)
    async def documentation() -> Response:
        return docs.page()

    @routes.get("/docs/{name}", include_in_schema=False)
    async def documentation_asset(name: str) -> Response:
        asset = docs.asset(name)
        if asset is None:
            raise NotFound("not_found", "no such file")
        return asset

    return routes


def _why_not(state: str) -> str:
    """Returns the code of why the process is not ready; overloaded, if its database is ok."""
    return "overloaded" if state == "ok" else f"database_{state}"


async def _ask_database(db: Database) -> DatabaseState:
    try:
        async with db.connection() as connection:
            edition = await migrations.edition(connection)
    except EvPowerError as error:
        return "behind" if error.code == "database_not_migrated" else "down"
    except migrations.MigrationError:
        return "behind"  # the role may not even read the table of migrations
    if edition.is_unreleased:
        return "unreleased"
    return "behind" if edition.lacking else "ok"  # a newer one is ok: upgrades go node by node


def _bus_state(connected: Callable[[], bool] | None) -> str:
    if connected is None:
        return "local"
    return "ok" if connected() else "degraded"


async def _ask(check: Readiness) -> str:
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            return "ok" if await check.probe() else "degraded"
    except Exception as error:  # noqa: BLE001 - whatever a probe raises means one thing here
        logger.info("readiness_probe_failed", system=check.name, reason=type(error).__name__)
        return "degraded"


async def _collect_all(collectors: Sequence[Collector]) -> str:
    for collect in collectors:
        await _collect(collect)
    return "collected"


async def _collect(collect: Collector) -> None:
    """Refreshes some gauges; a scrape without them is better than none."""
    try:
        async with asyncio.timeout(_COLLECT_TIMEOUT_S):
            await collect()
    except Exception as error:  # noqa: BLE001 - counted, and the scrape goes on
        metrics.COLLECTOR_FAILURES.inc()
        logger.warning("metrics_collector_failed", reason=type(error).__name__)


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _ok(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": "OK", "content": {"application/json": {"example": example}}}}
