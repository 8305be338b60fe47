"""What /readyz says of Supabase: its Auth and, behind PostgREST, its database."""

from collections.abc import AsyncGenerator

import asyncpg
import pytest
from pydantic import SecretStr

from evpower.config import Settings
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection
from evpower.foundation.http import HttpClient, HttpError
from evpower.sync.module import supabase_answers
from tests.conftest import Server
from tests.sync.scenario import Target
from tests.waiting import PatientHttp, until


@pytest.fixture
async def administrator(server: Server) -> AsyncGenerator[Connection]:
    connection: Connection = await asyncpg.connect(server.dsn("postgres"))
    yield connection
    await connection.close()


def settings_of(project: LocalSupabase, secret_key: str = "") -> Settings:
    return Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        supabase_url=f"{project.url}/",
        supabase_secret_key=SecretStr(secret_key or project.secret_key),
    )


async def answers(settings: Settings, http: HttpClient) -> bool:
    try:
        return await supabase_answers(settings, http)
    except HttpError:
        return False


async def test_supabase_answers_while_its_database_does(
    fresh_project: Target, http: PatientHttp, administrator: Connection
) -> None:
    settings = settings_of(fresh_project.local)
    database = fresh_project.dsn.rsplit("/", 1)[1].partition("?")[0]
    assert await answers(settings, http)
    try:
        await administrator.execute(f"alter database {database} with allow_connections false")
        await administrator.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", database
        )
        keys = f"{fresh_project.local.url}/auth/v1/.well-known/jwks.json"
        assert (await http.get(keys)).is_success, "Auth answers its keys from memory"
        assert not await answers(settings, http)
    finally:
        await administrator.execute(f"alter database {database} with allow_connections true")
    await until(lambda: answers(settings, http))


async def test_a_key_supabase_refuses_is_no_answer(
    fresh_project: Target, http: PatientHttp
) -> None:
    assert not await answers(settings_of(fresh_project.local, "sb_secret_wrong"), http)
