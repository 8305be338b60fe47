"""The composition root: the only place that knows every part."""

import asyncio
import socket
import sys
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import httpx
import structlog
import uvicorn
from fastapi import APIRouter, FastAPI

from evpower import __version__, charging, identity, payments, sync, wallet
from evpower.api import create_app, messages
from evpower.config import Settings
from evpower.foundation import idempotency, logging, loops, steps
from evpower.foundation.bus import Bus, LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.foundation.hot import HotPath
from evpower.foundation.http import new_http_client

Role = Literal["all", "api", "worker"]

_CONVERGE_S: Final = 5.0
_PURGE_S: Final = 600.0
_STOP_S: Final = 10.0
log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a process is made of; nothing here has connected yet."""

    settings: Settings
    db: Database
    http: httpx.AsyncClient
    bus: Bus
    access: identity.Access
    admin: identity.SupabaseAdmin
    providers: payments.Providers
    confirmer: payments.Confirmer
    rpc: sync.SupabaseRpc


def assemble(settings: Settings) -> Parts:
    """Build the parts from the settings."""
    http = new_http_client()
    db = Database(
        settings.database_url.get_secret_value(),
        size=settings.database_pool,
        application_name="evpower",
    )
    bus = LocalBus()
    admin = identity.SupabaseAdmin(
        http=http,
        url=settings.supabase_url,
        secret_key=settings.supabase_secret_key,
        publishable_key=settings.supabase_publishable_key,
    )
    verifier = identity.TokenVerifier(
        issuer_url=f"{settings.supabase_url.rstrip('/')}/auth/v1",
        http=http,
        hs256_secret=settings.supabase_jwt_secret,
        previous_hs256_secrets=[settings.supabase_jwt_secret_previous],
    )
    return Parts(
        settings=settings,
        db=db,
        http=http,
        bus=bus,
        access=identity.Access(
            db, verifier, introspect_with=admin if settings.auth_introspect == "money" else None
        ),
        admin=admin,
        providers=payments.configured_providers(settings, http),
        confirmer=payments.Confirmer(db, bus),
        rpc=sync.SupabaseRpc(
            http,
            settings.supabase_url,
            settings.supabase_secret_key.get_secret_value(),
            timeout_s=settings.supabase_timeout_s,
        ),
    )


def build(settings: Settings, role: Role = "all") -> FastAPI:
    """Return the application of one process; it connects and starts its jobs when served."""
    parts = assemble(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await parts.db.start()
        stop = asyncio.Event()
        jobs = [asyncio.create_task(job) for job in _jobs(parts, stop)] if role != "api" else []
        log.info("started", role=role, version=__version__)
        try:
            yield
        finally:
            stop.set()
            await _end(jobs)
            await parts.confirmer.close()
            await parts.http.aclose()
            await parts.db.close()
            log.info("stopped", role=role)

    return create_app(
        _routers(parts) if role != "worker" else [],
        parts.db,
        parts.access.principal,
        settings,
        version=__version__,
        supabase=lambda: _supabase_answers(parts),
        collectors=[lambda: payments.measure(parts.db, utc_now), lambda: _measure_sync(parts)],
        hot_paths=_hot_paths(parts) if role != "worker" else [],
        lifespan=lifespan,
    )


def openapi() -> dict[str, Any]:
    """Describe the HTTP API, the same on every machine."""
    settings = Settings.model_construct(supabase_url="https://project.supabase.co")
    return build(settings, "api").openapi()


def serve(settings: Settings, role: Role) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    logging.configure(settings.log_level, json=settings.log_json)
    try:
        app = build(settings, role)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as error:
        sys.stderr.write(
            f"error: {settings.host}:{settings.port} can't be used: {error.strerror}\n"
            "  Another process may listen there: choose another with --port.\n"
        )
        return 1
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=True,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(_STOP_S),
        )
    )
    if settings.kill_fuse and settings.env == "development":
        steps.watch(Path(settings.kill_fuse))
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _routers(parts: Parts) -> list[APIRouter]:
    settings = parts.settings
    return [
        identity.router(parts.db, parts.admin, parts.bus, confirm=settings.register_confirm),
        payments.router(
            parts.db,
            parts.access,
            parts.providers,
            parts.confirmer,
            min_som=settings.topup_min_som,
            max_som=settings.topup_max_som,
            say=_say,
        ),
        wallet.router(parts.access, parts.db),
        charging.router(parts.access, parts.db, parts.bus),
    ]


def _hot_paths(parts: Parts) -> list[HotPath]:
    return [
        *payments.hot_paths(parts.providers, parts.confirmer),
        *wallet.hot_paths(parts.access, parts.db),
        *charging.hot_paths(parts.access, parts.db),
    ]


def _say(code: str, accept_language: str) -> str:
    """Answer a code's sentence in the language a request asks for."""
    return messages.text(code, 200, messages.choose_language(accept_language), {})


def _jobs(parts: Parts, stop: asyncio.Event) -> list[Coroutine[None, None, None]]:
    relay = sync.Relay(parts.db, parts.rpc, parts.settings, utc_now, parts.bus)

    async def converge() -> None:
        await identity.converge_registrations(parts.db, parts.admin, utc_now)

    async def purge() -> None:
        async with parts.db.transaction() as connection:
            await idempotency.purge(connection, utc_now)

    return [
        loops.revive("relay", lambda: relay.run(stop), stop),
        loops.revive(
            "recheck",
            lambda: payments.recheck_forever(
                parts.db, parts.providers, parts.confirmer, utc_now, stop=stop
            ),
            stop,
        ),
        loops.every(_CONVERGE_S, "converge_registrations", converge, stop),
        loops.every(_PURGE_S, "purge_idempotency_keys", purge, stop),
    ]


async def _end(jobs: list[asyncio.Task[None]]) -> None:
    if not jobs:
        return
    _, late = await asyncio.wait(jobs, timeout=_STOP_S)
    for job in late:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)


async def _measure_sync(parts: Parts) -> None:
    async with parts.db.connection() as connection:
        await sync.status(connection)


async def _supabase_answers(parts: Parts) -> bool:
    url = f"{parts.settings.supabase_url.rstrip('/')}/auth/v1/.well-known/jwks.json"
    answer = await parts.http.get(url, timeout=2.0)
    return answer.is_success


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(2048)
    listener.setblocking(False)
    return listener
