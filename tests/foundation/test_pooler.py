"""Behind a pooler in transaction mode: nothing EvPower needs is lost between two transactions."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest
import structlog

from evpower import sync, wallet
from evpower.cli.doctor_database import look_at_database
from evpower.client_migration import store as moving_store
from evpower.client_migration.model import RowRefused
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.migrations import MigrationError, migrate
from evpower.sync.errors import TargetRefuses
from tests.conftest import Server, patient_database
from tests.pooler import Pooler
from tests.wallet.scenario import Scenario


@pytest.fixture
async def pooler(dsn: str) -> AsyncIterator[Pooler]:
    async with Pooler(dsn, size=3, max_prepared=5) as pooler:
        yield pooler


@pytest.fixture
async def pooled(pooler: Pooler) -> AsyncIterator[Database]:
    """A process's database: more connections to the pooler than it has itself."""
    database = patient_database(pooler.dsn)
    await database.start()
    yield database
    await database.close()


@pytest.fixture
async def commands(pooler: Pooler) -> AsyncIterator[Database]:
    """An administrator's command, behind the same pooler."""
    database = patient_database(pooler.dsn, role=None)
    await database.start()
    yield database
    await database.close()


class TestThePooler:
    """It does lose what a pooler loses."""

    async def test_each_transaction_has_another_connection(self, pooler: Pooler) -> None:
        connection: Connection = await asyncpg.connect(pooler.dsn)
        pids = [await connection.fetchval("select pg_backend_pid()") for _ in range(6)]
        async with connection.transaction():
            same = {await connection.fetchval("select pg_backend_pid()") for _ in range(3)}
        await connection.close()
        assert all(pid != other for pid, other in itertools.pairwise(pids))
        assert len(same) == 1

    async def test_what_a_session_set_is_someone_elses(self, pooler: Pooler) -> None:
        connection: Connection = await asyncpg.connect(pooler.dsn)
        await connection.execute("set work_mem = '99MB'")
        seen = {await connection.fetchval("show work_mem") for _ in range(6)}
        await connection.close()
        assert len(seen) == 2

    async def test_start_up_parameters_are_refused(self, pooler: Pooler) -> None:
        with pytest.raises(asyncpg.ProtocolViolationError, match="unsupported startup parameter"):
            await asyncpg.connect(pooler.dsn, server_settings={"jit": "off"})

    async def test_prepared_statements_follow_their_client(self, pooler: Pooler) -> None:
        connection: Connection = await asyncpg.connect(pooler.dsn)
        statements = [await connection.prepare(f"select $1::int + {n}") for n in range(9)]
        for number in range(4):
            assert [await statement.fetchval(number) for statement in statements] == [
                number + n for n in range(9)
            ]
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.fetchval("select 1 / $1::int", 0)
        await connection.close()


class TestProcesses:
    async def test_they_send_nothing_at_the_start_and_have_every_default(
        self, pooled: Database, pooler: Pooler
    ) -> None:
        async with pooled.connection() as connection:
            for _ in range(6):  # on each of the pooler's connections
                row = await connection.fetchrow(
                    "select current_user::text as role, current_setting('enable_seqscan') as plans,"
                    " current_setting('idle_in_transaction_session_timeout') as idle"
                )
                assert row is not None
                assert tuple(row) == ("evpower_app", "off", "30s")
        assert pooler.refused == []

    async def test_money_moves_right_over_few_connections(
        self, pooled: Database, owner: Connection
    ) -> None:
        scenario = Scenario(owner)
        clients = [await scenario.client() for _ in range(6)]
        payments = [await scenario.payment(client, 10) for client in clients for _ in range(5)]

        async def credit(payment: int) -> None:
            async with pooled.transaction() as connection:
                await wallet.credit(connection, payment)

        await asyncio.gather(*(credit(payment) for payment in [*payments, *payments]))
        assert [await scenario.money(client) for client in clients] == [(50, 0, 0)] * 6

    async def test_a_rolled_back_or_cancelled_transaction_leaves_nothing_behind(
        self, pooled: Database, client_id: UUID
    ) -> None:
        rename = "update identity.clients set name = 'X' where id = $1"

        async def fails() -> None:
            async with pooled.transaction() as connection:
                await connection.execute(rename, client_id)
                raise ZeroDivisionError

        async def is_cancelled() -> None:
            async with pooled.transaction() as connection:
                await connection.execute(rename, client_id)
                await connection.execute("select pg_sleep(60)", timeout=0.2)

        with pytest.raises(ZeroDivisionError):
            await fails()
        with pytest.raises(Unavailable):
            await is_cancelled()
        async with pooled.connection() as connection:
            for _ in range(6):
                name = "select name from identity.clients where id = $1"
                assert await connection.fetchval(name, client_id) is None

    async def test_a_login_without_its_defaults_is_refused_with_the_reason(
        self, server: Server
    ) -> None:
        name = f"t_{uuid4().hex[:12]}"
        await server.command(f"create database {name} owner evpower")
        try:
            await migrate(server.owner_dsn(name))
            await server.command(f"alter role evpower in database {name} reset all")
            async with Pooler(server.owner_dsn(name)) as pooler:
                with pytest.raises(Unavailable) as refused:
                    await Database.open(pooler.dsn)
            assert refused.value.code == "database_not_migrated"
            assert "act as evpower, not as evpower_app" in refused.value.cause
            assert "evpower" not in refused.value.detail
        finally:
            await server.command(f"drop database {name} with (force)")


class TestCommands:
    async def test_their_transactions_act_as_the_login_and_no_other_does(
        self, commands: Database, pooled: Database
    ) -> None:
        for _ in range(4):
            async with commands.transaction() as connection:
                assert await connection.fetchval("select current_user") == "evpower"
                async with connection.transaction():
                    assert await connection.fetchval("select current_user") == "evpower"
            async with commands.connection() as connection:
                assert await connection.fetchval("select current_user") == "evpower_app"
                async with connection.transaction():
                    assert await connection.fetchval("select current_user") == "evpower"
            async with pooled.connection() as connection:
                assert await connection.fetchval("select current_user") == "evpower_app"

    async def test_one_of_two_runs_at_once_is_refused(
        self, commands: Database, pooled: Database
    ) -> None:
        async with moving_store.migration_lock(commands):
            for _ in range(3):  # others use the pooler's other connections meanwhile
                async with pooled.transaction() as connection:
                    await connection.execute("select from identity.clients")
                with pytest.raises(RowRefused, match="another process"):
                    async with moving_store.migration_lock(commands):
                        raise AssertionError
        async with moving_store.migration_lock(commands):
            pass

    async def test_two_rotations_at_once_are_one_after_the_other(self, pooled: Database) -> None:
        supabase = Supabase()
        url = "https://evpower.example/hook"
        await asyncio.gather(*(sync.rotate_secret(pooled, supabase, url) for _ in range(3)))
        assert supabase.most_at_once == 1
        async with pooled.connection() as connection:
            open_ended = "select secret from sync.webhook_secrets where not_after is null"
            assert [row["secret"] for row in await connection.fetch(open_ended)] == [supabase.holds]

    async def test_a_refused_rotation_lets_the_next_one_in(self, pooled: Database) -> None:
        supabase = Supabase(refuses=True)
        with pytest.raises(TargetRefuses):
            await sync.rotate_secret(pooled, supabase, "https://evpower.example/hook")
        supabase.refuses = False
        await sync.rotate_secret(pooled, supabase, "https://evpower.example/hook")

    async def test_migrate_wants_postgresql_itself(self, pooler: Pooler) -> None:
        with pytest.raises(MigrationError, match="connect to PostgreSQL directly"):
            await migrate(pooler.dsn)

    async def test_doctor_finds_everything_well(self, pooler: Pooler, server: Server) -> None:
        await server.set_login_defaults(
            pooler.dsn.rsplit("/", 1)[1], lock_timeout="3s", statement_timeout="15s"
        )
        async with Pooler(server.owner_dsn(pooler.dsn.rsplit("/", 1)[1])) as fresh:
            findings = await look_at_database(fresh.dsn)
        assert [finding.name for finding in findings if not finding.ok] == []
        assert findings[0].detail.endswith("through a pooler")


class Supabase:
    """Holds the secret of the last call; counts how many are under way."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.now = self.most_at_once = 0
        self.holds = ""

    async def call(self, function: str, body: bytes) -> object:
        assert function == "evpower_webhook_configure"
        if self.refuses:
            raise TargetRefuses("not now")
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        for _ in range(5):
            await asyncio.sleep(0)
        self.holds = json.loads(body)["payload"]["secret"]
        self.now -= 1
        return {"pg_net": True, "kept_in": "table"}


class TestTheCause:
    """PostgreSQL's own words reach operators, never callers."""

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (("evpower:", "not_here:"), "28P01: password authentication failed"),
            (("/t_", "/not_"), "3D000: database"),
            (("@127.0.0.1:", "@127.0.0.1:1"), "Connect"),
        ],
    )
    async def test_of_a_refused_connection(
        self, dsn: str, change: tuple[str, str], says: str
    ) -> None:
        wrong = dsn.replace(*change)
        if says == "Connect":
            wrong = "postgresql://evpower:x@127.0.0.1:1/evpower"
        database = patient_database(wrong)
        await database.start()
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                with pytest.raises(Unavailable) as refused:
                    async with database.connection():
                        raise AssertionError
        await database.close()
        assert (refused.value.code, refused.value.detail) == (
            "database_unavailable", "the database does not answer",
        )  # fmt: skip
        assert says in refused.value.cause
        assert says in refused.value.for_operators
        assert [(line["event"], line["cause"]) for line in logs] == [
            ("database_unavailable", refused.value.cause)
        ]

    async def test_of_a_parameter_the_pooler_refuses(self, pooler: Pooler) -> None:
        database = patient_database(f"{pooler.dsn}?search_path=public")
        await database.start()
        with pytest.raises(Unavailable) as refused:
            async with database.connection():
                raise AssertionError
        await database.close()
        assert refused.value.cause == "08P01: unsupported startup parameter: search_path"

    async def test_of_a_lock_not_had(self, dsn: str, owner: Connection, client_id: UUID) -> None:
        name = dsn.rsplit("/", 1)[1]
        await owner.execute(f"alter role evpower in database {name} set lock_timeout = '10ms'")
        database = patient_database(dsn)
        await database.start()
        async with owner.transaction():
            await owner.execute("select from identity.clients where id = $1 for update", client_id)
            with structlog.testing.capture_logs() as logs, pytest.raises(Unavailable) as busy:
                async with database.transaction() as connection:
                    await connection.execute("update identity.clients set name = 'X'")
        await database.close()
        assert (busy.value.code, busy.value.detail) == ("database_busy", "the database is busy")
        assert busy.value.cause.startswith("55P03: ")
        assert [(line["event"], line["cause"]) for line in logs] == [
            ("database_busy", busy.value.cause)
        ]
