"""All SQL of the secrets Supabase signs with, as this side stores them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from evpower.foundation.db import Connection, Database, Record
from evpower.foundation.errors import Unavailable

_ROTATION_LOCK: Final = 6_874_231_905  # any number no other advisory lock uses
# Together longer than a rotation takes, with calls to Supabase that time out.
_RETRY_S: Final = 0.5
_TRIES: Final = 180


@asynccontextmanager
async def rotation_lock(
    db: Database, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> AsyncGenerator[None]:
    """Lets one rotation run, others wait. Raises Unavailable after a minute and a half.

    An advisory lock of a transaction that does nothing else: it holds no row lock and no snapshot,
    a pooler keeps its connection, and the lock ends with the process. Between attempts no
    connection is used.
    """
    for _ in range(_TRIES):
        async with db.transaction() as connection:
            await connection.execute("set local idle_in_transaction_session_timeout = 0")
            if await connection.fetchval("select pg_try_advisory_xact_lock($1)", _ROTATION_LOCK):
                yield
                return
        await pause(_RETRY_S)
    raise Unavailable("database_busy", "another rotation does not end", retry_after_s=60)


async def add(connection: Connection, secret: str) -> int:
    """Stores a secret, which is valid from now on. Returns its id."""
    secret_id: int = await connection.fetchval(
        "insert into sync.webhook_secrets (secret) values ($1) returning id", secret
    )
    return secret_id


async def remove(connection: Connection, secret_id: int) -> None:
    """Deletes a secret that Supabase never received."""
    await connection.execute("delete from sync.webhook_secrets where id = $1", secret_id)


async def retire_before(connection: Connection, secret_id: int, grace: timedelta) -> int:
    """Ends older secrets after `grace` at the latest, deletes ended ones. Returns how many end."""
    await connection.execute("delete from sync.webhook_secrets where not_after < now()")
    rows: list[Record] = await connection.fetch(
        """
        update sync.webhook_secrets set not_after = least(not_after, now() + $2)
        where id < $1 returning id
        """,
        secret_id,
        grace,
    )
    return len(rows)
