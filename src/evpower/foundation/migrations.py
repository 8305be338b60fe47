"""Numbered SQL files, each applied once, in order, in one transaction, by one process at a time."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from evpower.foundation.db import APP_ROLE, Connection, Record

_LOCK: Final = 0x45565057  # "EVPW"
_PACKAGED: Final = Path(__file__).resolve().parents[1] / "_migrations"
_CHECKOUT: Final = Path(__file__).resolve().parents[3] / "migrations"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number and name, its text, the digest that proves it did not change since."""

    version: str
    sql: str
    sha256: str


class MigrationError(Exception):
    """A migration failed or an applied file changed; the text says which and what to do."""


def load(folder: Path | None = None) -> list[Migration]:
    """The files of the checkout, or those packed into the wheel."""
    source = folder or (_PACKAGED if _PACKAGED.is_dir() else _CHECKOUT)
    found = [
        Migration(
            path.stem, text := path.read_text("utf-8"), hashlib.sha256(text.encode()).hexdigest()
        )
        for path in sorted(source.glob("[0-9]*.sql"))
    ]
    if not found:
        raise MigrationError(f"no migrations in {source}")
    return found


async def applied(connection: Connection) -> dict[str, str]:
    """Version to digest of every migration this database has."""
    if await connection.fetchval("select to_regclass('public.evpower_migrations')") is None:
        return {}
    rows: list[Record] = await connection.fetch(
        "select version, sha256 from public.evpower_migrations"
    )
    return {row["version"]: row["sha256"] for row in rows}


async def pending(connection: Connection) -> list[Migration]:
    """What this database still lacks."""
    have = await applied(connection)
    return [migration for migration in load() if migration.version not in have]


async def migrate(
    dsn: str,
    on_step: Callable[[str], None] = lambda _: None,
    folder: Path | None = None,
) -> list[str]:
    """Bring a database up to date; answers the versions applied now. Raises MigrationError."""
    connection: Connection = await asyncpg.connect(
        dsn, timeout=10, server_settings={"timezone": "UTC"}
    )
    try:
        await connection.execute("select pg_advisory_lock($1)", _LOCK)
        await connection.execute(
            "create table if not exists public.evpower_migrations ("
            " version text primary key, sha256 text not null,"
            " applied_at timestamptz not null default now())"
        )
        have = await applied(connection)
        done: list[str] = []
        for migration in load(folder):
            if migration.version in have:
                if have[migration.version] != migration.sha256:
                    raise MigrationError(
                        f"{migration.version} was changed after it had been applied: "
                        "restore the file, put the change into a new one"
                    )
                continue
            on_step(migration.version)
            await _apply(connection, migration)
            done.append(migration.version)
        if done:  # every process asks whether its database is current
            await connection.execute(f"grant select on public.evpower_migrations to {APP_ROLE}")
        return done
    finally:
        await connection.close()


async def _apply(connection: Connection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            await connection.execute(
                "insert into public.evpower_migrations (version, sha256) values ($1, $2)",
                migration.version,
                migration.sha256,
            )
    except asyncpg.PostgresError as error:
        raise MigrationError(
            f"{migration.version} failed, nothing of it was kept: {error}"
        ) from error
