"""What is busy in Supabase waits by itself: everything else is carried, and Supabase is up."""

from collections.abc import AsyncGenerator
from uuid import UUID, uuid4

import pytest

from evpower.config import Settings, problems
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.sync import Relay, SupabaseRpc, TargetUnavailable, status
from evpower.sync.errors import TargetBusy
from tests.sync.changes_log import make_row
from tests.sync.scenario import Scenario, Target, balance


@pytest.fixture
async def other(target: Target) -> AsyncGenerator[Connection]:
    """Another session of the Supabase project, whose transaction a test ends."""
    async with target.psql() as connection:
        yield connection


async def due_now(scenario: Scenario) -> None:
    await scenario.db.execute("update sync.pending set next_at = now() where parked_at is null")


async def test_one_held_row_keeps_no_other_balance_waiting(
    relay: Relay, scenario: Scenario, there: Connection, other: Connection
) -> None:
    locked, *free = await scenario.clients(50)
    await relay.drain()
    async with other.transaction():
        await other.execute(
            "select from public.clients where id::text = $1 for update", str(locked)
        )
        await scenario.top_up_everyone([locked, *free], 2)
        done = await relay.run_once()
        assert (done.keys, done.retried, done.refused) == (len(free), 1, 0)
        for client in free:
            assert await balance(there, client) == "21.00"
        assert (await status(scenario.db)).target == "up"
        assert await scenario.pending() == 1
    await due_now(scenario)
    await relay.drain()
    assert await balance(there, locked) == "21.00"
    assert await scenario.pending() == 0


async def test_a_row_that_is_being_made_is_sent_alone_until_it_is_there(
    relay: Relay, scenario: Scenario, there: Connection, other: Connection
) -> None:
    """The app makes its own row in a transaction that takes its time: it can't be locked yet."""
    locked, *free = await scenario.clients(10)
    transaction = other.transaction()
    await transaction.start()
    await make_row(other, locked)
    await relay.drain()
    assert [await balance(there, client) for client in free] == ["0.00"] * len(free)
    assert await scenario.db.fetchval("select alone from sync.pending where key = $1", locked)
    assert (await status(scenario.db)).target == "up"
    await scenario.top_up_everyone(free, 1)
    await due_now(scenario)
    sent: list[int] = []

    class Counting:
        def __init__(self, rpc: SupabaseRpc) -> None:
            self._rpc = rpc

        async def call(self, function: str, body: bytes) -> object:
            sent.append(body.count(b'"from_version"'))
            return await self._rpc.call(function, body)

    rpc = relay._rpc
    assert isinstance(rpc, SupabaseRpc)
    relay._rpc = Counting(rpc)
    await relay.drain()
    assert sorted(sent) == [1, len(free)]
    assert [await balance(there, client) for client in free] == ["10.50"] * len(free)
    await transaction.commit()
    await due_now(scenario)
    await relay.drain()
    assert await scenario.pending() == 0


class TestTimeOuts:
    """A lock or a statement time-out of one call is no outage."""

    @pytest.mark.parametrize("code", ["57014", "55P03", "40P01"])
    async def test_the_next_call_is_smaller_and_nothing_is_down(
        self, db: Database, scenario: Scenario, settings: Settings, code: str
    ) -> None:
        sizes: list[int] = []

        class TimesOut:
            async def call(self, function: str, body: bytes) -> object:
                sizes.append(body.count(b'"from_version"'))
                if len(sizes) < 4:
                    raise TargetBusy(f"{function}: HTTP 500 {code}")
                return {"keys": []}

        await scenario.clients(64)
        relay = Relay(db, TimesOut(), settings, utc_now, jitter=lambda: 0.0)
        relay._batch = 64
        for _ in range(4):
            await due_now(scenario)
            await relay.run_once()
        assert sizes == [64, 32, 16, 8]
        assert (await status(scenario.db)).target == "up"
        await due_now(scenario)
        await relay.run_once()
        assert sizes[-1] == 16  # and grows again

    async def test_a_dead_supabase_is_still_one(
        self, db: Database, scenario: Scenario, settings: Settings
    ) -> None:
        class Dead:
            async def call(self, function: str, body: bytes) -> object:
                raise TargetUnavailable(f"{function}: {len(body)}")

        await scenario.clients(1)
        await Relay(db, Dead(), settings, utc_now).run_once()
        assert (await status(scenario.db)).target == "down"


@pytest.mark.parametrize(
    ("timeout_s", "lease_s", "named"),
    [
        (8.0, 15.0, "EVPOWER_SUPABASE_TIMEOUT_S"),
        (10.0, 10.0, "EVPOWER_RELAY_LEASE_S"),
        (10.0, 15.0, ""),
    ],
)
def test_a_lease_outlives_a_call_and_a_call_outlives_a_statement(
    timeout_s: float, lease_s: float, named: str
) -> None:
    settings = Settings(
        _env_file=None,  # pyright: ignore[reportCallIssue]
        env="production",
        supabase_timeout_s=timeout_s,
        relay_lease_s=lease_s,
    )
    problem = [line for line in problems(settings) if "TIMEOUT_S" in line]
    assert [line.split()[0] for line in problem] == ([named] if named else [])


class TestClosedClients:
    """A closed account's contacts go from its row before another one needs them."""

    async def _unique(self, there: Connection, target: Target) -> None:
        if not target.older:
            await there.execute("create unique index unique_email on public.clients (email)")
            await there.execute("create unique index unique_phone on public.clients (phone)")

    async def _register(self, scenario: Scenario, email: str, phone: str) -> UUID:
        client = await scenario.client(email=email)
        await scenario.db.execute(
            "update identity.clients set phone = $2 where id = $1", client, phone
        )
        return client

    async def test_registering_again_after_closing_brings_the_new_row(
        self, relay: Relay, scenario: Scenario, there: Connection, target: Target
    ) -> None:
        await self._unique(there, target)
        try:
            email, phone = f"{uuid4().hex}@example.kg", f"+996{uuid4().int % 10**9:09}"
            first = await self._register(scenario, email, phone)
            await scenario.top_up(first, 100)
            await relay.drain()
            await scenario.db.execute(
                "update identity.clients set status = 'closed' where id = $1", first
            )
            second = await self._register(scenario, email, phone)
            await relay.drain()
            row = await there.fetchrow(
                "select email, phone, name from public.clients where id::text = $1", str(first)
            )
            assert row is not None
            assert tuple(row) == (None, None, None)
            assert await balance(there, second) == "0.00"
            assert await scenario.pending() == 0
        finally:
            await there.execute("drop index if exists public.unique_email, public.unique_phone")

    async def test_a_closed_row_that_still_has_the_contact_is_sent_first(
        self, relay: Relay, scenario: Scenario, there: Connection, target: Target
    ) -> None:
        """As it was left by an earlier edition, or by whoever wrote it since."""
        await self._unique(there, target)
        try:
            email, phone = f"{uuid4().hex}@example.kg", f"+996{uuid4().int % 10**9:09}"
            first = await self._register(scenario, email, phone)
            await scenario.db.execute(
                "update identity.clients set status = 'closed' where id = $1", first
            )
            await relay.drain()
            await there.execute(
                "update public.clients set email = $2, phone = $3 where id::text = $1",
                str(first),
                email,
                phone,
            )
            second = await self._register(scenario, email, phone)
            for _ in range(3):
                await relay.drain()
                await due_now(scenario)
            assert await balance(there, second) == "0.00"
            assert await scenario.pending() == 0
        finally:
            await there.execute("drop index if exists public.unique_email, public.unique_phone")

    async def test_a_contact_of_an_open_client_is_still_an_operators_matter(
        self, relay: Relay, scenario: Scenario, there: Connection, target: Target
    ) -> None:
        await self._unique(there, target)
        try:
            email = f"{uuid4().hex}@example.kg"
            await make_row(there, uuid4(), email=email)
            await scenario.client(email=email)
            done = await relay.drain()
            assert done.refused == 1
            error = await scenario.db.fetchval("select last_error from sync.pending")
            assert error.startswith("23505")
        finally:
            await there.execute("drop index if exists public.unique_email, public.unique_phone")


class TestClock:
    """The order of a client's status survives a clock that is turned back."""

    async def _turn_back(self, db: Database, owner: Connection, by: str) -> None:
        """Every statement of the processes finds this clock before PostgreSQL's."""
        await owner.execute(
            "create schema turned;"
            "create function turned.clock_timestamp() returns timestamptz language sql volatile as"
            f" $$ select pg_catalog.clock_timestamp() - interval '{by}' $$;"
            "grant usage on schema turned to evpower_app"
        )
        await owner.execute(
            "do $$ begin execute format('alter role %I in database %I set search_path = turned,"
            " pg_catalog', current_user, current_database()); end $$"
        )
        await db.close()
        await db.start()
        async with db.connection() as connection:
            late = await connection.fetchval(
                "select clock_timestamp() < now() - interval '1 minute'"
            )
            assert late

    async def test_a_block_after_the_step_back_reaches_supabase(
        self, db: Database, owner: Connection, relay: Relay, scenario: Scenario, there: Connection
    ) -> None:
        client = await scenario.client()
        await relay.drain()
        await self._turn_back(db, owner, "1 hour")
        await scenario.db.execute(
            "update identity.clients set status = 'blocked' where id = $1", client
        )
        await relay.drain()
        select = "select status::text from public.clients where id::text = $1"
        assert await there.fetchval(select, str(client)) == "blocked"
        assert await scenario.pending() == 0

    async def test_where_the_last_number_is_not_known_it_is_sent_again_with_force(
        self, db: Database, owner: Connection, relay: Relay, scenario: Scenario, there: Connection
    ) -> None:
        """A crash before the acknowledgement, or a restored backup."""
        client = await scenario.client()
        await scenario.top_up(client, 100)
        await relay.drain()
        await scenario.db.execute("update sync.acknowledged set number = 0")
        await self._turn_back(db, owner, "1 hour")
        await scenario.db.execute(
            "update identity.clients set status = 'blocked' where id = $1", client
        )
        first = await relay.run_once()
        assert (first.stale, first.keys) == (1, 0)
        await relay.drain()
        select = "select status::text from public.clients where id::text = $1"
        assert await there.fetchval(select, str(client)) == "blocked"
        assert await balance(there, client) == "1.00"
        assert await scenario.pending() == 0
