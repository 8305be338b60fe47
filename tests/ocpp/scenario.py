"""The stations' endpoint on a real socket and database, and stations that connect to it."""

import asyncio
import base64
import contextlib
import itertools
import json
import socket as sockets
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from evpower import ocpp, stations
from evpower.api import HttpProtocol, create_app
from evpower.config import Settings
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.foundation.http import HttpClient
from evpower.foundation.module import Shared
from evpower.foundation.websocket import SocketProtocol
from evpower.ocpp.endpoint import MESSAGE_BYTES
from evpower.ocpp.module import Parts, Times, build
from evpower.realtime.endpoints import MAX_MESSAGE_BYTES
from tests.quick_server import QuickServer
from tests.stations.scenario import draft
from tests.waiting import WAIT_LIMIT_S, until

V16 = Subprotocol("ocpp1.6")
OcppPayload = dict[str, Any]
_COMMAND = 2  # the type of a message
_NEVER: Callable[..., Any] = lambda *_: None  # noqa: E731


@dataclass
class Clock:
    """Real time, and what was added to it."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Station:
    """A station's side of a socket."""

    wire: ClientConnection
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    early: deque[Any] = field(default_factory=deque[Any])  # commands that came before an answer

    async def send(self, message: object) -> None:
        await self.wire.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def receive(self) -> Any:
        return self.early.popleft() if self.early else await self._next()

    async def _next(self) -> Any:
        async with asyncio.timeout(WAIT_LIMIT_S):
            return json.loads(await self.wire.recv())

    async def ask(self, message: object) -> Any:
        """Sends a message; returns the next one that comes."""
        await self.send(message)
        return await self.receive()

    async def call(
        self, action: str, payload: OcppPayload | None = None, message_id: str = ""
    ) -> Any:
        """Sends a request; returns the payload of its good answer.

        A command may come first: it is sent as soon as it is stored. `receive` returns it later.
        """
        message_id = message_id or f"m{next(self.ids)}"
        await self.send([2, message_id, action, payload or {}])
        while (answer := await self._next())[0] == _COMMAND:
            self.early.append(answer)
        assert answer[:2] == [3, message_id], answer
        return answer[2]

    async def boot(self, **payload: Any) -> Any:
        usual = {"chargePointVendor": "Acme", "chargePointModel": "One"}
        return await self.call("BootNotification", usual | payload)

    async def ended(self) -> int | None:
        """Waits for the end. Returns the code of the server's close frame, None without one."""
        async with asyncio.timeout(WAIT_LIMIT_S):
            await self.wire.wait_closed()
        received = self.wire.protocol.close_rcvd
        return None if received is None else received.code


@dataclass
class Central:
    """A running server and what is behind it."""

    base: str
    port: int
    parts: Parts
    bus: LocalBus
    db: Database
    owner: Connection
    clock: Clock
    server: uvicorn.Server
    settings: Settings

    async def add(self, station_id: str = "EVP-001", **values: Any) -> str | None:
        """Adds a station. Returns its password."""
        async with self.db.transaction() as connection:
            added = await stations.add_station(
                connection, draft(station_id, **values), now=self.clock(), actor="test"
            )
        return added.password

    @contextlib.asynccontextmanager
    async def open(
        self,
        path: str = "/ocpp/EVP-001",
        *,
        user: str | bytes = "EVP-001",
        password: str | bytes | None = None,
        **how: Any,
    ) -> AsyncGenerator[Station]:
        """A socket of a station; without a password there is no Authorization header."""
        headers = dict(how.pop("headers", {}))
        if password is not None:
            headers["Authorization"] = basic(user, password)
        how = {
            "subprotocols": [V16], "compression": None, "ping_interval": None,
            "open_timeout": WAIT_LIMIT_S, "close_timeout": 1, **how,
        }  # fmt: skip
        async with connect(self.base + path, additional_headers=headers, **how) as wire:
            station = Station(wire)
            yield station
            assert not station.early, f"the test knows nothing of {list(station.early)}"

    def socket(self, station_id: str = "EVP-001") -> Any:
        """The server's side of the station's newest socket."""
        return self.parts.sockets.get(station_id)

    async def frames(self) -> list[tuple[str, str | None, str]]:
        """The log: direction, action, text."""
        await self.parts.log.flush_all()
        rows = await self.owner.fetch(
            "select direction, action, frame from ocpp.frames order by received_at, direction"
        )
        return [(row["direction"], row["action"], row["frame"]) for row in rows]

    async def deviations(self) -> dict[str, int]:
        """The kinds counted, of all stations."""
        await self.parts.deviations.flush()
        rows = await self.owner.fetch("select kind, count from stations.deviations")
        return {row["kind"]: row["count"] for row in rows}

    async def all_closed(self) -> bool:
        """Whether the end of every connection is written down."""
        return not await self.owner.fetchval(
            "select exists (select from stations.connections where closed_at is null)"
        )

    async def reasons(self) -> list[str | None]:
        """Why each connection ended, the oldest first."""
        rows = await self.owner.fetch("select close_reason from stations.connections order by id")
        return [row["close_reason"] for row in rows]


def basic(user: str | bytes, password: str | bytes) -> str:
    parts = [part.encode() if isinstance(part, str) else part for part in (user, password)]
    return "Basic " + base64.b64encode(b":".join(parts)).decode()


@contextlib.asynccontextmanager
async def running(
    db: Database,
    owner: Connection,
    *,
    times: Times | None = None,
    bus: LocalBus | None = None,
    clock: Any = None,
    now_s: Callable[[], float] = time.monotonic,
    **settings: Any,
) -> AsyncGenerator[Central]:
    """`clock`: a clock that the test turns, in place of the real time and what was added.

    `now_s`: the time of the limits of handshakes.
    """
    config = Settings(_env_file=None, env="development", **settings)  # pyright: ignore[reportCallIssue]
    bus, clock = bus or LocalBus(), clock or Clock()
    shared = Shared(db, HttpClient(), bus, clock)
    parts = build(config, shared, times or Times(silent_s=3600, ping_s=3600), now_s=now_s)
    module = ocpp.module(config, shared, parts=parts)
    app = create_app([module], db, _NEVER, config, version="0")
    async with _serving(app) as (server, port):
        yield Central(f"ws://127.0.0.1:{port}", port, parts, bus, db, owner, clock, server, config)
    await shared.http.aclose()


class _Protocol(SocketProtocol):
    @staticmethod
    def message_bytes(path: str) -> int | None:
        return None if path.startswith("/api/") else MESSAGE_BYTES


@contextlib.asynccontextmanager
async def _serving(app: Any) -> AsyncGenerator[tuple[uvicorn.Server, int]]:
    listening = sockets.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = QuickServer(
        uvicorn.Config(
            app, http=HttpProtocol, ws=_Protocol, ws_max_size=MAX_MESSAGE_BYTES,
            ws_ping_interval=None, ws_per_message_deflate=False, proxy_headers=False,
            log_level="critical", access_log=False, lifespan="off",
            timeout_graceful_shutdown=int(WAIT_LIMIT_S),
        )
    )  # fmt: skip
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await until(lambda: server.started)
    try:
        yield server, port
    finally:
        server.should_exit = True
        await serving
        listening.close()
