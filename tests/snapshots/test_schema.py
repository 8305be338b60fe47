"""schema.sql is what the migrations make."""

from tests.conftest import Server
from tests.snapshots.schema import SCHEMA, dump


def test_schema_is_the_sum_of_the_migrations(server: Server, dsn: str) -> None:
    assert SCHEMA.read_text() == dump(server.postgres, dsn), "run `make snapshots`"
