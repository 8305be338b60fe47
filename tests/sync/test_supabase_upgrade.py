"""However a Supabase project came to it: what is installed is the same, and stays so."""

from collections.abc import Sequence
from pathlib import Path

import asyncpg
import pytest

from evpower.devstack.supabase import SERVER_DIR
from evpower.devstack.supabase_migrations import generate
from evpower.foundation.db import Connection
from tests.conftest import Server
from tests.sync.catalog import catalog
from tests.sync.test_doorbell_sql import AUTH

HERE = Path(__file__).parent
# The ten files as they were before they became one: applied in projects that tried EvPower.
EARLIER = tuple(path.read_text() for path in sorted((HERE / "earlier_project").glob("*.sql")))
SHAPES = {"empty": (), "older": ((HERE / "older_project.sql").read_text(),)}


async def project(server: Server, name: str, texts: Sequence[str]) -> list[str]:
    """The catalog of a new project after these, each in a transaction of its own."""
    await server.postgres.create_database(name)
    there: Connection = await asyncpg.connect(server.dsn(name))
    try:
        await there.execute((SERVER_DIR / "bootstrap.sql").read_text())
        await there.execute(AUTH)
        for text in texts:
            async with there.transaction():
                await there.execute(text)
        return await catalog(there)
    finally:
        await there.close()


@pytest.mark.parametrize("shape", ["empty", "older"])
async def test_every_way_to_this_edition_ends_in_the_same_catalog(
    server: Server, shape: str
) -> None:
    first, now = SHAPES[shape], generate()
    anew = await project(server, f"upgrade_{shape}_new", [*first, now])
    assert [line for line in anew if line.startswith("function evpower_apply")]
    ways = {
        "twice": [*first, now, now],
        "earlier": [*first, *EARLIER, now],
        "earlier_twice": [*first, *EARLIER, *EARLIER, now, now],
    }
    for way, texts in ways.items():
        assert await project(server, f"upgrade_{shape}_{way}", texts) == anew, way


def test_the_earlier_files_are_ten() -> None:
    """An empty folder would prove nothing."""
    assert len(EARLIER) == 10
