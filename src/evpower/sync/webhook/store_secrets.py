"""All SQL of the secret Supabase signs with, as far as this side keeps it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from evpower.foundation.db import Connection, Database, Record
from evpower.foundation.errors import Unavailable

_ROTATING: Final = 6_874_231_905  # any number that is nobody else's
# Longer than a rotation takes, calls to Supabase that end in vain included.
_TRY_AGAIN_S: Final = 0.5
_TRIES: Final = 180


@asynccontextmanager
async def alone(
    db: Database, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> AsyncGenerator[None]:
    """One rotation at a time, the others wait. Raises Unavailable after a minute and a half.

    The lock is a transaction's, which does nothing else: it holds no row and no snapshot, a pooler
    keeps its connection, and the lock goes with the process. Between tries no connection is held.
    """
    for _ in range(_TRIES):
        async with db.transaction() as connection:
            await connection.execute("set local idle_in_transaction_session_timeout = 0")
            if await connection.fetchval("select pg_try_advisory_xact_lock($1)", _ROTATING):
                yield
                return
        await pause(_TRY_AGAIN_S)
    raise Unavailable("database_busy", "another rotation does not end", retry_after_s=60)


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
        """
        update sync.webhook_secrets set not_after = least(not_after, now() + $2)
        where id < $1 returning id
        """,
        number,
        grace,
    )
    return len(rows)
