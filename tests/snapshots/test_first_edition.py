"""The first edition makes the schema that the numbered changes made, with the same rows in it."""

import subprocess
from pathlib import Path

from evpower.devstack.postgres import EmbeddedPostgres
from evpower.foundation.migrations import migrate
from tests.conftest import Server
from tests.snapshots.schema import dump

FIRST = Path(__file__).resolve().parents[2] / "migrations" / "first"


async def test_the_first_edition_makes_the_same_schema(server: Server, dsn: str) -> None:
    await server.command("create database first_edition")
    try:
        first = server.dsn("first_edition")
        await migrate(first, folder=FIRST)
        assert dump(server.postgres, first) == dump(server.postgres, dsn)
        assert _rows(server.postgres, first) == _rows(server.postgres, dsn)
    finally:
        await server.command("drop database if exists first_edition with (force)")


def _rows(postgres: EmbeddedPostgres, dsn: str) -> list[str]:
    done = subprocess.run(
        [postgres.bin_dir / "pg_dump", "--data-only", "--inserts", "--dbname", dsn,
         "--exclude-table=public.evpower_migrations"],
        check=True,
        capture_output=True,
        text=True,
    )  # fmt: skip
    return [line for line in done.stdout.splitlines() if line.startswith("INSERT")]
