"""One process: its application, its background loops, its server."""

import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Final

import structlog
import uvicorn
from fastapi import FastAPI

from evpower import __version__
from evpower.api import ConnectionBounds, HttpProtocol, WaitingLimit, create_app
from evpower.bootstrap.modules import Assembled, assemble
from evpower.config import Settings
from evpower.foundation import clock, failpoints, logging, loop_rounds
from evpower.foundation.addresses import parse_networks
from evpower.foundation.bus import Bus
from evpower.foundation.bus.nats_bus import NatsBus
from evpower.foundation.listener import BACKLOG, listen
from evpower.foundation.loops import Loop, Loops, Round, every
from evpower.foundation.roles import Role
from evpower.foundation.websocket import SocketProtocol

_STOP_S: Final = 10.0
_WINDOWS_FILES: Final = 8192
_MANY_FILES: Final = 1_000_000
_FEW_FILES: Final = 64
# Of cyclic garbage there is little: the usual 700 objects, a few requests, cost a tenth of the CPU.
_COLLECT_AFTER: Final = (20_000, 10, 10)
log: Final = structlog.get_logger()


def build(settings: Settings, role: Role = "all") -> FastAPI:
    """Returns the application of one process; it connects and starts its jobs when served."""
    parts = assemble(settings)
    shared = parts.shared
    node = f"{socket.gethostname()[:60]}:{os.getpid()}:{role}"
    background = _background(parts, role, node)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await shared.db.start()
        if isinstance(shared.bus, NatsBus):
            await shared.bus.start()
        background.start()
        for module in parts.modules:
            if role in module.roles and module.start is not None:
                module.start()
        log.info("started", role=role, version=__version__)
        try:
            yield
        finally:
            await background.stop(_STOP_S)
            try:
                await loop_rounds.forget(shared.db, node)
            finally:
                await close(parts)
            log.info("stopped", role=role)

    return create_app(
        [
            module
            if role in module.roles
            else replace(module, routers=(), fast_paths=(), sockets=None)
            for module in parts.modules
        ],
        shared.db,
        parts.access.principal,
        settings,
        version=__version__,
        bus=_bus_state(shared.bus),
        overdue=background.overdue,
        collectors=[background.measure],
        lifespan=lifespan,
    )


async def close(parts: Assembled) -> None:
    """Closes what the slices and the shared parts have open; a failure is logged, the rest closes.

    The bus closes after everything that publishes, the database last.
    """
    shared = parts.shared
    closing = [(module.name, module.close) for module in parts.modules]
    closing.append(("bus", shared.bus.close if isinstance(shared.bus, NatsBus) else None))
    closing += [("http", shared.http.aclose), ("database", shared.db.close)]
    for name, close_part in closing:
        if close_part is None:
            continue
        try:
            await close_part()
        except Exception:
            log.exception("close_failed", part=name)


def openapi() -> dict[str, Any]:
    """Returns the description of the HTTP API, the same on every machine."""
    settings = Settings.model_construct(supabase_url="https://project.supabase.co")
    return build(settings, "api").openapi()


def serve(settings: Settings, role: Role) -> int:
    """Serves until SIGTERM or SIGINT. Returns the exit code."""
    logging.configure(settings.log_level, json=settings.log_json)
    try:
        app = build(settings, role)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    listeners = _listen(settings)
    if not listeners:
        return 1
    _allow_files()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            http=_http_protocol(settings),
            ws=_socket_protocol(app),
            ws_max_size=app.state.socket_message_bytes,
            ws_ping_interval=None,  # the hub pings, with one timer for all
            ws_per_message_deflate=False,  # tens of KiB a socket, for messages of 200 bytes
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=True,
            backlog=BACKLOG,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(_STOP_S),
        )
    )
    gc.collect(0)  # of the older objects none is garbage, and to look for it takes 0.1 s of CPU
    gc.freeze()  # these objects stay: later collections skip them
    gc.set_threshold(*_COLLECT_AFTER)
    if settings.failpoint_file and settings.env == "development":
        failpoints.watch(Path(settings.failpoint_file))
    if settings.clock_file and settings.env == "development":
        clock.move_by(Path(settings.clock_file))
    _exit_cleanly(server)
    server.run(sockets=listeners)
    return 0 if server.started else 1


def _listen(settings: Settings) -> list[socket.socket]:
    """Returns the listening sockets; none, and says why, if an address can't be used."""
    listeners: list[socket.socket] = []
    for host, port in [(settings.host, settings.port), *settings.further_addresses]:
        try:
            listeners.append(listen(host, port))
        except OSError as error:
            sys.stderr.write(
                f"error: {host}:{port} can't be used: {error.strerror}\n"
                "  Another process may listen there: choose another with --port.\n"
            )
            for listener in listeners:
                listener.close()
            return []
    return listeners


def _exit_cleanly(server: uvicorn.Server) -> None:
    """Makes a stop return: uvicorn raises the signal again, which would kill the process."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _http_protocol(settings: Settings) -> type[HttpProtocol]:
    """Returns the protocol class with its limits: uvicorn creates the objects itself."""

    class Bounded(HttpProtocol):
        bounds = ConnectionBounds(
            WaitingLimit(
                per_group=settings.idle_connections_per_address,
                total=min(settings.idle_connections, _files_allowed() // 2),
            ),
            parse_networks(settings.trusted_proxies),
        )

    return Bounded


def _socket_protocol(app: FastAPI) -> type[SocketProtocol]:
    """Returns the protocol class with the sizes of messages by path."""

    class Sized(SocketProtocol):
        message_bytes = staticmethod(app.state.message_bytes)

    return Sized


def loops_of(parts: Assembled, role: Role) -> list[Loop]:
    """Returns every background loop of a process with this role."""
    return [job.make() for module in parts.modules for job in module.jobs if role in job.roles]


def _background(parts: Assembled, role: Role, node: str) -> Loops:
    """Returns the loops of this process, and one that stores their rounds."""

    async def record(_: Round) -> None:
        async with parts.shared.db.connection() as connection:
            await loop_rounds.store(connection, node, background.records)

    bus = parts.shared.bus
    background = Loops(
        [*loops_of(parts, role), every(loop_rounds.WRITE_S, "loop_rounds", record)],
        also=[bus.loop] if isinstance(bus, NatsBus) else [],
    )
    return background


def _bus_state(bus: Bus) -> Callable[[], bool] | None:
    """Returns whether the other nodes are reached; None without other nodes."""
    return (lambda: bus.connected) if isinstance(bus, NatsBus) else None


def _allow_files() -> None:
    """Raises the limit of open files to what the user may have; 1,024 are soon used up."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(OSError, ValueError):  # some systems report "unlimited" and allow less
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _files_allowed() -> int:
    if sys.platform == "win32":
        return _WINDOWS_FILES
    import resource

    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MANY_FILES if allowed == resource.RLIM_INFINITY else max(allowed, _FEW_FILES)
