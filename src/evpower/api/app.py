"""Composes the HTTP side: from routers to one ASGI application."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from evpower.api import errors, health, limits, openapi
from evpower.api.deprecation import OldRoutes
from evpower.api.fast_path import FastPaths
from evpower.api.gateway import Gateway, GatewayOptions, Identify, Places
from evpower.api.known_routes import KnownRoutes
from evpower.api.metrics_guard import MetricsGuard
from evpower.api.replay import Replay
from evpower.config import Settings
from evpower.foundation.addresses import parse_networks
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.connection_limits import parse_origins
from evpower.foundation.db import Database
from evpower.foundation.module import Collector, Module, SocketPaths

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(  # noqa: PLR0913 - the composition of a whole side is named once, here
    modules: Sequence[Module],
    db: Database,
    identify: Identify,
    settings: Settings,
    *,
    version: str,
    bus: Callable[[], bool] | None = None,
    overdue: health.Overdue | None = None,
    collectors: Sequence[Collector] = (),
    lifespan: Lifespan | None = None,
    clock: Clock = utc_now,
    now_s: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Returns the ASGI application. Serve it without the server's proxy headers and access log.

    `identify` returns the principal of a request (`Access.principal`); `bus` returns whether the
    other nodes are reached (None: there are none); `overdue` returns the background loops that
    stand still; `collectors` refresh gauges at a scrape, beside those of the modules; `now_s` is a
    monotonic clock for rate limits and cached probes. The gateway handles proxy headers and the
    access log itself.

    Raises ValueError when settings.trusted_proxies holds something that is no address or network,
    or two limits of one name differ.
    """
    app = FastAPI(
        title="EvPower API",
        version=version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # openapi.install serves it
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False},  # EvPower's own are in api/metrics.py
        lifespan=lifespan or _nothing,
    )
    places = Places(settings.max_in_flight, now_s)
    for router in (router for module in modules for router in module.routers):
        app.include_router(router)
    app.include_router(
        health.router(
            db,
            version=version,
            now_s=now_s,
            about={key: value for module in modules for key, value in module.about.items()},
            readiness=[check for module in modules for check in module.readiness],
            bus=bus,
            overdue=overdue,
            overloaded=lambda: places.overloaded,
            collectors=[
                *collectors,
                *(collect for module in modules for collect in module.collectors),
            ],
            metrics_guard=MetricsGuard(
                settings.metrics_token.get_secret_value(), only_here=settings.env == "production"
            ),
        )
    )
    forms = errors.ErrorForms(
        (path for module in modules for path in module.plain_errors),
        (path for module in modules for path in module.coded_errors),
    )
    errors.install(app, forms)
    openapi.install(
        app,
        version=version,
        server_url=settings.public_url,
        forms=forms,
        signed=[
            path
            for module in modules
            for limit in module.route_limits
            if limit.kind == "signed"
            for path in limit.paths
        ],
    )
    app.router.middleware_stack = KnownRoutes(app.router)
    sockets = [module.sockets for module in modules if module.sockets is not None]
    app.state.message_bytes = _message_bytes(sockets)
    app.state.socket_message_bytes = max(
        (module.socket_message_bytes for module in modules), default=0
    )
    app.add_middleware(FastPaths, paths=[path for module in modules for path in module.fast_paths])
    app.add_middleware(
        Gateway,
        options=_options(settings),
        places=places,
        rates=limits.RateLimits(
            _budgets(settings),
            now_s,
            [limit for module in modules for limit in module.route_limits],
        ),
        identify=identify,
        replay=Replay(db, clock),
        sockets=sockets,
        forms=forms,
        old_routes=OldRoutes(route for module in modules for route in module.old_routes),
        unread_bodies=[path for module in modules for path in module.unread_bodies],
        unlimited=[path for module in modules for path in module.unlimited],
    )
    return app


def _message_bytes(sockets: Sequence[SocketPaths]) -> Callable[[str], int | None]:
    """Returns the function for `SocketProtocol.message_bytes`."""

    def largest(path: str) -> int | None:
        return next((paths.message_bytes for paths in sockets if paths.matches(path)), None)

    return largest


def _options(settings: Settings) -> GatewayOptions:
    return GatewayOptions(
        max_body_bytes=settings.max_body_bytes,
        trusted_proxies=parse_networks(settings.trusted_proxies),
        cors_origins=parse_origins(settings.cors_origins),
        hsts=settings.env == "production",
        access_log=settings.access_log and settings.log_level in ("debug", "info"),
    )


def _budgets(settings: Settings) -> limits.Budgets:
    return limits.Budgets(
        general_per_minute=settings.rate_per_minute,
        service_per_minute=settings.rate_service_per_minute,
        sockets_per_minute=settings.rate_sockets_per_minute,
    )


@asynccontextmanager
async def _nothing(_: FastAPI) -> AsyncGenerator[None]:
    yield
