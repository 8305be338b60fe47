"""The migrations, applied for real."""

from uuid import uuid4

import asyncpg
import pytest

from evpower.foundation.db import Connection, Database
from evpower.foundation.migrations import (
    NEWER,
    UNRELEASED,
    Migration,
    MigrationError,
    UnknownEditionError,
    applied,
    edition,
    load,
    migrate,
)
from tests.conftest import Server, as_owner
from tests.snapshots.schema import dump


async def test_every_file_is_applied_once(dsn: str, owner: Connection) -> None:
    assert set(await applied(owner)) == {migration.version for migration in load()}
    assert await migrate(dsn) == []


async def test_processes_act_as_the_app_role(db: Database) -> None:
    async with db.connection() as connection:
        assert await connection.fetchval("select current_user") == "evpower_app"


TABLE = "public.evpower_migrations"
FIRST, LAST = load()[0].version, load()[-1].version
OTHER_TEXT = f"update {TABLE} set sha256 = 'x' where version = '{FIRST}'"
WITHOUT_LAST = f"delete from {TABLE} where version = '{LAST}'"


class TestLocks:
    """A file that must wait for a reader never makes those behind it wait for long."""

    FILE = Migration("9999_slow", "alter table identity.clients add column later int", "0")

    async def test_a_reader_that_stays_open_stalls_no_one_and_is_named(
        self, dsn: str, owner: Connection
    ) -> None:
        progress: list[str] = []
        other: Connection = await asyncpg.connect(as_owner(dsn))
        reader = owner.transaction()
        await reader.start()
        await owner.execute("select from identity.clients")

        async def others_go_on(_: float) -> None:
            await other.execute("select from identity.clients")
            await reader.rollback()

        done = await migrate(
            dsn,
            progress.append,
            files=[*load(), self.FILE],
            lock_timeout_s=0.05,
            pause=others_go_on,
        )
        await other.close()
        pid: int = await owner.fetchval("select pg_backend_pid()")
        assert done == ["9999_slow"]
        assert progress[0] == "applying 9999_slow"
        assert progress[1].startswith(
            f"waiting: a lock is held by another session (process {pid}, evpower, idle in transact"
        )

    async def test_a_reader_that_never_ends_ends_the_command_and_nothing_is_changed(
        self, dsn: str, owner: Connection
    ) -> None:
        async with owner.transaction():
            await owner.execute("select from identity.clients")
            with pytest.raises(MigrationError, match=r"another session .* end it, or try again"):
                await migrate(
                    dsn, files=[*load(), self.FILE], lock_timeout_s=0.01, attempts=3, pause=_at_once
                )
        assert "9999_slow" not in await applied(owner)

    async def test_another_migrate_is_waited_for_no_longer(
        self, dsn: str, owner: Connection
    ) -> None:
        await owner.execute("select pg_advisory_lock($1)", 0x45565057)
        with pytest.raises(MigrationError, match="held by another session"):
            await migrate(dsn, lock_timeout_s=0.01, attempts=3, pause=_at_once)


async def _at_once(_: float) -> None: ...


class TestDatabasesOfAnotherEdition:
    @pytest.mark.parametrize(
        "change",
        [
            OTHER_TEXT,
            f"update {TABLE} set sha256 = 'x' where version = '{LAST}'",
            f"update {TABLE} set version = '0000_before' where version = '{FIRST}'",
            f"insert into {TABLE} values ('0003_between', 'x')",
            f"insert into {TABLE} values ('9999_after', 'x'); {WITHOUT_LAST}",
            f"insert into {TABLE} values ('9999_after', 'x'); {OTHER_TEXT}",
        ],
    )
    async def test_one_of_unreleased_files_is_refused_and_left_as_it_is(
        self, server: Server, dsn: str, owner: Connection, change: str
    ) -> None:
        await owner.execute(change)
        before = await applied(owner), dump(server.postgres, dsn)
        with pytest.raises(UnknownEditionError) as refused:
            await migrate(dsn)
        assert str(refused.value) == UNRELEASED
        assert (await applied(owner), dump(server.postgres, dsn)) == before
        assert (await edition(owner)).is_unreleased

    async def test_one_of_a_newer_version_is_refused_by_its_own_sentence(
        self, dsn: str, owner: Connection
    ) -> None:
        await owner.execute("insert into public.evpower_migrations values ('9999_after', 'x')")
        with pytest.raises(UnknownEditionError) as refused:
            await migrate(dsn)
        assert str(refused.value) == NEWER.format(versions="9999_after")
        assert not (await edition(owner)).is_unreleased

    async def test_one_that_lacks_the_last_file_is_brought_up_to_date(self, server: Server) -> None:
        name = f"before_last_{uuid4().hex[:8]}"
        await server.postgres.create_owned_database(name)
        dsn = server.owner_dsn(name)
        try:
            assert await migrate(dsn, files=load()[:-1]) == [item.version for item in load()[:-1]]
            assert await migrate(dsn) == [LAST]
        finally:
            await server.command(f"drop database {name}")
