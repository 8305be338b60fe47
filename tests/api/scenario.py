"""The whole edge over a real database: real tokens, keys and slices; a clock to turn."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import uvicorn
from fastapi import APIRouter, FastAPI
from pydantic import SecretStr

from evpower.api import HttpProtocol, create_app
from evpower.api.health import Overdue
from evpower.api.legacy import (
    CODED_ERRORS,
    PLAIN_ERRORS,
    OldCallers,
    PaymentCalls,
    payment_calls_router,
    payments_router,
)
from evpower.api.legacy.balance import balance_router
from evpower.api.legacy.callers import NONE_ALLOWED, Allowed
from evpower.api.legacy.cards import cards_router
from evpower.api.legacy.charging import ChargingCalls, charging_fast_paths, charging_router
from evpower.api.legacy.health import HEALTH_PATH, health_router
from evpower.api.legacy.old_routes import CARD_PATHS, old_routes
from evpower.api.legacy.station_board import StationBoard
from evpower.api.legacy.stations import StationCalls, stations_fast_paths, stations_router
from evpower.bootstrap.modules import assemble
from evpower.charging import SESSION_CHANGED, SessionStatuses
from evpower.charging import endpoints as charging_endpoints
from evpower.charging.estimate_endpoint import estimate_router
from evpower.charging.rules import DEFAULT_RULES
from evpower.config import Settings
from evpower.foundation.addresses import parse_networks
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.foundation.key_watch import KeyWatch
from evpower.foundation.module import Collector, Limit, Module, Probe, Readiness
from evpower.foundation.websocket import SocketProtocol
from evpower.identity import Access, add_operator, create_service_key
from evpower.identity.operator_endpoints import operator_router
from evpower.identity.tokens import TokenVerifier
from evpower.ocpp.handshake import STATION_PATHS, socket_urls
from evpower.payments import Confirmer, Providers
from evpower.wallet import endpoints as wallet_endpoints
from tests.contracts.answers import HOOKS
from tests.quick_server import QuickServer
from tests.waiting import WAIT_LIMIT_S, patient_http, until

ISSUER = "http://127.0.0.1:9/auth/v1"
SECRET = "a secret of the tests, long enough to sign with"
Headers = dict[str, str]


@dataclass
class Turning:
    """A monotonic clock that stands still until it is moved."""

    at_s: float = 1000.0

    def __call__(self) -> float:
        return self.at_s


@dataclass
class WallClock:
    """Real time, and what was added to it."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def token(user: UUID, **claims: Any) -> str:
    now = int(time.time())
    payload = {
        "sub": str(user), "aud": "authenticated", "iss": ISSUER, "role": "authenticated",
        "iat": now, "exp": now + 3600, **claims,
    }  # fmt: skip
    return jwt.encode(payload, SECRET, algorithm="HS256")


def bearer(user: UUID, **claims: Any) -> Headers:
    return {"Authorization": f"Bearer {token(user, **claims)}"}


@dataclass
class Api:
    """The application, and ways to call it with each kind of credentials."""

    app: FastAPI
    http: httpx.AsyncClient
    db: Database
    now_s: Turning
    clock: WallClock
    bus: LocalBus
    service: Headers = field(default_factory=dict)
    operator: Headers = field(default_factory=dict)  # of the role viewer
    manager: Headers = field(default_factory=dict)  # an operator of the role operator

    async def get(self, path: str, headers: Headers | None = None, **more: Any) -> httpx.Response:
        return await self.http.get(path, headers=headers, **more)

    async def post(self, path: str, headers: Headers | None = None, **more: Any) -> httpx.Response:
        return await self.http.post(path, headers=headers, **more)

    async def new_client(self) -> UUID:
        client = uuid4()
        async with self.db.connection() as connection:
            await connection.execute(
                "insert into identity.clients (id, origin) values ($1, 'import')", client
            )
        return client


@contextlib.asynccontextmanager
async def running_api(
    db: Database,
    routers: Sequence[APIRouter] = (),
    *,
    supabase: Probe | None = None,
    bus_connected: Callable[[], bool] | None = None,
    collectors: Sequence[Collector] = (),
    overdue: Overdue | None = None,
    stop_wait_s: float = 0.05,
    without_token: Allowed = NONE_ALLOWED,
    **settings: Any,
) -> AsyncIterator[Api]:
    outside = patient_http()
    clock, now_s, bus = WallClock(), Turning(), LocalBus()
    verifier = TokenVerifier(issuer_url=ISSUER, http=outside, hs256_secret=SecretStr(SECRET))
    access = Access(db, verifier)
    chosen = {"env": "development", "rate_per_minute": 100_000, **settings}
    chosen |= {
        f"without_token_{family}": ",".join(sorted(operations))
        for family, operations in without_token.items()
    }
    configured = Settings(_env_file=None, **chosen)
    callers = OldCallers(
        db,
        access,
        allowed=without_token,
        per_id=configured.rate_without_token_per_minute,
        per_address=configured.rate_per_minute,
        trusted_proxies=parse_networks(configured.trusted_proxies),
        now_s=now_s,
    )
    payments = PaymentCalls(
        db, callers, Providers([]), Confirmer(db, bus), (1_000, 10_000_000), clock
    )
    board = StationBoard(db, clock, now_s=now_s)
    stations = StationCalls(board, frozenset({"old.example"}))
    charging = ChargingCalls(
        db, SessionStatuses(db), bus, callers, KeyWatch(bus, SESSION_CHANGED), DEFAULT_RULES, clock,
        wait_s=stop_wait_s,
    )  # fmt: skip
    app = create_app(
        [
            Module(
                "tried",
                routers=[
                    charging_endpoints.router(access, db, bus, clock=clock),
                    estimate_router(access, db, clock=clock),
                    wallet_endpoints.router(access, db, callers.reader_of_v1),
                    operator_router(access, db, bus),
                    charging_router(charging),
                    stations_router(stations),
                    cards_router(),
                    balance_router(db, callers),
                    health_router(db, clock, version="0", station_paths=STATION_PATHS, now_s=now_s),
                    *routers,
                    payments_router(payments),
                    payment_calls_router(payments),
                ],
                fast_paths=[
                    *charging_endpoints.fast_paths(access, db),
                    *wallet_endpoints.fast_paths(access, db, callers.reader_of_v1),
                    *charging_fast_paths(charging),
                    *stations_fast_paths(stations),
                ],
                route_limits=_limits(configured),
                plain_errors=PLAIN_ERRORS,
                coded_errors=CODED_ERRORS,
                old_routes=old_routes(configured.old_api_sunset),
                unread_bodies=CARD_PATHS,
                unlimited=[HEALTH_PATH],
                about={
                    "websocket_urls": socket_urls(configured.public_url),
                    "health_check": HEALTH_PATH,
                },
                readiness=[] if supabase is None else [Readiness("supabase", supabase)],
            )
        ],
        db,
        access.principal,
        configured,
        version="0",
        bus=bus_connected,
        collectors=collectors,
        overdue=overdue,
        clock=clock,
        now_s=now_s,
    )
    hooks = {} if routers else HOOKS  # routes of a test need not answer as the real ones
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://api", event_hooks=hooks
    ) as http:
        api = Api(app, http, db, now_s, clock, bus)
        async with db.transaction() as connection:
            api.service, api.operator, api.manager = await _helpers(connection)
        yield api
    await outside.aclose()


_limits_of: dict[str, list[Limit]] = {}  # by the settings: to assemble takes as long as the app


def _limits(settings: Settings) -> list[Limit]:
    """The limits of all slices: tests have stand-ins on their paths."""
    values = settings.model_dump_json()
    if values not in _limits_of:
        parts = assemble(settings)
        _limits_of[values] = [limit for module in parts.modules for limit in module.route_limits]
    return _limits_of[values]


async def _helpers(connection: Connection) -> tuple[Headers, Headers, Headers]:
    key = await create_service_key(connection, name="importer", actor="test")
    viewer, manager = uuid4(), uuid4()
    await add_operator(connection, user_id=viewer, name="Boss", actor="test")
    await add_operator(connection, user_id=manager, name="Aida", role="operator", actor="test")
    return {"X-Service-Key": key.key}, bearer(viewer), bearer(manager)


@contextlib.asynccontextmanager
async def on_a_socket(
    app: Any, http: type[HttpProtocol] = HttpProtocol, keep_alive_s: float = WAIT_LIMIT_S
) -> AsyncIterator[str]:
    """Serve it with uvicorn, as production does; answers its URL."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=http,
        ws=SocketProtocol,
        ws_per_message_deflate=False,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=int(keep_alive_s),
    )
    server = QuickServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listening.close()
