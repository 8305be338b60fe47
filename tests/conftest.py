"""Real PostgreSQL for every test: one server a worker, one freshly cloned database a test."""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog
from hypothesis import HealthCheck, settings

from evpower.devstack.postgres.server import EmbeddedPostgres
from evpower.foundation.db import LOGIN_DEFAULTS, Connection, Database
from evpower.foundation.migrations import migrate, set_login_defaults
from tests.folders import server_folder
from tests.quick_apps import (
    share_authorities,
    share_clusters,
    share_parameters,
    share_signatures,
    share_types,
    share_validators,
)
from tests.quick_starts import QuickStarts
from tests.waiting import WAIT_LIMIT_S, until

# A shell that speaks to a running stack has its settings; no test may meet that stack.
for _name in [variable for variable in os.environ if variable.startswith("EVPOWER_")]:
    if not _name.startswith(("EVPOWER_TEST_", "EVPOWER_TARIFF_VECTORS")):
        del os.environ[_name]

# Without bytecode on disk every process a test starts compiles all it imports, and pytest rewrites
# every test anew: 1.5 s of a core each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
share_validators()
share_signatures()
share_parameters()
share_authorities()
share_clusters()
# As the servers do: rich takes up to 0.5 s to write one traceback with the values of its variables.
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback
# No PostgreSQL of the tests has TLS: every connection would ask for it first.
os.environ.setdefault("PGSSLMODE", "disable")

TEMPLATE = "template_evpower"
CLONE = "t_"  # begins the names of its clones, and no other database's
PATIENT_DEFAULTS = {
    **LOGIN_DEFAULTS,
    **dict.fromkeys(("lock_timeout", "statement_timeout"), f"{WAIT_LIMIT_S:.0f}s"),
}
SERVER_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_preload_libraries": "plpgsql",  # each connection would load it, 1 ms
    "scram_iterations": "1",  # both sides of each connection would hash the password 4096 times
}

# How long properties are searched: HYPOTHESIS_PROFILE=thorough for a night, HYPOTHESIS_EXAMPLES=300
# beside it for an hour. Here, before any test is read: what is decorated earlier would keep
# Hypothesis's own deadline of 200 ms. The quick one repeats, so that no change is refused for what
# was there before; the thorough one draws anew. Slow searches take a share of the examples and of
# the steps, so that each is as much longer.
_SEARCH: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
}
settings.register_profile(
    "quick", max_examples=120, stateful_step_count=40, derandomize=True, **_SEARCH
)
settings.register_profile(
    "thorough",
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "3000")),
    stateful_step_count=80,
    **_SEARCH,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


_quick_starts = QuickStarts()
collect_ignore = [] if _quick_starts.active else ["test_fork_server.py"]


def pytest_configure() -> None:
    """Start processes of ours without their imports; `true_starts` is for what is about those."""
    _quick_starts.install()


def pytest_unconfigure() -> None:
    """End what the tests started so."""
    _quick_starts.close()


@pytest.fixture
def forks() -> bool:
    """Start every process of a test's module by a fork; answers whether this machine can."""
    _quick_starts.wait("tests.")
    return _quick_starts.active


@pytest.fixture
def true_starts() -> Iterator[None]:
    """Start every process as an operator does."""
    with _quick_starts.off():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among a million objects of tests, and less often among what they make."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 10, 10)  # as EvPower's own processes; Python's own is 700
        gc.enable()


def patient_database(dsn: str, **how: Any) -> Database:
    """The database of a process, but one that waits for a busy machine."""
    usual: dict[str, Any] = {"size": 10, "wait_limit_s": WAIT_LIMIT_S}
    return Database(dsn, **(usual | how))


def as_owner(dsn: str) -> str:
    """The address with which the login acts as itself, not as its processes do."""
    return f"{dsn}?role=none"


@dataclass(frozen=True)
class Server:
    """The PostgreSQL of this worker, with a migrated template to clone from."""

    postgres: EmbeddedPostgres
    administrator: Connection
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    def dsn(self, database: str) -> str:
        """As the cluster's superuser: for Supabase's databases, and to make and drop databases."""
        return self.postgres.dsn(database)

    def owner_dsn(self, database: str) -> str:
        """As the owner of EvPower's databases, who is no superuser."""
        return self.postgres.owner_dsn(database)

    async def new_database(self) -> str:
        """A migrated, empty database; answers its owner's dsn. About 30 ms.

        Copied as files: through the log (strategy wal_log) it takes twice as long.
        """
        name = f"{CLONE}{uuid4().hex[:12]}"
        await self.command(
            f"create database {name} template {TEMPLATE} strategy file_copy owner evpower"
        )
        await self.set_login_defaults(name)
        return self.owner_dsn(name)

    async def set_login_defaults(self, name: str, **changes: str) -> None:
        """As `evpower migrate` does, but with time-outs for a busy machine."""
        async with self._one_at_a_time:
            await set_login_defaults(
                self.administrator, PATIENT_DEFAULTS | changes, login="evpower", database=name
            )

    async def command(self, sql: str) -> None:
        """Create or drop a database; connections that were closed may need a while to be gone."""

        async def is_done() -> bool:
            try:
                await self.administrator.execute(sql)
            except asyncpg.ObjectInUseError:
                return False
            return True

        async with self._one_at_a_time:
            await until(is_done, sql)


async def _refuse_superusers(server: Server) -> None:
    """Roles as in production: what connects to EvPower's databases as a superuser fails.

    Damage past every guard is made by the owner, who may only here set session_replication_role.
    """
    rules = server.postgres.data_dir / "pg_hba.conf"
    rules.write_text(f"host {TEMPLATE},/^{CLONE} postgres all reject\n{rules.read_text()}")
    await server.command("select pg_reload_conf()")

    async def are_refused() -> bool:
        with suppress(asyncpg.InvalidAuthorizationSpecificationError):
            await (await asyncpg.connect(server.dsn(TEMPLATE))).close()
            return False
        return True

    await until(are_refused, "superusers may connect")


async def _newest_type(dsn: str) -> int:
    connection: Connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("select max(oid)::bigint from pg_type")
    finally:
        await connection.close()


@pytest.fixture(scope="session")
async def server() -> AsyncIterator[Server]:
    """Start it once a worker. Not durable: no test here crashes it (those start their own).

    Autovacuum would come by whenever it likes: its transactions hold up Supabase's change log, and
    what it finds out changes plans.
    """
    with server_folder(f"test-{os.getpid()}") as folder:
        postgres = EmbeddedPostgres(folder / "pg", settings=SERVER_SETTINGS)
        await postgres.start()
        administrator: Connection = await asyncpg.connect(postgres.dsn("postgres"))
        try:
            await administrator.execute(f"alter role postgres password '{postgres.password}'")
            await postgres.create_owned_database(TEMPLATE)
            server = Server(postgres, administrator)
            await server.command("grant set on parameter session_replication_role to evpower")
            await migrate(server.owner_dsn(TEMPLATE))
            newest = await _newest_type(server.owner_dsn(TEMPLATE))
            share_types(postgres.port, CLONE, newest)
            await _refuse_superusers(server)
            yield server
        finally:
            await administrator.close()
            await postgres.stop()


@pytest.fixture
async def dsn(server: Server) -> AsyncIterator[str]:
    """A database of this test's own, as its owner (psql's view)."""
    dsn = await server.new_database()
    yield dsn
    await server.command(f"drop database if exists {dsn.rsplit('/', 1)[1]} with (force)")


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[Database]:
    """The same database as the processes see it: role evpower_app."""
    database = patient_database(dsn)
    await database.start()
    yield database
    await database.close()


@pytest.fixture
async def owner(dsn: str) -> AsyncIterator[Connection]:
    """A connection of the owner: what a person in psql may do."""
    connection: Connection = await asyncpg.connect(as_owner(dsn))
    yield connection
    await connection.close()


@pytest.fixture
async def client_id(owner: Connection) -> UUID:
    """A client with an empty wallet."""
    client = uuid4()
    await owner.execute("insert into identity.clients (id, origin) values ($1, 'import')", client)
    return client
