"""EvPower's own database, installed as docs/deploy.md says: by a login that is no superuser."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from evpower.cli.doctor_database import look_at_database
from evpower.devstack import children
from evpower.devstack.postgres.server import EmbeddedPostgres
from evpower.foundation.db import Connection, Database
from evpower.foundation.migrations import MigrationError, migrate
from tests.folders import server_folder

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "docs" / "deploy.md"
PASSWORD = "a-password"


class Cluster:
    """A PostgreSQL without an installed EvPower, and its administrator."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self.postgres = postgres

    async def administrator(self, sql: str, database: str = "postgres") -> None:
        connection: Connection = await asyncpg.connect(self.postgres.dsn(database))
        try:
            for statement in filter(str.strip, sql.split(";")):
                await connection.execute(statement)
        finally:
            await connection.close()

    def login(self, name: str, database: str) -> str:
        return f"postgresql://{name}:{PASSWORD}@127.0.0.1:{self.postgres.port}/{database}"

    async def create(self, name: str, attributes: str = "") -> str:
        """A login with a database of its own; answers its address."""
        await self.administrator(
            f"create role {name} login {attributes} password '{PASSWORD}';"
            f" create database {name} owner {name}"
        )
        return self.login(name, name)

    async def empty(self) -> None:
        connection: Connection = await asyncpg.connect(self.postgres.dsn("postgres"))
        try:
            for row in await connection.fetch(
                "select datname from pg_database where datname !~ '^(postgres|template[01])$'"
            ):
                await connection.execute(f"drop database {row['datname']} with (force)")
            for row in await connection.fetch(
                "select rolname from pg_roles where rolname !~ '^(postgres$|pg_)'"
                " order by rolname = 'evpower_app'"
            ):
                await connection.execute(f"drop owned by {row['rolname']}")
            for row in await connection.fetch(
                "select rolname from pg_roles where rolname !~ '^(postgres$|pg_)'"
                " order by rolname <> 'evpower_app'"
            ):
                await connection.execute(f"drop role {row['rolname']}")
        finally:
            await connection.close()


@pytest.fixture(scope="module")
async def postgres() -> AsyncIterator[EmbeddedPostgres]:
    with server_folder("installation") as folder:
        postgres = EmbeddedPostgres(folder / "pg", settings={"fsync": "off"})
        await postgres.start()
        yield postgres
        await postgres.stop()


@pytest.fixture
async def cluster(postgres: EmbeddedPostgres) -> AsyncIterator[Cluster]:
    cluster = Cluster(postgres)
    yield cluster
    await cluster.empty()


@asynccontextmanager
async def process(dsn: str) -> AsyncIterator[Connection]:
    """A connection as `serve` has it."""
    database = await Database.open(dsn, size=1)
    try:
        async with database.connection() as connection:
            yield connection
    finally:
        await database.close()


async def works(dsn: str) -> bool:
    async with process(dsn) as connection:
        await connection.fetch("select * from identity.clients")
        role: str = await connection.fetchval("select current_user")
        assert await connection.fetchval("show is_superuser") == "off"
    return role == "evpower_app"


async def doctor(dsn: str) -> dict[str, tuple[bool, str, str]]:
    return {
        finding.name: (finding.ok, finding.detail, finding.fix)
        for finding in await look_at_database(dsn)
    }


async def refusal(dsn: str) -> str:
    with pytest.raises(MigrationError) as refused:
        await migrate(dsn)
    return str(refused.value)


def command(text: str) -> str:
    """The administrator's command in a message."""
    match = re.search(r"as an administrator: (.*;)$", text)
    assert match, text
    return match[1]


def step_4() -> list[str]:
    text = DEPLOY.read_text()
    text = text[text.index("## 4. PostgreSQL") : text.index("## 5.")]
    return re.findall(r"```sql\n(.*?)```", text, re.DOTALL)


async def test_step_4_word_for_word(cluster: Cluster) -> None:
    create, afterwards = step_4()
    await cluster.administrator(create.replace("…", PASSWORD))
    dsn = cluster.login("evpower", "evpower")
    assert await migrate(dsn)
    assert await works(dsn)
    assert all(ok for ok, _, _ in (await doctor(dsn)).values())
    await cluster.administrator(afterwards)
    assert await migrate(dsn) == []
    assert await works(dsn)


async def test_the_compose_file_s_script_makes_the_same(cluster: Cluster) -> None:
    await cluster.administrator(f"create role image superuser login password '{PASSWORD}'")
    done = await children.run(
        ["sh", ROOT / "docker" / "create-database.sh"],
        env={
            "PATH": f"{cluster.postgres.bin_dir}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(cluster.postgres.port),
            "PGPASSWORD": PASSWORD,
            "POSTGRES_USER": "image",
            "POSTGRES_PASSWORD": PASSWORD,
        },
    )
    assert done.returncode == 0, done.stdout
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(cluster.login("image", "postgres"))
    dsn = cluster.login("evpower", "evpower")
    assert await migrate(dsn)
    assert await works(dsn)


async def test_doctor_refuses_a_superuser_for_the_processes(cluster: Cluster) -> None:
    dsn = await cluster.create("first", "createrole")
    await migrate(dsn)
    assert (await doctor(dsn))["database login"][0]
    await cluster.administrator("alter role first superuser")
    ok, detail, fix = (await doctor(dsn))["database login"]
    assert not ok
    assert "superuser" in detail
    assert "step 4" in fix


async def test_doctor_names_the_address_where_postgresql_does_not_know_its_end(
    cluster: Cluster,
) -> None:
    dsn = await cluster.create("first", "createrole")
    ok, detail, fix = (await doctor(f"{dsn}?pgbouncer=true"))["database"]
    assert not ok
    assert "pgbouncer" in detail
    assert "EVPOWER_DATABASE_URL, after its ?" in fix


@pytest.mark.parametrize("attributes", ["createrole", ""])
async def test_a_second_database_with_another_owner_needs_the_command_it_names(
    cluster: Cluster, attributes: str
) -> None:
    await migrate(await cluster.create("first", "createrole"))
    dsn = await cluster.create("second", attributes)
    refused = await refusal(dsn)
    assert "second may not act as evpower_app" in refused
    await cluster.administrator(command(refused))
    assert await migrate(dsn)
    assert await works(dsn)
    assert await works(cluster.login("first", "first"))


async def test_a_role_an_administrator_made_beforehand_needs_the_command_it_names(
    cluster: Cluster,
) -> None:
    await cluster.administrator("create role evpower_app nologin")
    dsn = await cluster.create("evpower", "createrole")
    await cluster.administrator(command(await refusal(dsn)))
    assert await migrate(dsn)
    assert await works(dsn)


async def test_a_login_that_may_not_create_roles_needs_the_command_it_names(
    cluster: Cluster,
) -> None:
    dsn = await cluster.create("evpower")
    refused = await refusal(dsn)
    assert "there is no role evpower_app" in refused
    await cluster.administrator(command(refused))
    assert await migrate(dsn)
    assert await works(dsn)


async def test_a_database_of_another_owner_is_named_with_its_command(cluster: Cluster) -> None:
    await cluster.create("evpower", "createrole")
    await cluster.administrator("create database other")
    dsn = cluster.login("evpower", "other")
    refused = await refusal(dsn)
    assert "the database other belongs to postgres, not to evpower" in refused
    await cluster.administrator(command(refused))
    assert await migrate(dsn)


async def test_tables_of_another_owner_are_named(cluster: Cluster) -> None:
    dsn = await cluster.create("evpower", "createrole")
    await migrate(cluster.postgres.dsn("evpower"))
    assert "the tables of evpower belong to postgres, not to evpower" in await refusal(dsn)
    ok, detail, _ = (await doctor(dsn))["migrations"]
    assert (ok, "belong to postgres" in detail) == (False, True)


class TestDoctorNamesTheCause:
    """What PostgreSQL said, and the fix of that alone; never the password."""

    async def test_a_wrong_password(self, cluster: Cluster) -> None:
        dsn = (await cluster.create("evpower")).replace(PASSWORD, "guessed")
        ok, detail, fix = (await doctor(dsn))["database"]
        assert not ok
        assert detail == ('no answer: 28P01: password authentication failed for user "evpower"')
        assert "password" in fix

    async def test_no_such_login(self, cluster: Cluster) -> None:
        # PostgreSQL does not tell strangers which logins there are.
        ok, detail, _ = (await doctor(cluster.login("not_here", "postgres")))["database"]
        assert (ok, "28P01" in detail) == (False, True)

    async def test_no_such_database(self, cluster: Cluster) -> None:
        await cluster.create("evpower")
        ok, detail, fix = (await doctor(cluster.login("evpower", "elsewhere")))["database"]
        assert (ok, detail) == (False, 'no answer: 3D000: database "elsewhere" does not exist')
        assert "create database" in fix

    async def test_no_server_listens(self) -> None:
        ok, detail, _ = (await doctor("postgresql://evpower:x@127.0.0.1:1/evpower"))["database"]
        assert (ok, "ConnectionRefusedError" in detail) == (False, True)

    async def test_an_address_that_can_not_be_read(self) -> None:
        ok, detail, fix = (await doctor("postgresql://evpower:pa/ss@host/evpower"))["database"]
        assert (ok, detail) == (False, "EVPOWER_DATABASE_URL can't be read")
        assert "percent-encode" in fix

    async def test_defaults_that_were_changed(self, cluster: Cluster) -> None:
        dsn = await cluster.create("evpower", "createrole")
        await migrate(dsn)
        await cluster.administrator(
            "alter role evpower in database evpower set statement_timeout = '1h';"
            " alter role evpower in database evpower reset enable_seqscan"
        )
        findings = await doctor(dsn)
        assert findings["database login"][:2] == (
            False, "statement_timeout is 1h, not 15s; enable_seqscan is on, not off",
        )  # fmt: skip
        assert [name for name, finding in findings.items() if not finding[0]] == ["database login"]
        await migrate(dsn)
        assert (await doctor(dsn))["database login"][:2] == (True, "has its defaults")


class TestDoctorTriesTheRole:
    """Each fault has its own words, and the fix it names mends it."""

    async def test_a_right_to_act_as_it_that_is_only_admin(self, cluster: Cluster) -> None:
        dsn = await cluster.create("evpower", "createrole")
        await migrate(dsn)
        await cluster.administrator("revoke evpower_app from evpower granted by evpower")
        ok, detail, fix = (await doctor(dsn))["database role"]
        assert (ok, detail) == (False, "evpower may not act as evpower_app")
        await cluster.administrator(command(fix))
        assert (await doctor(dsn))["database role"][0]

    async def test_migrate_gives_the_right_again(self, cluster: Cluster) -> None:
        dsn = await cluster.create("evpower", "createrole")
        await migrate(dsn)
        await cluster.administrator("revoke evpower_app from evpower granted by evpower")
        assert await migrate(dsn) == []
        assert await works(dsn)

    async def test_a_role_that_is_not_there(self, cluster: Cluster) -> None:
        dsn = await cluster.create("evpower", "createrole")
        ok, detail, _ = (await doctor(dsn))["database role"]
        assert (ok, detail) == (False, "there is no role evpower_app")

    async def test_a_dump_restored_without_its_grants(self, cluster: Cluster) -> None:
        dsn = await cluster.create("evpower", "createrole")
        await migrate(dsn)
        await cluster.administrator(
            "revoke all on identity.clients_public from evpower_app", "evpower"
        )
        ok, detail, fix = (await doctor(dsn))["database role"]
        assert (ok, "permission denied for view clients_public" in detail) == (False, True)
        assert "--no-acl" in fix
