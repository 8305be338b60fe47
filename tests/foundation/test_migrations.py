"""The migrations, applied for real."""

from evpower.foundation.db import Connection, Database
from evpower.foundation.migrations import applied, load, migrate


async def test_every_file_is_applied_once(dsn: str, owner: Connection) -> None:
    assert set(await applied(owner)) == {migration.version for migration in load()}
    assert await migrate(dsn) == []


async def test_processes_act_as_the_app_role(db: Database) -> None:
    async with db.connection() as connection:
        assert await connection.fetchval("select current_user") == "evpower_app"
