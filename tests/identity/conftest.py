"""Fixtures: a real local Supabase, a scripted web server in front of it, and a settable clock."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from evpower.devstack.stack import supabase_migrations
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection, Database
from evpower.identity.supabase_admin import SupabaseAdmin
from tests.api.scenario import Api, running_api
from tests.conftest import Server, patient_database
from tests.folders import server_folder
from tests.identity.moving import Moving
from tests.waiting import patient_http

# Status, body and perhaps a header line; None: the connection is closed without a response.
Answer = tuple[int, bytes] | tuple[int, bytes, bytes] | None


@dataclass
class Clock:
    """Stands still until `forward` moves it."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **delta: float) -> None:
        self.at += timedelta(**delta)


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Edge:
    """HTTP/1.1 on a socket: `respond` makes each response, `requests` lists the requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.respond: Callable[[Request], Awaitable[Answer]] = self._nothing
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def count(self, path: str) -> int:
        return sum(request.path.startswith(path) for request in self.requests)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @staticmethod
    async def _nothing(_: Request) -> Answer:
        return 404, b"{}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lost = (asyncio.IncompleteReadError, ConnectionError)
        with contextlib.suppress(*lost), contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = head[0].split(" ")
            pairs = (line.partition(":") for line in head[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            request = Request(method, path, headers, body)
            self.requests.append(request)
            answer = await self.respond(request)
            if answer is not None:
                status, content, *more = answer
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(content)}\r\nConnection: close\r\n".encode()
                    + b"".join(line + b"\r\n" for line in more)
                    + b"\r\n"
                    + content
                )
                await writer.drain()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with patient_http(always=True) as client:
        yield client


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    server = Edge()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
async def supabase(server: Server) -> AsyncIterator[LocalSupabase]:
    """Run one real local Supabase per worker, with cheap password hashes; only Auth is used."""
    await server.postgres.create_database("supabase_identity")
    with (
        tempfile.TemporaryDirectory(prefix="evpower-supabase-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("LITE_AUTH_BCRYPT_COST", "4")
        migrations = Path(folder) / "migrations"
        migrations.mkdir()
        local = LocalSupabase(
            server.postgres.dsn("supabase_identity"),
            port=None,
            state_dir=Path(folder) / "state",
            migrations_dir=migrations,
        )
        await local.start()
        yield local
        await local.stop()


@pytest.fixture
def admin(supabase: LocalSupabase, http: httpx.AsyncClient) -> SupabaseAdmin:
    return SupabaseAdmin(
        http=http,
        url=supabase.url,
        secret_key=SecretStr(supabase.secret_key),
        publishable_key=supabase.publishable_key,
    )


@pytest.fixture
def admin_through_edge(
    supabase: LocalSupabase, http: httpx.AsyncClient, edge: Edge
) -> SupabaseAdmin:
    """Reach the real Supabase through `edge`, which forwards everything by default."""

    async def pass_on(request: Request) -> Answer:
        return await forward(supabase, http, request)

    edge.respond = pass_on
    return SupabaseAdmin(
        http=http,
        url=edge.url,
        secret_key=SecretStr(supabase.secret_key),
        publishable_key=supabase.publishable_key,
    )


async def forward(supabase: LocalSupabase, http: httpx.AsyncClient, request: Request) -> Answer:
    """Forward one request to the real Supabase."""
    headers = {
        name: value
        for name, value in request.headers.items()
        if name in {"apikey", "authorization", "content-type"}
    }
    answer = await http.request(
        request.method, supabase.url + request.path, headers=headers, content=request.body
    )
    return answer.status_code, answer.content


@pytest.fixture(scope="session")
async def project(server: Server) -> AsyncIterator[LocalSupabase]:
    """Run one real local Supabase per worker with EvPower's functions in it."""
    await server.postgres.create_database("supabase_moving")
    with server_folder("moving") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITE_AUTH_BCRYPT_COST", "4")
        local = LocalSupabase(
            server.postgres.dsn("supabase_moving"),
            port=None,
            state_dir=folder / "state",
            migrations_dir=supabase_migrations(),
        )
        await local.start()
        yield local
        await local.stop()


@pytest.fixture
async def moving(
    server: Server,
    dsn: str,
    owner: Connection,
    project: LocalSupabase,
    http: httpx.AsyncClient,
    tmp_path: Path,
) -> AsyncIterator[Moving]:
    """Yields an empty project and an empty EvPower."""
    there: Connection = await asyncpg.connect(server.dsn("supabase_moving"))
    await there.execute(
        "delete from auth.users; delete from public.clients"
    )  # quicker than truncate
    db = patient_database(dsn, role=None)
    await db.start()
    admin = SupabaseAdmin(http=http, url=project.url, secret_key=SecretStr(project.secret_key))
    yield Moving(db, owner, there, project, admin, http, tmp_path)
    await db.close()
    await there.close()


@pytest.fixture
async def api(db: Database) -> AsyncIterator[Api]:
    """Yields the whole API."""
    async with running_api(db) as api:
        yield api
