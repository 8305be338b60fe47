"""A real local Supabase in both shapes, one server per worker; tests use different ids."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from evpower.config import Settings
from evpower.devstack.stack import supabase_migrations
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.sync import Relay, SupabaseRpc
from tests.conftest import Server
from tests.folders import server_folder
from tests.stations.scenario import Operator
from tests.sync.projects import ACT_AS_AUTH, connected
from tests.sync.scenario import Scenario, Target
from tests.waiting import WAIT_LIMIT_S, patient_http

OLDER = Path(__file__).parent / "older_project.sql"


@asynccontextmanager
async def _running(server: Server, name: str, *, older: bool) -> AsyncGenerator[Target]:
    with server_folder(name) as folder:
        migrations = folder / "migrations"
        shutil.copytree(supabase_migrations(), migrations)
        if older:
            shutil.copy(OLDER, migrations / "20250101000000_older_project.sql")
        await server.postgres.create_database(name)
        local = LocalSupabase(
            server.dsn(name), port=None, state_dir=folder / "state", migrations_dir=migrations
        )
        await local.start()
        async with connected(server.dsn(name)) as superuser:
            await superuser.execute(ACT_AS_AUTH)
        target = Target(local, server.dsn(name), older=older)
        async with target.psql() as owner:  # as at the switch: an older backend wrote here before
            await owner.execute("""select public.evpower_guard('{"enable": true}')""")
        yield target
        await local.stop()


@pytest.fixture(scope="session")
async def fresh_project(server: Server) -> AsyncGenerator[Target]:
    """A Supabase project that began with EvPower."""
    async with _running(server, "supabase_fresh", older=False) as target:
        yield target


@pytest.fixture(scope="session")
async def older_project(server: Server) -> AsyncGenerator[Target]:
    """A Supabase project that lived before EvPower."""
    async with _running(server, "supabase_older", older=True) as target:
        yield target


@pytest.fixture(params=["fresh_project", "older_project"])
def target(request: pytest.FixtureRequest, fresh_project: Target, older_project: Target) -> Target:
    """Run the test against both shapes."""
    return {"fresh_project": fresh_project, "older_project": older_project}[request.param]


@pytest.fixture
async def http() -> AsyncGenerator[httpx.AsyncClient]:
    async with patient_http() as client:
        yield client


@pytest.fixture
async def there(target: Target) -> AsyncGenerator[Connection]:
    """A psql of the owner of the Supabase project, both shapes in turn; empty at the start."""
    async with target.psql() as connection:
        await target.empty(connection)
        yield connection


@pytest.fixture
async def there_fresh(fresh_project: Target) -> AsyncGenerator[Connection]:
    """A psql of the owner of the fresh project; empty at the start."""
    async with fresh_project.psql() as connection:
        await fresh_project.empty(connection)
        yield connection


@pytest.fixture
def settings() -> Settings:
    """A lease outlives any call, however busy the machine is: no other relay sends its keys too."""
    return Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        relay_poll_s=0.1,
        relay_lease_s=10 * WAIT_LIMIT_S,
    )


@pytest.fixture
def relay(
    db: Database,
    http: httpx.AsyncClient,
    target: Target,
    settings: Settings,
    there: Connection,  # noqa: ARG001 - empties the project first
) -> Relay:
    """A relay to the project of this test."""
    return Relay(db, rpc_to(http, target), settings, utc_now)


@pytest.fixture
def relay_fresh(
    db: Database,
    http: httpx.AsyncClient,
    fresh_project: Target,
    settings: Settings,
    there_fresh: Connection,  # noqa: ARG001 - empties the project first
) -> Relay:
    """A relay to the fresh project."""
    return Relay(db, rpc_to(http, fresh_project), settings, utc_now)


@pytest.fixture
def scenario(owner: Connection) -> Scenario:
    return Scenario(owner)


def rpc_to(
    http: httpx.AsyncClient, target: Target, url: str | None = None, secret_key: str = ""
) -> SupabaseRpc:
    """The client of the project's functions; `url` and `secret_key` may be others."""
    key = secret_key or target.local.secret_key
    return SupabaseRpc(http, url or target.local.url, key, timeout_s=WAIT_LIMIT_S)


@pytest.fixture
def operator(db: Database) -> Operator:
    return Operator(db)
