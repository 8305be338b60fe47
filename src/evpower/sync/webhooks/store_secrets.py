"""All SQL of the secret Supabase signs with, as far as this side keeps it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from evpower.foundation.db import Connection, Database, Record

_ROTATING: Final = 6_874_231_905  # any number that is nobody else's
_PATIENCE_S: Final = 90  # longer than a rotation takes, calls to Supabase that end in vain included


@asynccontextmanager
async def alone(db: Database) -> AsyncGenerator[None]:
    """One rotation at a time, the others wait. Raises Unavailable after a minute and a half.

    The lock is the session's, no transaction is open meanwhile; it goes with the process.
    """
    async with db.connection() as connection:
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = '{_PATIENCE_S}s'")
            await connection.execute(f"set local statement_timeout = '{_PATIENCE_S}s'")
            await connection.execute(
                f"select pg_advisory_lock({_ROTATING})", timeout=_PATIENCE_S + 5
            )
        try:
            yield
        finally:
            await connection.execute(f"select pg_advisory_unlock({_ROTATING})")


async def add(connection: Connection, secret: str) -> int:
    """Accept what is signed with it from now on; answers its number."""
    number: int = await connection.fetchval(
        "insert into sync.webhook_secrets (secret) values ($1) returning id", secret
    )
    return number


async def remove(connection: Connection, number: int) -> None:
    """Forget one that Supabase never got."""
    await connection.execute("delete from sync.webhook_secrets where id = $1", number)


async def retire_before(connection: Connection, number: int, grace: timedelta) -> int:
    """Let every older one end after `grace`, or sooner where it was to; forgets the ended."""
    await connection.execute("delete from sync.webhook_secrets where not_after < now()")
    rows: list[Record] = await connection.fetch(
        "update sync.webhook_secrets set not_after = least(not_after, now() + $2)"
        " where id < $1 returning id",
        number,
        grace,
    )
    return len(rows)
