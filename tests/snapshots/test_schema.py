"""schema.sql is what the migrations make."""

from evpower.foundation.migrations import migrate
from tests.conftest import Server
from tests.snapshots.schema import SCHEMA, dump


async def test_schema_is_the_sum_of_the_migrations(server: Server) -> None:
    await server.command("create database schema_only owner evpower")
    await migrate(server.owner_dsn("schema_only"))
    written = dump(server.postgres, server.owner_dsn("schema_only"))
    assert SCHEMA.read_text() == written, "run `make snapshots`"
