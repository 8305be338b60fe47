"""PostgreSQL: one pool, one transaction per request, opened and committed at the edge."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from evpower.foundation.errors import Unavailable

if TYPE_CHECKING:
    Record: TypeAlias = asyncpg.Record
    Connection: TypeAlias = asyncpg.Connection[Record] | PoolConnectionProxy[Record]
    _Pool: TypeAlias = asyncpg.Pool[Record]
else:
    Record = asyncpg.Record
    Connection = asyncpg.Connection
    _Pool = asyncpg.Pool

APP_ROLE: Final = "evpower_app"
# What a lost or refused connection looks like; every one of them means: nothing was committed that we know of.
LOST: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncio.TimeoutError,
)
# Locks not had in time: safe to try again.
BUSY: Final = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
)


class Database:
    """A pool of connections that act as `evpower_app`."""

    def __init__(self, pool: _Pool) -> None:
        self.pool = pool

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        size: int = 16,
        role: str | None = APP_ROLE,
        application_name: str = "evpower",
        lock_timeout_ms: int = 3_000,
        statement_timeout_ms: int = 15_000,
    ) -> "Database":
        """Connect. Raises Unavailable("database_unavailable") when nobody answers."""

        async def ready(connection: Connection) -> None:
            await connection.set_type_codec(
                "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
            )
            if role is not None:
                await connection.execute(f"set role {role}")

        async def keep(_: Connection) -> None:
            """Nothing to reset: no session state is ever changed, and RESET ALL costs a round trip."""

        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=min(2, size),
                max_size=size,
                timeout=5,
                command_timeout=30,
                init=ready,
                reset=keep,
                server_settings={
                    "application_name": application_name,
                    "timezone": "UTC",
                    "lock_timeout": str(lock_timeout_ms),
                    "statement_timeout": str(statement_timeout_ms),
                    "idle_in_transaction_session_timeout": "30000",
                    "jit": "off",
                },
            )
        except LOST as error:
            raise Unavailable("database_unavailable", f"PostgreSQL does not answer: {error}") from error
        return cls(pool)

    async def close(self) -> None:
        """Close every connection, waiting for the running ones a little."""
        try:
            await asyncio.wait_for(self.pool.close(), 5)
        except TimeoutError:
            self.pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection, each statement its own transaction. Raises Unavailable when there is none."""
        try:
            async with self.pool.acquire(timeout=5) as connection:
                yield connection
        except LOST as error:
            raise Unavailable("database_unavailable", "the database does not answer", retry_after_s=2) from error
        except BUSY as error:
            raise Unavailable("database_busy", "the database is busy", retry_after_s=1) from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        async with self.connection() as connection, connection.transaction():
            yield connection
