"""The composition root: the only place that knows every part."""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI

from evpower import __version__, charging, identity, payments, realtime, sync, wallet
from evpower.api import ConnectionBounds, HttpProtocol, WaitingLimit, create_app, legacy, messages
from evpower.config import Settings
from evpower.foundation import failpoints, idempotency, logging, loop_rounds
from evpower.foundation.addresses import parse_networks
from evpower.foundation.bus import Bus, LocalBus
from evpower.foundation.bus.nats_bus import NatsBus
from evpower.foundation.bus.nats_keys import NatsFiles
from evpower.foundation.clock import utc_now
from evpower.foundation.connection_limits import parse_origins
from evpower.foundation.db import Connection, Database
from evpower.foundation.fast_path import HotPath
from evpower.foundation.http import HttpClient
from evpower.foundation.loops import Loop, Loops, Round, every
from evpower.foundation.purge import purge

Role = Literal["all", "api", "worker"]

_CONVERGE_S: Final = 5.0
_CONFIRMATIONS_S: Final = 10.0
_PURGE_S: Final = 600.0
_PRUNE_S: Final = 3600.0
_STOP_S: Final = 10.0
_PROBE_S: Final = 2.0  # as long as /readyz waits
_PROBE_BYTES: Final = 65_536
_BACKLOG: Final = 4096  # all phones coming back at once
_WINDOWS_FILES: Final = 8192
_MANY_FILES: Final = 1_000_000
_FEW_FILES: Final = 64
_VANISHED_MS: Final = 60_000
log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a process is made of; nothing here has connected yet."""

    settings: Settings
    db: Database
    http: HttpClient
    bus: Bus
    access: identity.Access
    admin: identity.SupabaseAdmin
    providers: payments.Providers
    confirmer: payments.Confirmer
    rpc: sync.SupabaseRpc
    locations: legacy.LocationFeed
    webhooks: sync.SupabaseWebhooks
    hub: realtime.Hub


def assemble(settings: Settings) -> Parts:
    """Build the parts from the settings. Raises ValueError for one that can't be used."""
    http = HttpClient(
        supabase_ca=settings.supabase_ca, proxy=settings.http_proxy.get_secret_value()
    )
    db = Database(
        settings.database_url.get_secret_value(),
        size=settings.database_pool,
    )
    bus = _bus(settings)
    admin = identity.SupabaseAdmin(
        http=http,
        url=settings.supabase_url,
        secret_key=settings.supabase_secret_key,
        publishable_key=settings.supabase_publishable_key,
    )
    verifier = identity.configured_verifier(settings, http)
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
        locations=legacy.LocationFeed(),
        webhooks=sync.SupabaseWebhooks(
            db, bus, settings.supabase_webhook_secrets.get_secret_value()
        ),
        hub=realtime.Hub(db, bus, settings, utc_now),
    )


def _bus(settings: Settings) -> Bus:
    urls = settings.nats_url.get_secret_value()
    if not urls:
        return LocalBus()
    files = NatsFiles(settings.nats_creds, settings.nats_nkey_file, settings.nats_ca)
    return NatsBus(urls, prefix=settings.nats_prefix, files=files)


def build(settings: Settings, role: Role = "all") -> FastAPI:
    """Return the application of one process; it connects and starts its jobs when served."""
    parts = assemble(settings)
    node = f"{socket.gethostname()[:60]}:{os.getpid()}:{role}"
    background = _background(parts, role, node)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await parts.db.start()
        if isinstance(parts.bus, NatsBus):
            await parts.bus.start()
        background.start()
        if role != "worker":
            parts.access.prefetch()
        log.info("started", role=role, version=__version__)
        try:
            yield
        finally:
            await background.stop(_STOP_S)
            await loop_rounds.forget(parts.db, node)
            await parts.confirmer.close()
            await parts.webhooks.close()
            if isinstance(parts.bus, NatsBus):
                await parts.bus.close()  # after all that publishes
            await parts.http.aclose()
            await parts.db.close()
            log.info("stopped", role=role)

    return create_app(
        _routers(parts) if role != "worker" else [],
        parts.db,
        parts.access.principal,
        settings,
        version=__version__,
        supabase=lambda: _supabase_answers(settings, parts.http),
        bus=_bus_state(parts.bus),
        overdue=background.overdue,
        collectors=[
            background.measure,
            lambda: payments.measure(parts.db, utc_now),
            lambda: identity.measure_confirmations(parts.db),
            lambda: _measure_sync(parts),
        ],
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
    _allow_files()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            http=_http_protocol(settings),
            ws=realtime.SocketProtocol,
            ws_max_size=realtime.MAX_MESSAGE_BYTES,
            ws_ping_interval=None,  # the hub pings, by one timer for all
            ws_per_message_deflate=False,  # tens of KiB a socket, for messages of 200 bytes
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=True,
            backlog=_BACKLOG,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(_STOP_S),
        )
    )
    gc.collect()
    gc.freeze()  # what is here now stays: no later collection looks at it again
    if settings.kill_fuse and settings.env == "development":
        failpoints.watch(Path(settings.kill_fuse))
    _exit_cleanly(server)
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _exit_cleanly(server: uvicorn.Server) -> None:
    """Return after a stop: uvicorn raises the signal again, and would die of it."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _http_protocol(settings: Settings) -> type[HttpProtocol]:
    """Uvicorn makes the protocols itself: their bounds are the class's."""

    class Bounded(HttpProtocol):
        bounds = ConnectionBounds(
            WaitingLimit(
                per_group=settings.idle_connections_per_address,
                total=min(settings.idle_connections, _files_allowed() // 2),
            ),
            parse_networks(settings.trusted_proxies),
        )

    return Bounded


def _routers(parts: Parts) -> list[APIRouter]:
    settings = parts.settings
    return [
        identity.router(parts.db, parts.admin, parts.bus, confirm=settings.register_confirm),
        identity.operator_router(parts.access, parts.db, parts.bus),
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
        realtime.router(parts.access, parts.hub, settings),
        charging.router(parts.access, parts.db, parts.bus),
        legacy.router(
            parts.locations,
            cors_origins=parse_origins(settings.cors_origins),
            trusted_proxies=parse_networks(settings.trusted_proxies),
        ),
        sync.webhook_router(parts.webhooks),
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


def _background(parts: Parts, role: Role, node: str) -> Loops:
    """The loops of this process, and one that stores their rounds."""

    async def record(_: Round) -> None:
        async with parts.db.connection() as connection:
            await loop_rounds.store(connection, node, background.records)

    background = Loops(
        [*_loops(parts, role), every(loop_rounds.WRITE_S, "loop_rounds", record)],
        also=[parts.bus.loop] if isinstance(parts.bus, NatsBus) else [],
    )
    return background


def _loops(parts: Parts, role: Role) -> list[Loop]:
    """Every background loop of a process with this role."""
    puller = sync.Puller(parts.db, parts.rpc, parts.settings, utc_now, parts.bus)
    # Every process pulls when notified; worker processes also poll.
    chosen = [puller.loop(periodic=role != "api")]
    if role != "worker":
        chosen += [*parts.hub.loops(), parts.locations.loop()]
    if role != "api":
        chosen += [every(_PRUNE_S, "prune_changes", puller.prune)]
        chosen += _worker_loops(parts)
    return chosen


def _worker_loops(parts: Parts) -> list[Loop]:
    async def converge(current: Round) -> None:
        await identity.converge_registrations(
            parts.db, parts.admin, utc_now, progress=current.progress
        )

    async def confirm(current: Round) -> None:
        await identity.send_confirmations(parts.db, parts.admin, utc_now, current)

    return [
        sync.Relay(parts.db, parts.rpc, parts.settings, utc_now, parts.bus).loop(),
        payments.recheck_loop(parts.db, parts.providers, parts.confirmer, utc_now),
        sync.Reconciler(parts.db, parts.rpc, parts.settings, utc_now).loop(),
        every(_CONVERGE_S, "converge_registrations", converge),
        every(_CONFIRMATIONS_S, "send_confirmations", confirm),
        every(_PURGE_S, "purge_idempotency_keys", _purging(parts.db, idempotency.purge)),
        every(_PURGE_S, "purge_registrations", _purging(parts.db, identity.purge_registrations)),
        every(_PURGE_S, "purge_events", _purging(parts.db, payments.purge_unknown_events)),
        every(_PURGE_S, "purge_webhook_inbox", parts.webhooks.purge),
    ]


def _purging(
    db: Database, delete: Callable[[Connection, datetime, int], Awaitable[int]]
) -> Callable[[Round], Awaitable[int]]:
    """A loop's work that deletes until nothing old is left."""
    return lambda current: purge(db, lambda c, at_most: delete(c, utc_now(), at_most), current)


async def _measure_sync(parts: Parts) -> None:
    async with parts.db.connection() as connection:
        await sync.status(connection)


async def _supabase_answers(settings: Settings, http: HttpClient) -> bool:
    """Whether Auth answers, and PostgREST with a row of the database behind both."""
    base = settings.supabase_url.rstrip("/")
    keys, rows = await asyncio.gather(
        http.fetch(
            "supabase_keys",
            "GET",
            f"{base}/auth/v1/.well-known/jwks.json",
            timeout_s=_PROBE_S,
            max_bytes=_PROBE_BYTES,
        ),
        http.fetch(
            "supabase_rest",
            "GET",
            f"{base}/rest/v1/clients?select=id&limit=1",
            headers=sync.secret_key_headers(settings.supabase_secret_key.get_secret_value()),
            timeout_s=_PROBE_S,
            max_bytes=_PROBE_BYTES,
        ),
    )
    return keys.is_success and rows.is_success


def _bus_state(bus: Bus) -> Callable[[], bool] | None:
    """Whether the other nodes are reached; None where there are no others."""
    return (lambda: bus.connected) if isinstance(bus, NatsBus) else None


def _allow_files() -> None:
    """Let the process have as many sockets as its user may; the usual 1,024 are soon gone."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(OSError, ValueError):  # some systems say "unlimited" and mean less
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _files_allowed() -> int:
    if sys.platform == "win32":
        return _WINDOWS_FILES
    import resource

    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MANY_FILES if allowed == resource.RLIM_INFINITY else max(allowed, _FEW_FILES)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    if sys.platform == "linux":  # inherited by its sockets: a vanished phone is noticed
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _VANISHED_MS)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener
