"""PostgreSQL: one pool, one transaction per request, opened and committed at the edge."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import asyncpg
import asyncpg.transaction
import structlog
from asyncpg.pool import PoolConnectionProxy

from evpower.foundation.errors import Unavailable
from evpower.foundation.json_reader import read_stored_json

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
# Defaults of the login in EvPower's database.
LOGIN_DEFAULTS: Final[Mapping[str, str]] = {
    "role": APP_ROLE,
    "application_name": "evpower",
    "timezone": "UTC",
    "lock_timeout": "3s",
    "statement_timeout": "15s",
    "idle_in_transaction_session_timeout": "30s",
    "jit": "off",
    # Plans live as long as a connection: one made while a table was empty would scan all of it
    # from then on, in foreign key checks too. All statements have indexes.
    "enable_seqscan": "off",
}
_LOG_INTERVAL_S: Final = 10.0
_QUOTED: Final = 200
# asyncpg's own message quotes what it can't parse, and so, perhaps, the password.
_UNREADABLE: Final = "EVPOWER_DATABASE_URL can't be read: percent-encode its password"
log: Final = structlog.get_logger()
# Errors of a lost or refused connection: nothing is known to be committed.
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
# Locks that were not granted in time: safe to retry.
BUSY: Final = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
)


class _BoundedConnection(_Base):
    """A connection whose every wait is bounded; asyncpg closes statements without a time-out."""

    async def _cleanup_stmts(self) -> None:
        async with asyncio.timeout(self._config.command_timeout):
            await super()._cleanup_stmts()  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]


class NoRow(LookupError):
    """A statement that always has a row returned none: EvPower's own mistake."""


async def fetch_one(connection: Connection, query: str, *values: object) -> Record:
    """Returns the row of a statement that always has one. Raises NoRow."""
    row = await connection.fetchrow(query, *values)
    if row is None:
        raise NoRow(f"no row of {query.strip()[:_QUOTED]!r}")
    return row


class UnreadableAddress(ValueError):
    """A database's address can't be parsed; it is not quoted."""

    def __init__(self) -> None:
        super().__init__(_UNREADABLE)


@asynccontextmanager
async def connect(
    dsn: str,
    *,
    timeout_s: float,
    command_timeout_s: float,
    server_settings: Mapping[str, str] | None = None,
) -> AsyncGenerator[Connection]:
    """Yields a connection outside of any pool, closed within `_CLOSE_S` afterwards.

    `timeout_s` is the total time to connect, `command_timeout_s` that of one statement. Raises
    UnreadableAddress.
    """
    try:
        connection: asyncpg.Connection[Record] = await asyncpg.connect(
            dsn,
            timeout=timeout_s,
            command_timeout=command_timeout_s,
            connection_class=_BoundedConnection,
            server_settings=dict(server_settings or {}),
        )
    except ValueError:
        raise UnreadableAddress from None
    try:
        yield connection
    finally:
        with suppress(*LOST):
            await connection.close(timeout=_CLOSE_S)


class Database:
    """A pool of connections that act as `evpower_app`; connects at the first use.

    Nothing is sent at the start of a connection, and no connection has a state of its own, so that
    a pooler may use another one for each transaction: role, time-outs and planner settings are
    defaults of the login in this database (`LOGIN_DEFAULTS`), written by `evpower migrate`.
    """

    def __init__(
        self,
        dsn: str,
        *,
        size: int = 16,
        role: str | None = APP_ROLE,
        wait_limit_s: float = 5.0,
        command_timeout_s: float = 30.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`role` None: transactions act as the login, for an administrator's commands.

        `wait_limit_s`: how long a caller waits for a connection, and a new one to be opened.
        `command_timeout_s` ends a statement whose PostgreSQL falls silent.
        """
        self._command_timeout_s = command_timeout_s
        self.size = size
        self.wait_limit_s = wait_limit_s
        self._dsn = dsn
        self._role = role
        self._failures = _FailureLog(now_s)
        self._pool: _Pool | None = None
        self._turns = asyncio.Semaphore(size)

    @classmethod
    async def open(cls, dsn: str, *, size: int = 16, role: str | None = APP_ROLE) -> "Database":
        """Connects now. Raises Unavailable with PostgreSQL's cause."""
        database = cls(dsn, size=size, role=role)
        await database.start()
        async with database.connection():
            return database

    @property
    def pool(self) -> _Pool:
        """The pool. Raises Unavailable before `start`."""
        if self._pool is None:
            raise Unavailable(
                "database_unavailable", "the database is not connected", retry_after_s=2
            )
        return self._pool

    async def start(self) -> None:
        """Creates the pool without connecting: if PostgreSQL is down, the first caller notices."""
        # asyncpg gives a free connection to whoever asks next: who waits could wait for ever.
        self._turns = asyncio.Semaphore(self.size)
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=self.size,
            timeout=self.wait_limit_s,
            command_timeout=self._command_timeout_s,
            connection_class=_BoundedConnection if self._role else _LoginConnection,
            init=self._ready,
            reset=_keep,
        )

    async def _ready(self, connection: Connection) -> None:
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=read_stored_json
        )
        if self._role is None:
            return
        acts_as: str = await connection.fetchval("select current_user::text")
        if acts_as != self._role:
            why = f"connections act as {acts_as}, not as {self._role}: run `evpower migrate`"
            raise self.report("database_not_migrated", "the database is not prepared", why)

    def report(self, code: str, detail: str, why: str, retry_after_s: int = 2) -> Unavailable:
        """Logs the cause for operators, rate-limited. Returns the error for callers."""
        self._failures.log(code, why)
        return Unavailable(code, detail, retry_after_s=retry_after_s, cause=why)

    def unavailable(self, error: BaseException) -> Unavailable:
        """Returns the error for a connection that could not be opened, or was lost."""
        return self.report("database_unavailable", "the database does not answer", cause(error))

    async def close(self) -> None:
        """Closes every connection; running statements get a few seconds."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), _CLOSE_S)
        except TimeoutError:
            pool.terminate()

    def connection(self) -> "Borrowed":
        """Returns one connection, each statement its own transaction. Raises Unavailable.

        Who waits is served in the order of coming.
        """
        return Borrowed(self, self.pool, self._turns, self.wait_limit_s)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """Yields one transaction: committed when the block ends, rolled back when it raises."""
        async with self.connection() as connection, connection.transaction():
            yield connection


class Borrowed(AbstractAsyncContextManager[Connection]):
    """A pooled connection for one block; errors of a missing PostgreSQL become Unavailable."""

    __slots__ = ("_connection", "_database", "_pool", "_turns", "_wait_limit_s")

    def __init__(
        self, database: Database, pool: _Pool, turns: asyncio.Semaphore, wait_limit_s: float
    ) -> None:
        self._database = database
        self._pool = pool
        self._turns = turns
        self._wait_limit_s = wait_limit_s
        self._connection: PoolConnectionProxy[Record] | None = None

    async def __aenter__(self) -> Connection:
        try:
            async with asyncio.timeout(self._wait_limit_s):  # acquire's own timeout costs a task
                await self._turns.acquire()
                try:
                    self._connection = await self._pool.acquire()
                except BaseException:
                    self._turns.release()
                    raise
        except ValueError:
            raise self._database.unavailable(UnreadableAddress()) from None
        except (*LOST, asyncpg.PostgresError) as error:  # a wrong password, a missing database, ...
            raise self._database.unavailable(error) from error
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
            await asyncio.shield(self._give_back(connection))
        except LOST as lost:
            if error is None or isinstance(
                error, Exception
            ):  # else a cancellation, which is raised
                raise self._database.unavailable(lost) from lost
        if isinstance(error, LOST):
            raise self._database.unavailable(error) from error
        if isinstance(error, BUSY):
            busy = "the database is busy"
            raise self._database.report("database_busy", busy, cause(error), 1) from error

    async def _give_back(self, connection: "PoolConnectionProxy[Record]") -> None:
        """Releases the connection, then the turn: whoever has a turn has a free connection."""
        try:
            await self._pool.release(connection, timeout=self._wait_limit_s)
        finally:
            self._turns.release()


class _FailureLog:
    """Logs each failure with its cause at once, then every ten seconds while it goes on."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        # By code: the cause, when it was logged, how often it occurred since.
        self._logged: dict[str, tuple[str, float, int]] = {}

    def log(self, code: str, why: str) -> None:
        last, at_s, times = self._logged.get(code, ("", 0.0, 0))
        now_s = self._now_s()
        if why == last and now_s - at_s < _LOG_INTERVAL_S:
            self._logged[code] = (last, at_s, times + 1)
            return
        self._logged[code] = (why, now_s, 0)
        log.warning(code, cause=why, times=times + 1)


class _LoginTransaction(asyncpg.transaction.Transaction):
    """A transaction that acts as the login instead of the login's default role."""

    async def start(self) -> None:
        await super().start()
        if not self._nested:
            await self._connection.execute("set local role none")


class _LoginConnection(_BoundedConnection):
    """A connection whose transactions act as the login."""

    __slots__ = ()

    def transaction(
        self,
        *,
        isolation: Literal["read_committed", "read_uncommitted", "serializable", "repeatable_read"]
        | None = None,
        readonly: bool = False,
        deferrable: bool = False,
    ) -> asyncpg.transaction.Transaction:
        return _LoginTransaction(self, isolation, readonly, deferrable)


def cause(error: BaseException) -> str:
    """Returns the message of PostgreSQL or the system in one line: for operators only."""
    text = str(error).partition("\n")[0]
    if isinstance(error, UnreadableAddress):
        return text
    if isinstance(error, asyncpg.PostgresError):
        code: str | None = error.sqlstate
        return f"{code}: {text}" if code else text
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {text}"


async def _keep(_: Connection) -> None:
    """Resets nothing: no session state is ever changed, and RESET ALL costs a round trip."""
