"""However a Supabase project came to it: what is installed is the same, and stays so."""

from collections.abc import Sequence
from pathlib import Path

import asyncpg
import pytest

from evpower.devstack.supabase.migrations import generate
from tests.conftest import Server
from tests.sync.catalog import catalog
from tests.sync.changes_log import rpc
from tests.sync.projects import bare_project, connected

HERE = Path(__file__).parent
# The ten files as they were before they became one: applied in projects that tried EvPower.
EARLIER = tuple(path.read_text() for path in sorted((HERE / "earlier_project").glob("*.sql")))
SHAPES = {"empty": (), "older": ((HERE / "older_project.sql").read_text(),)}


async def project(server: Server, name: str, texts: Sequence[str]) -> list[str]:
    """The catalog of a new project after these, each in a transaction of its own."""
    async with connected(await bare_project(server, name)) as there:
        for text in texts:
            async with there.transaction():
                await there.execute(text)
        return await catalog(there)


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


@pytest.mark.parametrize("table", ["clients", "transactions", "charging_sessions"])
async def test_a_table_of_another_role_is_named_before_anything_is_changed(
    server: Server, table: str
) -> None:
    name = f"upgrade_owned_{table}"
    dsn = await bare_project(server, name, more=[f"create table public.{table} (id text)"])
    async with connected(dsn) as there:
        before = await catalog(there)
        with pytest.raises(asyncpg.InsufficientPrivilegeError) as refused:
            await there.execute(generate())
        assert f"public.{table} belongs to postgres, so supabase_owner" in str(refused.value)
        assert f"alter table public.{table} owner to supabase_owner" in str(refused.value.hint)
        assert await catalog(there) == before


async def test_a_table_that_became_another_roles_is_found(server: Server) -> None:
    dsn = await bare_project(server, "upgrade_owned_later")
    async with connected(dsn) as there, connected(server.dsn("upgrade_owned_later")) as superuser:
        await there.execute(generate())
        assert await rpc(there, "evpower_installed") == {"lacking": []}
        await superuser.execute("alter table public.clients owner to postgres")
        found = await rpc(there, "evpower_installed")
        what = "public.clients, which belongs to postgres and not to supabase_owner"
        assert found == {"lacking": [["0001_tables.sql", what]]}


def test_the_earlier_files_are_ten() -> None:
    """An empty folder would prove nothing."""
    assert len(EARLIER) == 10
