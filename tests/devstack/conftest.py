"""Real PostgreSQL and a real local Supabase; data where an unprivileged PostgreSQL can go."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from evpower.devstack.postgres.server import EmbeddedPostgres
from evpower.devstack.supabase.server import LocalSupabase

HERE = Path(__file__).parent


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make an empty folder that PostgreSQL may enter even when the tests run as root."""
    path = _make_folder()
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[EmbeddedPostgres]:
    """Run one cluster for the tests that don't break it."""
    path = _make_folder()
    cluster = EmbeddedPostgres(path / "pg", settings={"fsync": "off"})
    await cluster.start()
    yield cluster
    await cluster.stop()
    shutil.rmtree(path)


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


def _make_folder() -> Path:
    path = Path(tempfile.mkdtemp(prefix="evpower-test-"))
    path.chmod(0o755)
    return path
