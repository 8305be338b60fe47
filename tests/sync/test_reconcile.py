"""Scheduled runs: when they start, that each runs once, continues after a stop, and repairs."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from prometheus_client import REGISTRY

from evpower.config import Settings
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.loops import Round
from evpower.sync import Relay, Rpc, SupabaseRpc, TargetRefuses, TargetUnavailable
from evpower.sync import status as sync_status
from evpower.sync.reconciliation.compare_page import WaitBetweenPages
from evpower.sync.reconciliation.scheduler import LEASE_S, ReconciliationScheduler, next_at
from tests.sync.checking import Calls, drift_rows, empty, give_users, keys, past_every_guard
from tests.sync.conftest import rpc_to
from tests.sync.scenario import Scenario, Target, by_hand, versions
from tests.waiting import WAIT_LIMIT_S, until

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
pytestmark = pytest.mark.parametrize("target", ["fresh_project"], indirect=True)


@pytest.fixture(autouse=True)
async def no_one(there: Connection) -> None:
    await empty(there)


class HandClock:
    """A clock that a test moves, at most a day ahead of the database's."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def rpc(http: httpx.AsyncClient, target: Target) -> SupabaseRpc:
    return rpc_to(http, target)


@pytest.fixture
def calls(rpc: SupabaseRpc) -> Calls:
    return Calls(rpc)


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


class Workers:
    """Processes that may run the comparisons."""

    def __init__(self, db: Database, settings: Settings, clock: HandClock) -> None:
        self.db = db
        self.settings = settings
        self.clock = clock

    def scheduler(
        self,
        rpc: Rpc,
        *,
        batch: int = 10,
        clock: Clock | None = None,
        pause: WaitBetweenPages = at_once,
    ) -> ReconciliationScheduler:
        return ReconciliationScheduler(
            self.db,
            rpc,
            self.settings,
            clock or self.clock,
            batch=batch,
            pause=pause,
        )

    async def until_carried(self, _: float) -> None:
        """As long as a relay beside it takes, however slow this machine is."""
        async with self.db.connection() as connection:
            pending = "select count(*) from sync.pending"
            await until(lambda: _is_none(connection, pending), "an outbox entry stays pending")

    async def due(self, rpc: Rpc) -> None:
        """The turns are planned, and it is a day later."""
        assert await self.scheduler(rpc).run_due() is None
        self.clock.move(hours=24)
        async with self.db.transaction() as connection:  # the hourly one is not looked at here
            await connection.execute(
                "update sync.run_leases set due_at = null where kind = 'recent'"
            )


@pytest.fixture
def workers(db: Database, settings: Settings, clock: HandClock) -> Workers:
    settings.check_recent_s = 0
    return Workers(db, settings, clock)


async def people(scenario: Scenario, relay: Relay, there: Connection, count: int) -> None:
    clients = await scenario.clients(count)
    await give_users(scenario, there)
    await scenario.top_up_everyone(clients, 2)
    await relay.drain()


@pytest.mark.parametrize(
    ("at", "now", "expected"),
    [
        ("22:00", NOON, NOON.replace(hour=22)),
        ("11:59", NOON, NOON.replace(day=21, hour=11, minute=59)),
        ("12:00", NOON, NOON.replace(day=21)),
        ("", NOON, None),
    ],
)
def test_night_is_when_the_operator_says(at: str, now: datetime, expected: datetime) -> None:
    assert next_at(at, now) == expected


async def test_everything_is_compared_each_night_and_drift_is_repaired(
    workers: Workers,
    rpc: SupabaseRpc,
    scenario: Scenario,
    relay: Relay,
    there: Connection,
    db: Database,
) -> None:
    await people(scenario, relay, there, 25)
    await workers.due(rpc)
    wrong = {row["id"] for row in await there.fetch("select id from clients order by id limit 3")}
    async with by_hand(there):
        await there.execute(
            "update public.clients set balance = 7 where id::text = any ($1)", list(keys(wrong))
        )
    before = _repaired()
    stop = asyncio.Event()
    carrying = asyncio.create_task(relay.run(stop))
    leased = await workers.scheduler(rpc, pause=workers.until_carried).run_due()
    stop.set()
    await carrying
    assert leased is not None
    assert leased.result is not None
    assert (leased.kind, leased.result.clients, leased.result.differ) == ("full", 25, 3)
    assert (leased.result.closed, leased.result.equal) == (3, True)
    assert _repaired() - before == 3
    assert await drift_rows(db) == {}
    assert set(await drift_rows(db, repaired=True)) == {("client", key) for key in keys(wrong)}
    assert await workers.scheduler(rpc).run_due() is None  # not again before the next night
    workers.clock.move(hours=24)
    assert await workers.scheduler(rpc).run_due() is not None


async def test_it_only_looks_where_it_may_not_repair(
    workers: Workers,
    rpc: SupabaseRpc,
    scenario: Scenario,
    relay: Relay,
    there: Connection,
    db: Database,
) -> None:
    workers.settings.check_repair = False
    await people(scenario, relay, there, 3)
    await workers.due(rpc)
    async with by_hand(there):
        await there.execute("update public.clients set balance = 7")
    leased = await workers.scheduler(rpc).run_due()
    assert leased is not None
    assert leased.result is not None
    assert (leased.result.differ, leased.result.closed) == (3, 0)
    assert await scenario.pending() == 0
    async with db.connection() as connection:
        now = await sync_status(connection)
    assert now.drift == 3
    last = {run.kind: run for run in now.runs}["full"]
    assert (last.counts["drift"], last.counts["client"], last.error) == (3, 3, None)
    assert last.finished_at == workers.clock.now
    assert _sample("evpower_sync_check_success_timestamp_seconds", kind="full") == (
        workers.clock.now.timestamp()
    )


async def test_what_is_only_there_and_what_is_ahead_is_left_to_an_operator(
    workers: Workers, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, there: Connection
) -> None:
    await people(scenario, relay, there, 2)
    await workers.due(rpc)
    ahead = await there.fetchval("select id from public.clients limit 1")
    async with past_every_guard(there):
        await there.execute(
            "insert into public.transactions"
            " (client_id, version, type, amount, balance_before, balance_after)"
            f" values ('{ahead}', 3, 'topup', 5, 21, 26)"
        )
    leased = await workers.scheduler(rpc).run_due()
    assert leased is not None
    assert leased.result is not None
    assert [(difference.kind, difference.key) for difference in leased.result.drift] == [
        ("ahead", str(ahead))
    ]
    assert not leased.result.equal
    assert await scenario.pending() == 0
    assert await versions(there, ahead) == [1, 2, 3]


async def test_two_workers_run_it_once(
    workers: Workers, calls: Calls, scenario: Scenario, relay: Relay, there: Connection
) -> None:
    await people(scenario, relay, there, 25)
    await workers.due(calls)
    leased_runs = await asyncio.gather(*(workers.scheduler(calls).run_due() for _ in range(4)))
    results = [leased.result for leased in leased_runs if leased is not None]
    assert [result.clients for result in results if result is not None] == [25]
    assert calls.calls_with(b'"topic":"clients","ids"') == 3  # 25 clients, 10 a page
    assert await scenario.db.fetchval("select count(*) from sync.runs") == 1


async def test_killed_between_pages_it_is_carried_on_by_another(
    workers: Workers,
    rpc: SupabaseRpc,
    scenario: Scenario,
    relay: Relay,
    there: Connection,
    db: Database,
) -> None:
    await people(scenario, relay, there, 45)
    await workers.due(rpc)
    async with by_hand(there):
        await there.execute("update public.clients set balance = 7")
    workers.settings.check_repair = False
    first = Calls(rpc)
    first.gate = asyncio.Event()
    first.gate.set()
    killed = asyncio.create_task(workers.scheduler(first).run_due())
    await first.reached(b'"topic":"clients"', 4)  # in the middle of the clients
    first.gate.clear()
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    row = await scenario.db.fetchrow("select * from sync.runs")
    assert row is not None
    assert (row["stage"], row["finished_at"]) == (2, None)
    reached = row["after"]
    assert reached is not None
    second = Calls(rpc)
    assert await workers.scheduler(second).run_due() is None  # its lease lives
    workers.clock.move(seconds=LEASE_S + 1)
    leased = await workers.scheduler(second).run_due()
    assert leased is not None
    assert leased.result is not None
    assert (leased.run_id, leased.result.clients, leased.result.differ) == (row["id"], 45, 45)
    assert second.calls_with(b'"topic":"people"') == 0  # that was done
    compared = sum(b'"chunk"' in body and b'"clients"' in body for _, body in second.bodies)
    done = await scenario.db.fetchval(
        "select count(*) from identity.clients where id <= $1::uuid", reached
    )
    assert compared == -(-(45 - done) // 10)
    assert len(await drift_rows(db)) == 45


async def test_a_process_that_lost_its_lease_stores_nothing(
    workers: Workers, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, there: Connection
) -> None:
    await people(scenario, relay, there, 25)
    await workers.due(rpc)
    slow = Calls(rpc)
    slow.gate = asyncio.Event()
    hanging = asyncio.create_task(workers.scheduler(slow).run_due())
    await slow.reached(b"", 1)
    workers.clock.move(seconds=LEASE_S + 1)
    leased = await workers.scheduler(rpc).run_due()
    slow.gate.set()
    late = await hanging
    assert leased is not None
    assert leased.result is not None
    assert leased.result.clients == 25
    assert late is not None
    assert (late.result, late.postponed) == (None, "lease lost")
    assert len(slow.bodies) == 1


@pytest.mark.parametrize("error", [TargetUnavailable("HTTP 503"), TargetRefuses("HTTP 401")])
async def test_supabase_failing_in_the_middle_is_waited_for(
    error: Exception,
    workers: Workers,
    calls: Calls,
    scenario: Scenario,
    relay: Relay,
    there: Connection,
) -> None:
    await people(scenario, relay, there, 45)
    await workers.due(calls)
    calls.failure, calls.fail_from = error, 9
    worker = workers.scheduler(calls)
    leased = await worker.run_due()
    assert leased is not None
    assert (leased.result, leased.postponed) == (None, str(error))
    assert await worker.run_due() is None  # not asked again at once
    (waiting,) = (await sync_status(scenario.db)).runs
    assert (waiting.kind, waiting.error, waiting.finished_at) == ("full", str(error), None)
    calls.fail_from = None
    workers.clock.move(minutes=11)
    requests = len(calls.bodies)
    leased = await worker.run_due()
    assert leased is not None
    assert leased.result is not None
    assert (leased.result.users, leased.result.clients, leased.result.drift) == (45, 45, ())
    assert len(calls.bodies) - requests < 24 - 8 + 2  # from where it stood
    assert await scenario.db.fetchval("select error from sync.runs") is None


async def test_no_one_is_asked_while_the_relay_knows_it_is_down(
    workers: Workers, calls: Calls, scenario: Scenario, relay: Relay, there: Connection
) -> None:
    await people(scenario, relay, there, 2)
    await workers.due(calls)
    await scenario.db.execute(
        "insert into sync.targets (name, state, error) values ('supabase', 'down', 'refused')"
        " on conflict (name) do update set state = 'down', error = 'refused'"
    )
    await scenario.top_up((await scenario.clients(1))[0], 5)
    leased = await workers.scheduler(calls).run_due()
    assert leased is not None
    assert (leased.postponed, calls.bodies) == ("refused", [])
    await scenario.db.execute("update sync.targets set state = 'up', error = null")
    workers.clock.move(minutes=2)
    leased = await workers.scheduler(calls).run_due()
    assert leased is not None
    assert leased.result is not None


async def test_slow_answer_makes_the_pages_smaller(
    workers: Workers, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, there: Connection
) -> None:
    await people(scenario, relay, there, 130)
    await workers.due(rpc)

    class Slow(Calls):
        async def call(self, function: str, body: bytes) -> object:
            if body.count(b"-") > 4 * 60:
                raise TargetUnavailable(f"{function}: HTTP 500 57014 canceling statement")
            return await super().call(function, body)

    leased = await workers.scheduler(Slow(rpc), batch=120).run_due()
    assert leased is not None
    assert leased.result is not None
    assert (leased.result.clients, leased.result.drift) == (130, ())


async def test_stopped_process_gives_its_turn_back_at_once(
    workers: Workers, calls: Calls, scenario: Scenario, relay: Relay, there: Connection
) -> None:
    await people(scenario, relay, there, 25)
    await workers.due(calls)
    stop = asyncio.Event()
    stop.set()
    leased = await workers.scheduler(calls).run_due(Round(stop))
    assert leased is not None
    assert (leased.postponed, calls.bodies) == ("stopped", [])
    leased = await workers.scheduler(calls).run_due()
    assert leased is not None
    assert leased.result is not None


async def test_what_changed_lately_is_compared_each_hour(
    workers: Workers, calls: Calls, scenario: Scenario, relay: Relay, there: Connection
) -> None:
    workers.settings.check_at = ""
    workers.settings.check_recent_s = 3600
    await people(scenario, relay, there, 30)
    client = (await scenario.clients(1))[0]
    session = await scenario.session(client, cost_minor=5)
    await give_users(scenario, there)
    await relay.drain()
    async with past_every_guard(scenario.db):
        for table in ("identity.clients", "wallet.wallets", "charging.sessions"):
            await scenario.db.execute(f"update {table} set updated_at = now() - interval '30 days'")
        await scenario.db.execute(
            "update wallet.transactions set created_at = now() - interval '30 days'"
        )
    assert await workers.scheduler(calls).run_due() is None
    workers.clock.move(hours=1)
    leased = await workers.scheduler(calls).run_due()
    assert leased is not None
    assert leased.result is not None
    assert (leased.kind, leased.result.users, leased.result.clients, leased.result.sessions) == (
        "recent",
        0,
        0,
        0,
    )
    await scenario.top_up(client, 400)
    async with past_every_guard(scenario.db):
        await scenario.db.execute(
            "update charging.sessions set updated_at = now() where id = $1", session
        )
    await relay.drain()
    async with by_hand(there):
        await there.execute("update public.clients set balance = balance + 1")
        await there.execute("update public.charging_sessions set amount = 9, total_cost = 9")
    workers.clock.move(hours=1)
    leased = await workers.scheduler(calls).run_due()
    assert leased is not None
    assert leased.result is not None
    assert {difference.key for difference in leased.result.drift} == keys([client, session])
    assert (leased.result.clients, leased.result.sessions) == (1, 1)
    assert calls.calls_with(b'"short"') == 0  # the other side has no "lately"


async def test_hot_check_closes_only_what_it_looked_at(
    workers: Workers,
    rpc: SupabaseRpc,
    scenario: Scenario,
    relay: Relay,
    there: Connection,
    db: Database,
) -> None:
    workers.settings.check_at = ""
    workers.settings.check_recent_s = 3600
    recent, cold = await scenario.clients(2)
    await give_users(scenario, there)
    await relay.drain()
    async with past_every_guard(scenario.db):
        for table, key in (("identity.clients", "id"), ("wallet.wallets", "client_id")):
            await scenario.db.execute(
                f"update {table} set updated_at = now() - interval '30 days' where {key} = $1", cold
            )
        await scenario.db.execute(
            "insert into sync.drift (topic, key, right_side, action)"
            " select 'client', id::text, 'evpower', 'balance differs' from identity.clients"
        )
    await workers.scheduler(rpc).run_due()
    workers.clock.move(hours=1)
    leased = await workers.scheduler(rpc).run_due()
    assert leased is not None
    assert leased.result is not None
    assert set(await drift_rows(db)) == {("client", str(cold))}
    assert set(await drift_rows(db, repaired=True)) == {("client", str(recent))}


async def test_the_loop_ends_when_stopped(workers: Workers, rpc: SupabaseRpc) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(workers.scheduler(rpc).run(stop))
    await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(running, WAIT_LIMIT_S)


async def _is_none(connection: Connection, count: str) -> bool:
    return await connection.fetchval(count) == 0


def _sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def _repaired() -> float:
    return _sample("evpower_sync_drift_closed_total", kind="balance", run="full")
