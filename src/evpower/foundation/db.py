"""PostgreSQL: one pool, one transaction per request, opened and committed at the edge."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from evpower.foundation.errors import Unavailable

if TYPE_CHECKING:
    Record: TypeAlias = asyncpg.Record
    Connection: TypeAlias = asyncpg.Connection[Record] | PoolConnectionProxy[Record]
    _Pool: TypeAlias = asyncpg.Pool[Record]
    _Base: TypeAlias = asyncpg.Connection[Record]
else:
    Record = asyncpg.Record
    Connection = asyncpg.Connection
    _Pool = asyncpg.Pool
    _Base = asyncpg.Connection

_CLOSE_S: Final = 5.0
APP_ROLE: Final = "evpower_app"
# What a lost or refused connection looks like: nothing was committed that we know of.
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


class _BoundedConnection(_Base):
    """A connection on which every wait ends; asyncpg closes old statements without a time-out."""

    async def _cleanup_stmts(self) -> None:
        async with asyncio.timeout(self._config.command_timeout):
            await super()._cleanup_stmts()  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]


@asynccontextmanager
async def connect(
    dsn: str,
    *,
    timeout_s: float,
    command_timeout_s: float,
    server_settings: Mapping[str, str] | None = None,
) -> AsyncGenerator[Connection]:
    """Yields a connection outside of any pool, closed within `_CLOSE_S` afterwards.

    `timeout_s` is the total time to connect, `command_timeout_s` that of one statement.
    """
    connection: asyncpg.Connection[Record] = await asyncpg.connect(
        dsn,
        timeout=timeout_s,
        command_timeout=command_timeout_s,
        connection_class=_BoundedConnection,
        server_settings=dict(server_settings or {}),
    )
    try:
        yield connection
    finally:
        with suppress(*LOST):
            await connection.close(timeout=_CLOSE_S)


class Database:
    """A pool of connections that act as `evpower_app`; connects when first needed."""

    def __init__(
        self,
        dsn: str,
        *,
        size: int = 16,
        role: str | None = APP_ROLE,
        application_name: str = "evpower",
        lock_timeout_ms: int = 3_000,
        statement_timeout_ms: int = 15_000,
        patience_s: float = 5.0,
        command_timeout_s: float = 30.0,
    ) -> None:
        """`patience_s`: how long a caller waits for a connection, and a new one to be made.

        `command_timeout_s` ends a statement whose PostgreSQL says nothing at all.
        """
        self._command_timeout_s = command_timeout_s
        self.size = size
        self._patience_s = patience_s
        self._dsn = dsn
        self._role = role
        self._server_settings = {
            "application_name": application_name,
            "timezone": "UTC",
            "lock_timeout": str(lock_timeout_ms),
            "statement_timeout": str(statement_timeout_ms),
            "idle_in_transaction_session_timeout": "30000",
            "jit": "off",
            # Plans live as long as a connection: one made while a table was empty would
            # read all of it from then on, in foreign key checks too. All statements have indexes.
            "enable_seqscan": "off",
        }
        self._pool: _Pool | None = None

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        size: int = 16,
        role: str | None = APP_ROLE,
        application_name: str = "evpower",
    ) -> "Database":
        """Connect now. Raises Unavailable("database_unavailable") when nobody answers."""
        database = cls(dsn, size=size, role=role, application_name=application_name)
        await database.start()
        async with database.connection():
            return database

    @property
    def pool(self) -> _Pool:
        """The pool; Unavailable before `start`."""
        if self._pool is None:
            raise Unavailable(
                "database_unavailable", "the database is not connected", retry_after_s=2
            )
        return self._pool

    async def start(self) -> None:
        """Make the pool; a PostgreSQL that is down now is found when somebody asks."""
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=self.size,
            timeout=self._patience_s,
            command_timeout=self._command_timeout_s,
            connection_class=_BoundedConnection,
            init=self._ready,
            reset=_keep,
            server_settings=self._server_settings,
        )

    async def _ready(self, connection: Connection) -> None:
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
        )
        if self._role is not None:
            try:
                await connection.execute(f"set role {self._role}")
            except (
                asyncpg.InvalidParameterValueError,
                asyncpg.InsufficientPrivilegeError,
            ) as error:
                raise Unavailable(
                    "database_not_migrated",
                    f"the login role may not act as {self._role}: run `evpower migrate`, "
                    "or `evpower doctor` for the fix",
                ) from error

    async def close(self) -> None:
        """Close every connection, waiting for the running ones a little."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), _CLOSE_S)
        except TimeoutError:
            pool.terminate()

    def connection(self) -> "Borrowed":
        """One connection, each statement its own transaction; Unavailable when there is none."""
        return Borrowed(self.pool, self._patience_s)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        async with self.connection() as connection, connection.transaction():
            yield connection


class Borrowed(AbstractAsyncContextManager[Connection]):
    """A connection of the pool for one block; what PostgreSQL's absence raises is Unavailable."""

    __slots__ = ("_connection", "_patience_s", "_pool")

    def __init__(self, pool: _Pool, patience_s: float) -> None:
        self._pool = pool
        self._patience_s = patience_s
        self._connection: PoolConnectionProxy[Record] | None = None

    async def __aenter__(self) -> Connection:
        try:
            async with asyncio.timeout(self._patience_s):  # acquire's own timeout costs a task
                self._connection = await self._pool.acquire()
        except LOST as error:
            raise _unavailable() from error
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None  # noqa: S101 - only entered blocks are left
        try:
            await self._pool.release(connection, timeout=self._patience_s)
        except LOST as lost:
            if error is None or isinstance(error, Exception):  # else a cancellation: it goes on
                raise _unavailable() from lost
        if isinstance(error, LOST):
            raise _unavailable() from error
        if isinstance(error, BUSY):
            raise Unavailable("database_busy", "the database is busy", retry_after_s=1) from error


def _unavailable() -> Unavailable:
    return Unavailable("database_unavailable", "the database does not answer", retry_after_s=2)


async def _keep(_: Connection) -> None:
    """Nothing to reset: no session state is ever changed, and RESET ALL costs a round trip."""
