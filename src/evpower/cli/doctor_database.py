"""What `evpower doctor` finds in EvPower's own database, by doing what the processes do there."""

from datetime import datetime
from typing import Final

import asyncpg

from evpower import identity, stations, tariffs
from evpower.cli.finding import Finding, clock
from evpower.cli.tariffs_report import assigned_nowhere
from evpower.foundation import migrations
from evpower.foundation.clock import utc_now
from evpower.foundation.db import (
    APP_ROLE,
    LOGIN_DEFAULTS,
    Connection,
    Record,
    cause,
    connect,
)

_OLDEST_POSTGRES: Final = 160000
_TIMEOUT_S: Final = 5.0
_SHOWN: Final = 20
_ENCODE: Final = "postgres://user:password@host:5432/database; percent-encode the password"
_FIXES: Final = {
    "28P01": "check the password in EVPOWER_DATABASE_URL",
    "28000": "check the login in EVPOWER_DATABASE_URL, and pg_hba.conf",
    "3D000": "create database evpower owner evpower; or check the name in EVPOWER_DATABASE_URL",
    "42704": "remove the parameter PostgreSQL does not know from EVPOWER_DATABASE_URL, after its ?",
    "08P01": "remove the parameter from EVPOWER_DATABASE_URL: the pooler refuses it",
    "53300": "raise max_connections, or lower EVPOWER_DATABASE_POOL",
}


async def look_at_database(dsn: str) -> list[Finding]:
    """Connects as the processes do, and tries what they do; for "" there is nothing to examine."""
    if not dsn:
        return []
    try:
        async with connect(dsn, timeout_s=_TIMEOUT_S, command_timeout_s=_TIMEOUT_S) as connection:
            return await _look(connection)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        return [Finding("database", False, f"no answer: {cause(error)}", _fix(error))]
    except ValueError:  # its message may quote a part of the password
        return [Finding("database", False, "EVPOWER_DATABASE_URL can't be read", _ENCODE)]


def _fix(error: BaseException) -> str:
    sqlstate = getattr(error, "sqlstate", "") or ""
    return _FIXES.get(sqlstate, "check EVPOWER_DATABASE_URL, and that PostgreSQL runs there")


async def _look(connection: Connection) -> list[Finding]:
    number: int = await connection.fetchval("select current_setting('server_version_num')::int")
    version: str = await connection.fetchval("show server_version")
    backends = {await connection.fetchval("select pg_backend_pid()") for _ in range(3)}
    now: datetime = await connection.fetchval("select clock_timestamp()")
    durable: str = await connection.fetchval("show synchronous_commit")
    way = ", through a pooler" if len(backends) > 1 else ""
    return [
        Finding(
            "database", number >= _OLDEST_POSTGRES, f"PostgreSQL {version}{way}", "16 or newer"
        ),
        await _migrations(connection),
        await _role(connection),
        await _login(connection),
        *await _stations(connection),
        *await _tariffs(connection),
        *await _cards(connection),
        Finding("durability", durable != "off", f"synchronous_commit={durable}", "turn it on"),
        clock("database clock", now),
    ]


async def _stations(connection: Connection) -> list[Finding]:
    """Lists the stations that connect without a password: that is allowed, and should be known."""
    try:
        ids = await stations.list_without_password(connection)
    except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
        return []  # no schema yet, or no right: reported by the lines before
    if not ids:
        return [Finding("stations without a password", True, "none, simulated ones aside")]
    shown = ", ".join(ids[:_SHOWN]) + (f" and {len(ids) - _SHOWN} more" * (len(ids) > _SHOWN))
    detail = f"{len(ids)}: {shown} (evpower station secure)"
    return [Finding("stations without a password", True, detail)]


async def _tariffs(connection: Connection) -> list[Finding]:
    """Lists the assignments that price nothing: a place may come, or it was named wrongly."""
    try:
        assigned = await tariffs.list_assignments(connection, utc_now())
        nowhere = await assigned_nowhere(connection, assigned)
    except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
        return []
    if not nowhere:
        return []
    shown = ", ".join(f"{row.scope} {row.scope_id}" for row in nowhere[:_SHOWN])
    more = f" and {len(nowhere) - _SHOWN} more" * (len(nowhere) > _SHOWN)
    end = "(evpower tariff assign --none ends one)"
    return [Finding("tariffs of no place", True, f"{len(nowhere)}: {shown}{more} {end}")]


async def _cards(connection: Connection) -> list[Finding]:
    """Lists cards that two clients have: which of them pays depends on how a station writes it."""
    try:
        shared = await identity.list_shared_id_tags(connection, _SHOWN + 1)
    except (
        asyncpg.UndefinedTableError,
        asyncpg.UndefinedFunctionError,
        asyncpg.InsufficientPrivilegeError,
    ):
        return []  # no schema of this version yet, or no right: reported by the lines before
    parts = [
        " and ".join(
            f"{tag} of client {client_id}"
            for tag, client_id in zip(card.spellings, card.client_ids, strict=True)
        )
        for card in shared[:_SHOWN]
    ]
    detail = "; ".join(parts) + "; and more" * (len(shared) > _SHOWN)
    fix = "ask whose it is; evpower card remove TAG takes it from both, then evpower card add"
    return [Finding("cards of two clients", not shared, detail or "none", fix)]


async def _login(connection: Connection) -> Finding:
    """Compares what applies to a new connection with the defaults that `evpower migrate` wrote.

    Processes may not be a superuser: no grant or revoke applies to one.
    """
    is_superuser: bool = await connection.fetchval(
        "select rolsuper from pg_roles where rolname = session_user"
    )
    if is_superuser:
        fix = "log in as the owner of the database, made as docs/deploy.md, step 4, says"
        return Finding("database login", False, "is a superuser", fix)
    names = [name for name in LOGIN_DEFAULTS if name != "application_name"]  # a URL may change it
    rows: list[Record] = await connection.fetch(
        "select name, current_setting(name) as value from unnest($1::text[]) name", names
    )
    wrong = [
        f"{row['name']} is {row['value']}, not {LOGIN_DEFAULTS[row['name']]}"
        for row in rows
        if row["value"] != LOGIN_DEFAULTS[row["name"]]
    ]
    return Finding(
        "database login",
        not wrong,
        "; ".join(wrong) or "has its defaults",
        "evpower migrate, at PostgreSQL's own address; a pooler must then connect anew (RECONNECT)",
    )


async def _migrations(connection: Connection) -> Finding:
    try:
        edition = await migrations.edition(connection)
    except migrations.MigrationError as error:
        return Finding("migrations", False, str(error), "see docs/deploy.md, step 4")
    if edition.is_unreleased:
        return Finding("migrations", False, edition.error, "begin a new database")
    if edition.lacking:
        return Finding("migrations", False, f"{len(edition.lacking)} to apply", "evpower migrate")
    return Finding("migrations", True, edition.error or "current")


async def _role(connection: Connection) -> Finding:
    """Acts as the processes' role and reads, as a request does: the catalog alone may mislead."""
    login: str = await connection.fetchval("select quote_ident(session_user)")
    grant = f"grant {APP_ROLE} to {login} with inherit false, set true;"
    fix = f"evpower migrate; if it may not, as an administrator: {grant}"
    try:
        async with connection.transaction(readonly=True):
            await connection.execute("set local role none")  # as an administrator's commands
            await connection.execute(f"set local role {APP_ROLE}")
            await connection.execute("select from identity.clients_public limit 1")
    except asyncpg.InvalidParameterValueError:
        return Finding("database role", False, f"there is no role {APP_ROLE}", fix)
    except asyncpg.InsufficientPrivilegeError as error:
        if "set role" in str(error):
            return Finding("database role", False, f"{login} may not act as {APP_ROLE}", fix)
        fix = "restore the dump with its grants (without --no-acl)"
        return Finding("database role", False, f"{APP_ROLE} lacks a right: {error}", fix)
    except asyncpg.UndefinedTableError:
        return Finding(
            "database role", True, f"may act as {APP_ROLE}"
        )  # no schema yet: reported above
    return Finding("database role", True, f"may act as {APP_ROLE}, which may read")
