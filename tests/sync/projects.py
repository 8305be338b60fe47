"""Supabase projects with PostgreSQL alone behind them, made as a hosted one is."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from evpower.devstack.stack import supabase_migrations
from evpower.devstack.supabase.migrations import FILE
from evpower.devstack.supabase.server import SERVER_DIR, as_owner
from evpower.foundation.db import Connection
from tests.conftest import Server

# Of Auth only what the migration reads.
AUTH_UID = """
create function auth.uid() returns uuid language sql stable as
  $$ select nullif(current_setting('request.jwt.claim.sub', true), '')::uuid $$;
"""
AUTH = f"""
create table auth.users (
  id uuid primary key, email varchar(255), phone text unique, email_confirmed_at timestamptz,
  phone_confirmed_at timestamptz, raw_user_meta_data jsonb, raw_app_meta_data jsonb,
  deleted_at timestamptz, banned_until timestamptz, last_sign_in_at timestamptz);
{AUTH_UID}
"""
# So that a test may `set role`: as the owner itself it has none of Auth's rights.
ACT_AS_AUTH = "grant supabase_auth_admin to supabase_owner with inherit false, set true"


async def bare_project(
    server: Server, name: str, *, auth: str = AUTH, more: Sequence[str] = ()
) -> str:
    """Make roles, Auth's tables and what `more` adds as the superuser; returns the owner's dsn."""
    await server.postgres.create_database(name)
    async with connected(server.dsn(name)) as superuser, superuser.transaction():
        await superuser.execute(
            "select set_config('bootstrap.password', $1, true)", server.postgres.password
        )
        for text in (file("bootstrap.sql"), auth, file("auth.sql"), ACT_AS_AUTH, *more):
            await superuser.execute(text)
    return as_owner(server.dsn(name))


@asynccontextmanager
async def connected(dsn: str) -> AsyncGenerator[Connection]:
    """A connection that is closed at the end."""
    connection: Connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


def migration() -> str:
    """What an installer applies: the generated file, not its sources."""
    return (supabase_migrations() / FILE).read_text()


def file(name: str) -> str:
    """A file of the local Supabase."""
    return (SERVER_DIR / name).read_text()
