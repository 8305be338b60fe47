"""No function that EvPower installs in Supabase lends its owner's rights."""

from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import asyncpg
import pytest

from evpower.foundation.db import Connection
from tests.conftest import Server
from tests.sync.changes_log import make_row
from tests.sync.projects import AUTH_UID, bare_project, connected, migration

PATH = "search_path=pg_catalog, pg_temp"
# Types of the trigger functions, with a check that runs as whoever uses the type.
TYPES = ("jsonb", "text", "bigint", "int", "timestamptz", "uuid", "xid8", "oid", "boolean")
ATTACK = """
create function pg_temp.take() returns boolean language plpgsql as $$
begin
  if current_user = 'supabase_owner' then
    grant all on evpower.secrets to namer;
    grant usage on schema evpower to namer;
  end if;
  return true;
end
$$;
"""


@pytest.fixture(scope="module")
async def project(server: Server) -> str:
    """A project with a role that may change names and nothing else. Returns the owner's dsn."""
    dsn = await bare_project(server, "supabase_namer")
    async with connected(dsn) as owner:
        await owner.execute(migration())
        await make_row(owner, "0b5a1d7e-0000-4000-8000-000000000009", name="Aida")
    async with connected(server.dsn("supabase_namer")) as superuser:
        await superuser.execute(f"create role namer login bypassrls password '{_password(dsn)}'")
        await superuser.execute(
            "grant usage on schema public to namer;"
            "grant select (id), update (name) on public.clients to namer"
        )
    return dsn


@pytest.fixture
async def namer(project: str) -> AsyncGenerator[Connection]:
    async with connected(project.replace("supabase_owner:", "namer:", 1)) as connection:
        yield connection


@pytest.fixture
async def owner(project: str) -> AsyncGenerator[Connection]:
    async with connected(project) as connection:
        yield connection


def _password(dsn: str) -> str:
    return urlsplit(dsn).password or ""


async def test_every_function_looks_for_types_in_pg_catalog_first(owner: Connection) -> None:
    rows = await owner.fetch(
        "select p.oid::regprocedure::text as name, p.proconfig from pg_proc p"
        " join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname = 'evpower' or n.nspname = 'public' and p.proname like 'evpower%'"
    )
    assert len(rows) > 30
    assert [row["name"] for row in rows if PATH not in (row["proconfig"] or ())] == []


async def test_where_there_is_no_auth_too(server: Server) -> None:
    async with connected(await bare_project(server, "supabase_no_auth", auth=AUTH_UID)) as there:
        await there.execute(migration())
        await test_every_function_looks_for_types_in_pg_catalog_first(there)


async def attack(namer: Connection) -> None:
    """Put types of the own before PostgreSQL's, then do what is allowed."""
    await namer.execute(ATTACK)
    for name in TYPES:
        await namer.execute(
            f"create domain pg_temp.{name} as pg_catalog.{_real(name)} check (pg_temp.take())"
        )
    await namer.execute("update public.clients set name = 'Other'")


def _real(name: str) -> str:
    return {"int": "int4", "bigint": "int8", "boolean": "bool"}.get(name, name)


async def test_who_may_change_names_gets_no_right_of_the_owner(
    namer: Connection, owner: Connection
) -> None:
    await attack(namer)
    assert not await owner.fetchval(
        "select has_table_privilege('namer', 'evpower.secrets', 'select')"
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await namer.fetch("select * from evpower.secrets")


async def test_the_attack_is_one_where_types_are_looked_for_in_pg_temp_first(
    namer: Connection, owner: Connection
) -> None:
    """Or the test above would prove nothing."""
    transaction = owner.transaction()
    await owner.execute("alter function evpower.note_client() set search_path = ''")
    try:
        await attack(namer)
        await transaction.start()
        assert await owner.fetchval(
            "select has_table_privilege('namer', 'evpower.secrets', 'select')"
        )
        await transaction.rollback()
    finally:
        await owner.execute(f"alter function evpower.note_client() set {PATH}")
        await owner.execute("revoke all on evpower.secrets from namer")
        await owner.execute("revoke usage on schema evpower from namer")
