"""Numbered SQL files, each applied once, in order, in one transaction, by one process at a time.

The files of version 0.1.0 are the first edition, and an applied file never changes: a database made
by an earlier text is refused, never altered.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from evpower.foundation.db import APP_ROLE, LOGIN_DEFAULTS, Connection, Record, connect, fetch_one

_LOCK: Final = 0x45565057  # "EVPW"
_DIRECTLY: Final = (
    "`evpower migrate` must connect to PostgreSQL directly, not through a pooler: run it with"
    " PostgreSQL's own address in EVPOWER_DATABASE_URL"
)
_CONNECT_TIMEOUT_S: Final = 10.0
_STATEMENT_TIMEOUT_S: Final = 3600.0  # building an index over years of transactions takes long
_PACKAGED: Final = Path(__file__).resolve().parents[1] / "_migrations"
_CHECKOUT: Final = Path(__file__).resolve().parents[3] / "migrations"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its version, its text, and the digest that shows whether it changed since."""

    version: str
    sql: str
    sha256: str


class MigrationError(Exception):
    """A migration failed, or the database is of another edition; the text names the remedy."""


class UnknownEditionError(MigrationError):
    """The database was made by an unreleased EvPower, or by a newer version than this one."""


UNRELEASED: Final = (
    "this database was made by an unreleased EvPower, begin a new one (`evpower dev --fresh`)"
)
NEWER: Final = "this database is newer than this EvPower: run a version that knows {versions}"


@dataclass(frozen=True, slots=True)
class Edition:
    """How the applied files of a database compare with those of this version."""

    lacking: tuple[Migration, ...]
    unknown: tuple[str, ...]  # applied there, not among our files
    is_unreleased: bool

    @property
    def error(self) -> str:
        """Why `migrate` refuses the database; "" when it does not."""
        if self.is_unreleased:
            return UNRELEASED
        return NEWER.format(versions=", ".join(self.unknown)) if self.unknown else ""


def load() -> list[Migration]:
    """Returns the files of the checkout, or those packed into the wheel."""
    source = _folder()
    files = [
        Migration(
            path.stem, text := path.read_text("utf-8"), hashlib.sha256(text.encode()).hexdigest()
        )
        for path in sorted(source.glob("[0-9]*.sql"))
    ]
    if not files:
        raise MigrationError(f"no migrations in {source}")
    return files


def _folder() -> Path:
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


async def applied(connection: Connection) -> dict[str, str]:
    """Returns the digest of every migration this database has, by version."""
    if await connection.fetchval("select to_regclass('public.evpower_migrations')") is None:
        return {}
    rows: list[Record] = await connection.fetch(
        "select version, sha256 from public.evpower_migrations"
    )
    return {row["version"]: row["sha256"] for row in rows}


async def edition(connection: Connection, files: Sequence[Migration] | None = None) -> Edition:
    """Compares the database with this version's files. Raises MigrationError if it may not read."""
    try:
        return compare(files or load(), await applied(connection))
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationError(await _whose(connection)) from error


def compare(files: Sequence[Migration], have: Mapping[str, str]) -> Edition:
    """Compares applied versions and their digests with this version's files.

    A newer EvPower leaves all these files unchanged and adds versions after the last; any other
    difference comes from a text that was never released.
    """
    lacking = tuple(file for file in files if file.version not in have)
    unknown = tuple(sorted(have.keys() - {file.version for file in files}))
    changed = any(have[file.version] != file.sha256 for file in files if file.version in have)
    is_newer = not lacking and all(version > files[-1].version for version in unknown)
    return Edition(lacking, unknown, changed or (bool(unknown) and not is_newer))


async def migrate(
    dsn: str,
    on_step: Callable[[str], None] = lambda _: None,
    *,
    files: Sequence[Migration] | None = None,
    lock_timeout_s: float = 2.0,
    attempts: int = 30,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> list[str]:
    """Applies what the database lacks, connected directly. Returns the versions applied now.

    A lock that is not granted within `lock_timeout_s` is given up, so that other sessions can go
    on, and tried again after the same time. Raises MigrationError.
    """
    locks = _Locks(lock_timeout_s, attempts, pause, on_step)
    async with _connected(dsn, lock_timeout_s) as connection:
        await locks.taking(connection, "select pg_advisory_lock($1)", _LOCK)
        current = await edition(connection, files)
        if current.error:
            raise UnknownEditionError(current.error)
        await _prepare_login(connection)
        await _create_table(connection)
        done: list[str] = []
        for migration in current.lacking:
            on_step(f"applying {migration.version}")
            await _apply(connection, migration, locks)
            done.append(migration.version)
        return done


@asynccontextmanager
async def _connected(dsn: str, lock_timeout_s: float) -> AsyncGenerator[Connection]:
    """Yields a connection to PostgreSQL itself, as the login, without the defaults of processes."""
    settings = {
        "role": "none",
        "statement_timeout": "0",
        "lock_timeout": f"{lock_timeout_s * 1000:.0f}ms",
    }
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(
                connect(
                    dsn,
                    timeout_s=_CONNECT_TIMEOUT_S,
                    command_timeout_s=_STATEMENT_TIMEOUT_S,
                    server_settings=settings,
                )
            )
        except asyncpg.ProtocolViolationError as error:
            raise MigrationError(f"{error}; {_DIRECTLY}") from error
        if not await connection.fetchval("select current_user = session_user"):
            raise MigrationError(f"the connection does not act as the login; {_DIRECTLY}")
        yield connection


@dataclass(frozen=True, slots=True)
class _Locks:
    """How locks are waited for."""

    timeout_s: float
    attempts: int
    pause: Callable[[float], Awaitable[None]]
    report: Callable[[str], None]

    async def taking(self, connection: Connection, sql: str, *arguments: object) -> None:
        """Executes until its locks are granted. Raises MigrationError after all attempts."""
        await self.retry(connection, lambda: connection.execute(sql, *arguments))

    async def retry(self, connection: Connection, work: Callable[[], Awaitable[object]]) -> None:
        """Does the work until its locks are granted. Raises MigrationError after all attempts."""
        for left in reversed(range(self.attempts)):
            try:
                await work()
            except asyncpg.LockNotAvailableError as error:
                waits = f"a lock is held by another session{await _oldest(connection)}"
                if not left:
                    raise MigrationError(f"{waits}; end it, or try again later") from error
                self.report(f"waiting: {waits}")
                await self.pause(self.timeout_s)
            else:
                return


async def _oldest(connection: Connection) -> str:
    """Returns text that names the oldest transaction of this database, the likely lock holder."""
    row: Record | None = await connection.fetchrow(
        """
        select pid, coalesce(nullif(application_name, ''), usename::text) as name, state,
          extract(epoch from clock_timestamp() - xact_start)::int as age_s from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
          and backend_type = 'client backend' order by xact_start nulls last limit 1
        """
    )
    if row is None:
        return ""
    age = f", {row['state']}, for {row['age_s']} s" if row["age_s"] is not None else ""
    return f" (process {row['pid']}, {row['name']}{age})"


async def _create_table(connection: Connection) -> None:
    try:
        await connection.execute(
            """
            create table if not exists public.evpower_migrations (
              version text primary key, sha256 text not null,
              applied_at timestamptz not null default now())
            """
        )  # every process checks whether its database is current
        await connection.execute(f"grant select on public.evpower_migrations to {APP_ROLE}")
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationError(await _whose(connection)) from error


async def _whose(connection: Connection) -> str:
    """Returns text that names the owner of the database and its tables, if it is not the login."""
    row = await fetch_one(
        connection,
        """
        select session_user as login, current_database() as database,
          pg_get_userbyid(datdba) as owner, (select pg_get_userbyid(relowner) from pg_class
        where oid = to_regclass('public.evpower_migrations')) as table_owner
        from pg_database where datname = current_database()
        """,
    )
    if row["table_owner"] not in {None, row["login"]}:
        return (
            f"the tables of {row['database']} belong to {row['table_owner']}, not to"
            f" {row['login']}: log in as {row['table_owner']}, or restore the dump with"
            f" pg_restore --no-owner --role={row['login']}"
        )
    return (
        f"the database {row['database']} belongs to {row['owner']}, not to {row['login']}; as an"
        f' administrator: alter database "{row["database"]}" owner to "{row["login"]}";'
    )


async def _prepare_login(connection: Connection) -> None:
    try:
        await connection.execute((_folder() / "login.sql").read_text("utf-8"))
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationError(f"{error.args[0]}; {error.hint or 'ask an administrator'}") from error
    await set_login_defaults(connection)


async def set_login_defaults(
    connection: Connection,
    defaults: Mapping[str, str] = LOGIN_DEFAULTS,
    *,
    login: str | None = None,
    database: str | None = None,
) -> None:
    """Stores the defaults of a login in a database that processes need; without a login our own.

    Defaults that are set already are not written again. They apply to new connections, a pooler's
    too.
    """
    statements: list[Record] = await connection.fetch(
        """
        select format('alter role %I in database %I set %I = %L',
          coalesce($1, session_user), coalesce($2, current_database()), name, value) as sql
        from unnest($3::text[], $4::text[]) as d (name, value)
        where not exists (select from pg_db_role_setting s
          join pg_roles r on r.oid = s.setrole join pg_database b on b.oid = s.setdatabase
          where r.rolname = coalesce($1, session_user)
            and b.datname = coalesce($2, current_database())
            and name || '=' || value = any (s.setconfig))
        """,
        login,
        database,
        list(defaults),
        list(defaults.values()),
    )
    if statements:
        await connection.execute(";".join(statement["sql"] for statement in statements))


async def _apply(connection: Connection, migration: Migration, locks: _Locks) -> None:
    async def once() -> None:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "insert into public.evpower_migrations (version, sha256) values ($1, $2)",
                migration.version,
                migration.sha256,
            )

    try:
        await locks.retry(connection, once)
    except asyncpg.PostgresError as error:
        raise MigrationError(
            f"{migration.version} failed, nothing of it was kept: {error}"
        ) from error
