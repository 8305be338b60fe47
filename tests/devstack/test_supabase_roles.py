"""The local Supabase has the roles, limits and forms of answer of a hosted project."""

from collections.abc import AsyncIterator
from datetime import datetime

import asyncpg
import httpx
import pytest

from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection
from tests.waiting import WAIT_LIMIT_S, until

SETTINGS = """
create or replace function public.settings_here() returns jsonb language sql stable as $$
  select jsonb_build_object('role', current_user, 'statement', current_setting('statement_timeout'),
                            'lock', current_setting('lock_timeout')) $$;
create or replace view public.many as
  select n, (n || '.50')::numeric as som, 9007199254740993 as large, now() as at
    from generate_series(1, 1500) n;
notify pgrst, 'reload schema';
"""


@pytest.fixture
async def owner(supabase: LocalSupabase) -> AsyncIterator[Connection]:
    connection: Connection = await asyncpg.connect(supabase.owner_dsn)
    await connection.execute(SETTINGS)
    yield connection
    await connection.close()


@pytest.fixture
async def rest(
    supabase: LocalSupabase,
    owner: Connection,  # noqa: ARG001 - makes what is asked for
) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=f"{supabase.url}/rest/v1",
        headers={"apikey": supabase.secret_key},
        timeout=WAIT_LIMIT_S,
    ) as client:

        async def is_known() -> bool:
            return (await client.post("/rpc/settings_here", json={})).is_success

        await until(is_known)
        yield client


async def test_the_projects_owner_is_no_superuser_and_owns_nothing_of_auth(
    owner: Connection,
) -> None:
    assert await owner.fetchval("show is_superuser") == "off"
    owners = await owner.fetchval(
        "select array_agg(distinct tableowner::text) from pg_tables where schemaname = 'auth'"
    )
    assert owners == ["supabase_auth_admin"]
    for refused in (
        "alter table auth.users disable trigger all",
        "create table auth.mine (id int)",
        "set role supabase_auth_admin",
        "create role other superuser",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await owner.execute(refused)


async def test_everything_of_the_migrations_is_the_owners(owner: Connection) -> None:
    rows = await owner.fetch(
        "select pg_get_userbyid(relowner) as owner from pg_class"
        " where relnamespace = 'public'::regnamespace"
        " union select pg_get_userbyid(proowner) from pg_proc"
        " where pronamespace = 'public'::regnamespace"
    )
    assert [row["owner"] for row in rows] == ["supabase_owner"]


async def test_time_outs_are_hosteds(supabase: LocalSupabase, rest: httpx.AsyncClient) -> None:
    async def of(**headers: str) -> dict[str, str]:
        return (await rest.post("/rpc/settings_here", json={}, headers=headers)).json()

    assert await of() == {"role": "service_role", "statement": "8s", "lock": "8s"}
    anon = await of(apikey=supabase.publishable_key)
    assert anon == {"role": "anon", "statement": "3s", "lock": "8s"}
    signed_up = await rest.post(
        f"{supabase.url}/auth/v1/signup",
        json={"email": "roles@example.kg", "password": "secret12"},
        headers={"apikey": supabase.publishable_key},
    )
    driver = await of(
        apikey=supabase.publishable_key,
        Authorization=f"Bearer {signed_up.json()['access_token']}",
    )
    assert driver == {"role": "authenticated", "statement": "8s", "lock": "8s"}


async def test_an_answer_has_a_thousand_rows_at_most(rest: httpx.AsyncClient) -> None:
    assert len((await rest.get("/many?select=n")).json()) == 1000
    assert len((await rest.get("/many?select=n&limit=1200")).json()) == 1000
    assert len((await rest.get("/many?select=n&limit=7")).json()) == 7


async def test_numbers_are_json_numbers_and_times_are_iso_8601(rest: httpx.AsyncClient) -> None:
    answer = await rest.get("/many?limit=1&order=n")
    (row,) = answer.json()
    assert (row["n"], row["som"], row["large"]) == (1, 1.5, 9007199254740993)
    assert datetime.fromisoformat(row["at"]).tzinfo is not None
    assert row["at"][10] == "T"
