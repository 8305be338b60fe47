"""`evpower doctor` names what is missing of supabase/source, and the command that brings it."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from evpower.cli.doctor_supabase import examine_functions
from evpower.cli.finding import Finding
from evpower.config import Settings
from evpower.devstack.supabase.migrations import generate
from evpower.foundation.db import Connection
from tests.sync.scenario import Target
from tests.waiting import until

EARLIER = Path(__file__).parent / "earlier_project"
MIGRATION = "-f supabase/migrations/20261129000000_evpower.sql"
Look = Callable[[], Awaitable[dict[str, Finding]]]


@pytest.fixture
def look(http: httpx.AsyncClient, target: Target) -> Look:
    """What doctor finds of the functions and triggers of the project."""
    local = target.local
    settings = Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        supabase_url=local.url,
        supabase_secret_key=SecretStr(local.secret_key),
        supabase_publishable_key=local.publishable_key,
    )

    async def looked() -> dict[str, Finding]:
        return {one.name: one for one in await examine_functions(settings, http)}

    return looked


@asynccontextmanager
async def without(function: str, there: Connection, look: Look) -> AsyncGenerator[None]:
    """As if it had never been applied."""
    await there.execute(f"alter function public.{function}(jsonb) rename to evpower_gone")
    try:
        yield
    finally:
        await there.execute(f"alter function public.evpower_gone(jsonb) rename to {function}")
        # PostgREST may have read the schema meanwhile, and would lack it in every later test.
        await there.execute("notify pgrst, 'reload schema'")
        await until(lambda: _all_is_there(look))


async def _all_is_there(look: Look) -> bool:
    return all(one.ok for one in (await look()).values())


async def test_nothing_is_missing_where_all_files_were_applied(look: Look) -> None:
    found = await look()
    assert [one for one in found.values() if not one.ok] == []
    assert found["Supabase migrations"].detail == "all there"


async def test_a_function_that_is_missing_is_named_with_its_file(
    look: Look, there: Connection
) -> None:
    async with without("evpower_people", there, look):
        found = (await look())["Supabase function evpower_people"]
        assert not found.ok
        assert "0006_reading.sql" in found.detail
        assert MIGRATION in found.fix


async def test_an_older_edition_is_told_from_the_newest(look: Look, there: Connection) -> None:
    """It answers, and every comparison fails."""
    await there.execute((EARLIER / "20261122100300_evpower_digest.sql").read_text())
    try:
        found = await look()
        assert found["Supabase function evpower_digest"].ok
        migrations = found["Supabase migrations"]
        assert not migrations.ok
        assert migrations.detail == "0009_digest.sql: the newest edition of public.evpower_digest"
        assert MIGRATION in migrations.fix
    finally:
        await there.execute(generate())
    assert (await look())["Supabase migrations"].ok


@pytest.mark.parametrize(
    ("table", "trigger", "file"),
    [
        ("public.clients", "evpower_note_client", "0004_changes.sql"),
        ("auth.users", "evpower_note_user", "0005_users.sql"),
    ],
)
async def test_a_trigger_that_is_switched_off_is_found(
    look: Look, target: Target, table: str, trigger: str, file: str
) -> None:
    """Nothing else would say that sign-ups are not noted any more."""
    async with target.superuser() as there:
        await there.execute(f"alter table {table} disable trigger {trigger}")
        try:
            migrations = (await look())["Supabase migrations"]
            assert migrations.detail == f"{file}: trigger {trigger} on {table}"
            assert "enable trigger" in migrations.fix
        finally:
            await there.execute(f"alter table {table} enable trigger {trigger}")


async def test_a_project_from_before_this_look_is_told_to_update(
    look: Look, there: Connection
) -> None:
    async with without("evpower_installed", there, look):
        migrations = (await look())["Supabase migrations"]
        assert (migrations.ok, "0011_installed.sql" in migrations.detail) == (
            False,
            True,
        )
