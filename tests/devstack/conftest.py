"""Real PostgreSQL and a real local Supabase; data where an unprivileged PostgreSQL can go."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from evpower.devstack.postgres.server import EmbeddedPostgres
from evpower.devstack.supabase.server import LocalSupabase
from tests.folders import server_folder

HERE = Path(__file__).parent


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make an empty folder that PostgreSQL may enter even when the tests run as root."""
    with server_folder("devstack", durable=True) as path:
        yield path


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[EmbeddedPostgres]:
    """Run one cluster for the tests that don't break it."""
    with server_folder("devstack") as path:
        cluster = EmbeddedPostgres(path / "pg", settings={"fsync": "off"})
        await cluster.start()
        yield cluster
        await cluster.stop()


@pytest.fixture(scope="session")
async def supabase(postgres: EmbeddedPostgres) -> AsyncIterator[LocalSupabase]:
    """Run a local Supabase with the schema of tests/devstack/migrations."""
    await postgres.create_database("supabase")
    local = LocalSupabase(
        postgres.dsn("supabase"),
        port=None,
        state_dir=postgres.data_dir.parent / "supabase",
        migrations_dir=HERE / "migrations",
    )
    await local.start()
    yield local
    await local.stop()
