"""The live endpoint on a real socket and database; money moves by the wallet's functions."""

import asyncio
import contextlib
import json
import socket as sockets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID, uuid4

import jwt
import uvicorn
from fastapi import FastAPI
from prometheus_client import REGISTRY
from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from evpower.api import HttpProtocol, choose_language, create_app, sentence
from evpower.charging import SESSION_CHANGED
from evpower.config import Settings
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.foundation.module import Module
from evpower.foundation.websocket import SocketProtocol
from evpower.identity import CLIENT_CHANGED, Access, add_operator
from evpower.identity.tokens import TokenVerifier
from evpower.realtime.endpoints import MAX_MESSAGE_BYTES, router
from evpower.realtime.hub import Hub
from tests.quick_server import QuickServer
from tests.waiting import WAIT_LIMIT_S, patient_http, until

ISSUER = "http://127.0.0.1:9/auth/v1"
SECRET = "a secret of the tests, long enough to sign with"
Message = dict[str, Any]
# A machine that stands still for some seconds closes no socket. Pings cannot be put off as far, the
# wheel has a slot for each tick: `App` passes them over.
_PATIENT = {"tick_s": 0.02, "auth_s": 3600.0, "slow_s": 3600.0}


def token(client: UUID, *, lives_s: float = 3600, **claims: Any) -> str:
    now = int(time.time())
    payload = {
        "sub": str(client), "aud": "authenticated", "iss": ISSUER, "role": "authenticated",
        "iat": now - 60, "exp": now + lives_s, **claims,
    }  # fmt: skip
    return jwt.encode(payload, SECRET, algorithm="HS256")


@dataclass
class Clock:
    """Real time, and what was added to it."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class App:
    """A phone: one socket and what came on it."""

    wire: ClientConnection

    async def say(self, message: object) -> None:
        await self.wire.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def next(self) -> Message:
        """The next message that is no ping."""
        while (message := await self.next_of_any_kind())["type"] == "ping":
            pass
        return message

    async def next_of_any_kind(self) -> Message:
        async with asyncio.timeout(WAIT_LIMIT_S):
            return json.loads(await self.wire.recv())

    async def expect(self, kind: str) -> Message:
        """The next message that is no ping is of this type."""
        message = await self.next()
        assert message["type"] == kind, message
        return message

    async def closed(self) -> tuple[int, str]:
        """Read to the end; answers code and reason."""
        async with asyncio.timeout(WAIT_LIMIT_S):
            try:
                while True:
                    await self.wire.recv()
            except ConnectionClosed:
                return self.wire.close_code or 0, self.wire.close_reason or ""

    async def is_quiet(self) -> bool:
        """Whether nothing was on its way: a ping of ours is answered by the next message."""
        await self.say({"type": "ping"})
        return (await self.next())["type"] == "pong"


@dataclass
class Live:
    """A running server and the hands to move its clients' money."""

    url: str
    hub: Hub
    bus: LocalBus
    db: Database
    owner: Connection
    clock: Clock
    server: uvicorn.Server

    @contextlib.asynccontextmanager
    async def open(self, path: str = "", **how: Any) -> AsyncIterator[App]:
        """A socket that is not signed in."""
        how = {"ping_interval": None, "open_timeout": WAIT_LIMIT_S, **how}
        async with connect(self.url + path, **how) as wire:
            yield App(wire)

    @contextlib.asynccontextmanager
    async def watching(
        self, client: UUID, version: float | None = None, **how: Any
    ) -> AsyncIterator[App]:
        """Signed in; the first state is still to be read."""
        async with self.open(**how) as app:
            more = {} if version is None else {"version": version}
            await app.say({"type": "auth", "token": token(client), **more})
            await app.expect("connection")
            yield app

    async def new_client(self) -> UUID:
        client = uuid4()
        await self.owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", client
        )
        return client

    async def top_up(self, client: UUID, som: int = 100, *, tell: bool = True) -> None:
        payment = await self.owner.fetchval(
            "insert into payments.payments (invoice_id, order_id, client_id, provider,"
            " provider_ref, credited_ref, method, amount_minor, status, paid_minor, confirmed_at,"
            " expires_at) values ($1, $1, $2, 'sandbox', $1, $1, 'qr', $3, 'approved', $3, now(),"
            " now() + interval '1 hour') returning id",
            uuid4().hex, client, som * 100,
        )  # fmt: skip
        await self.owner.execute("select from wallet.credit($1)", payment)
        if tell:
            self.bus.publish(CLIENT_CHANGED, client)

    async def start_session(
        self, client: UUID, *, tell: bool = True, hold_som: int = 0, source: str = "evpower"
    ) -> UUID:
        session = uuid4()
        await self.owner.execute(
            "insert into charging.sessions (id, client_id, station_id, connector_id, state,"
            " source, started_at) values ($1, $2, $3, 1, 'charging', $4, now())",
            session, client, f"EVP-{session.hex[:6]}", source,
        )  # fmt: skip
        if hold_som:
            await self.owner.execute("select from wallet.hold($1, $2)", session, hold_som * 100)
        if tell:
            self.bus.publish(SESSION_CHANGED, session)
            self.bus.publish(CLIENT_CHANGED, client)
        return session

    async def stop_session(self, session: UUID, *, tell: bool = True) -> None:
        await self.owner.execute(
            "update charging.sessions set state = 'finished', ended_at = now(),"
            " energy_wh = 12345, cost_minor = 16666 where id = $1",
            session,
        )
        if tell:
            self.bus.publish(SESSION_CHANGED, session)


@dataclass
class Gate:
    """A database whose readings can be held: read already, not yet given to the hub."""

    db: Database
    hold: asyncio.Event | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def connection(self) -> "_Gated":
        return _Gated(self)

    def transaction(self) -> Any:
        return self.db.transaction()


class _Gated:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._borrowed = gate.db.connection()

    async def __aenter__(self) -> Self:
        self._connection = await self._borrowed.__aenter__()
        return self

    async def __aexit__(self, *how: object) -> None:
        await self._borrowed.__aexit__(*how)

    async def fetch(self, *query: Any) -> Any:
        rows = await self._connection.fetch(*query)
        if self._gate.hold is not None:
            self._gate.reached.set()
            await self._gate.hold.wait()
        return rows


@contextlib.asynccontextmanager
async def running(
    db: Database,
    owner: Connection,
    *,
    hub_db: Any = None,
    settings: Message | None = None,
    listener: sockets.socket | None = None,
    now_s: Callable[[], float] = time.monotonic,
    **times: Any,
) -> AsyncIterator[Live]:
    chosen = {"env": "development", "live_sweep_s": 3600, **(settings or {})}
    config = Settings(_env_file=None, **chosen)  # type: ignore[call-arg]
    outside, bus, clock = patient_http(), LocalBus(), Clock()
    access = Access(
        db, TokenVerifier(issuer_url=ISSUER, http=outside, hs256_secret=SecretStr(SECRET))
    )
    hub = Hub(
        hub_db or db, bus, config, clock, sentence, choose_language, now_s=now_s,
        **{**_PATIENT, **times},
    )  # fmt: skip
    routes = router(access, hub, config, now_s=now_s)
    app = create_app(
        [Module("realtime", routers=[routes])],
        db,
        access.principal,
        config,
        version="0",
        now_s=now_s,
    )
    stop = asyncio.Event()
    working = asyncio.create_task(hub.run(stop))
    async with _serving(app, listener) as (server, port):
        yield Live(f"ws://127.0.0.1:{port}/api/v1/ws", hub, bus, db, owner, clock, server)
    stop.set()
    await working
    await outside.aclose()


@contextlib.asynccontextmanager
async def _serving(
    app: FastAPI, listener: sockets.socket | None
) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    listening = listener or sockets.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = QuickServer(
        uvicorn.Config(
            app,
            http=HttpProtocol,
            ws=SocketProtocol,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_ping_interval=None,
            ws_per_message_deflate=False,
            proxy_headers=False,
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=int(WAIT_LIMIT_S),
            lifespan="off",
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await until(lambda: server.started)
    try:
        yield server, port
    finally:
        server.should_exit = True
        await serving
        listening.close()


def counted(name: str, **labels: str) -> float:
    """What a counter stands at."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def make_operator(db: Database) -> UUID:
    boss = uuid4()
    async with db.transaction() as connection:
        await add_operator(connection, user_id=boss, name="Boss", actor="test")
    return boss
