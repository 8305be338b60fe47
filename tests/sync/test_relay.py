"""The relay sends every change to Supabase once, whatever fails on the way."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prometheus_client import REGISTRY

from evpower.config import Settings
from evpower.devstack.ports import free_port
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.identity import CLIENT_CHANGED
from evpower.sync import (
    Relay,
    SupabaseRpc,
    TargetRefuses,
    TargetUnavailable,
    metrics,
    replay,
    replay_parked,
    status,
)
from evpower.sync.model import Finish
from evpower.sync.outbound import store
from tests.faults.proxy import NEVER_ENDING, Fault, FaultProxy
from tests.sync.conftest import rpc_to
from tests.sync.scenario import Scenario, Target, balance, versions
from tests.waiting import are_alone, deadlocks, until


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
async def proxy(fresh_project: Target) -> AsyncGenerator[FaultProxy]:
    # A port that no other server gets while the proxy is closed for a moment.
    async with FaultProxy(fresh_project.local.url, port=free_port()) as running:
        yield running


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def through_proxy(
    db: Database, http: httpx.AsyncClient, fresh_project: Target, proxy: FaultProxy,
    settings: Settings, clock: HandClock,
    there_fresh: Connection,  # noqa: ARG001 - empties the project first
) -> Relay:  # fmt: skip
    """A relay whose calls pass the proxy."""
    rpc = rpc_to(http, fresh_project, proxy.url)
    return Relay(db, rpc, settings, clock, jitter=lambda: 0.0)


@contextmanager
def impatient(relay: Relay) -> Iterator[None]:
    """Its calls are given up when no answer comes for a moment."""
    rpc = relay._rpc
    assert isinstance(rpc, SupabaseRpc)
    usual_s, rpc._timeout_s = rpc._timeout_s, 0.5
    yield
    rpc._timeout_s = usual_s


async def due_now(scenario: Scenario) -> None:
    await scenario.db.execute("update sync.pending set next_at = now(), leased_until = null")


async def test_top_up_and_charge_reach_supabase(
    relay: Relay, scenario: Scenario, there: Connection
) -> None:
    client = await scenario.client(name="Айгүл")
    (invoice,) = await scenario.top_up(client, 50_000)
    session = await scenario.session(client, cost_minor=12_345, energy_wh=10_001)
    done = await relay.drain()
    assert (done.keys, done.transactions, done.refused) == (2, 2, 0)
    assert await scenario.pending() == 0
    row = await there.fetchrow("select * from public.clients")
    assert row is not None
    assert (float(row["balance"]), float(row["held"]), row["currency"]) == (376.55, 0.0, "KGS")
    assert (row["name"], str(row["status"]), row["balance_version"]) == ("Айгүл", "active", 2)
    rows = await there.fetch("select * from public.transactions order by version")
    assert [
        (r["type"], float(r["amount"]), float(r["balance_before"]), float(r["balance_after"]))
        for r in rows
    ] == [
        ("topup", 500.0, 0.0, 500.0),
        ("charge", -123.45, 500.0, 376.55),
    ]
    assert (rows[0]["invoice_id"], rows[1]["session_id"]) == (invoice, session)
    session_row = await there.fetchrow("select * from public.charging_sessions")
    assert session_row is not None
    assert (str(session_row["id"]), str(session_row["user_id"]), str(session_row["status"])) == (
        str(session),
        str(client),
        "stopped",
    )
    assert (
        float(session_row["energy"]),
        float(session_row["amount"]),
        session_row["connector_id"],
    ) == (10.001, 123.45, 1)
    assert session_row["stop_time"] == session_row["end_time"]


async def test_ids_and_times_are_the_same_on_both_sides(
    relay: Relay, scenario: Scenario, there: Connection
) -> None:
    client = await scenario.client()
    await scenario.top_up(client, 1, 2, 3)
    await relay.drain()
    ours = await scenario.db.fetch(
        "select id::text, version, created_at, event_at from wallet.transactions order by version"
    )
    theirs = await there.fetch(
        "select id::text, version, created_at, event_at from public.transactions order by version"
    )
    assert [tuple(row) for row in ours] == [tuple(row) for row in theirs]


async def test_new_client_is_there_before_any_money(
    relay: Relay, scenario: Scenario, there: Connection
) -> None:
    client = await scenario.client()
    await relay.drain()
    assert await balance(there, client) == "0.00"


async def test_hold_is_seen_as_held(relay: Relay, scenario: Scenario, there: Connection) -> None:
    client = await scenario.client()
    await scenario.top_up(client, 50_000)
    session = uuid4()
    await scenario.db.execute(
        "insert into charging.sessions (id, client_id, station_id, connector_id, state, source)"
        " values ($1, $2, 'CHR-BGK-001', 2, 'requested', 'evpower')",
        session,
        client,
    )
    await scenario.db.fetchrow("select wallet.hold($1, 20000)", session)
    await relay.drain()
    row = await there.fetchrow("select balance, held from public.clients")
    assert row is not None
    assert (float(row["balance"]), float(row["held"])) == (500, 200)
    await scenario.db.fetchrow("select wallet.release_hold($1)", session)
    await relay.drain()
    assert float(await there.fetchval("select held from public.clients")) == 0


async def test_session_brings_the_client_supabase_lacks(
    relay: Relay, scenario: Scenario, there: Connection
) -> None:
    client = await scenario.client()
    session = await scenario.session(client, charge=False)
    await scenario.db.execute("delete from sync.pending where topic = 'client'")
    assert (await relay.drain()).refused == 0
    assert await there.fetchval("select id::text from public.charging_sessions") == str(session)
    assert await balance(there, client) == "0.00"


async def test_blocked_and_closed_clients_are_sent(
    relay: Relay, scenario: Scenario, there: Connection
) -> None:
    client = await scenario.client()
    for ours, theirs in (
        ("active", "active"),
        ("blocked", "blocked"),
        ("active", "active"),
        ("closed", "inactive"),
    ):
        await scenario.db.execute("update identity.clients set status = $1", ours)
        await relay.drain()
        assert await there.fetchval("select status::text from public.clients") == theirs
    assert await scenario.pending() == 0
    assert client


async def test_backlog_of_one_client_goes_in_chunks(
    db: Database, http: httpx.AsyncClient, target: Target, settings: Settings, scenario: Scenario,
    there: Connection,
) -> None:  # fmt: skip
    client = await scenario.client()
    await scenario.top_up_everyone([client], 5000, 100)
    small = settings.model_copy(update={"relay_transactions": 700})
    relay = Relay(db, rpc_to(http, target), small, utc_now)
    first = await relay.run_once()
    assert first.transactions == 700
    assert await balance(there, client) == "700.00"
    assert await scenario.pending() == 1
    done = await relay.drain()
    assert done.transactions == 4300
    assert done.calls == 7
    assert await balance(there, client) == "5000.00"
    assert await versions(there, client) == list(range(1, 5001))
    assert await scenario.pending() == 0


class Twin:
    """Passes calls on when its other has been called too."""

    def __init__(self, rpc: SupabaseRpc) -> None:
        self.rpc = rpc
        self.called = asyncio.Event()
        self.other = self

    async def call(self, function: str, body: bytes) -> object:
        self.called.set()
        await self.other.called.wait()
        return await self.rpc.call(function, body)


async def test_two_relays_share_the_work(
    db: Database,
    http: httpx.AsyncClient,
    target: Target,
    scenario: Scenario,
    there: Connection,
    settings: Settings,
) -> None:
    clients = await scenario.clients(200)
    await scenario.top_up_everyone(clients, 5)
    small = settings.model_copy(update={"relay_batch": 20})
    first, other = Twin(rpc_to(http, target)), Twin(rpc_to(http, target))
    first.other, other.other = other, first
    relays = [Relay(db, rpc, small, utc_now) for rpc in (first, other)]
    done = await asyncio.gather(*(relay.drain() for relay in relays))
    assert all(delivered.keys for delivered in done)
    assert sum(delivered.keys for delivered in done) == 200
    assert sum(delivered.transactions for delivered in done) == 1000
    assert await there.fetchval("select count(*) from public.transactions") == 1000
    assert (
        await there.fetchval("select sum(balance)::numeric from public.clients")
        == 200 * 5 * 1050 // 100
    )
    assert await scenario.pending() == 0


async def test_change_during_a_call_is_not_lost(
    through_proxy: Relay, proxy: FaultProxy, scenario: Scenario, there_fresh: Connection
) -> None:
    client = await scenario.client()
    await scenario.top_up(client, 1000)
    proxy.gate = asyncio.Event()
    call = asyncio.create_task(through_proxy.run_once())
    await until(lambda: proxy.requests == 1)
    await scenario.top_up(client, 500)
    proxy.gate.set()
    await call
    assert await scenario.pending() == 1
    await through_proxy.run_once()
    assert await balance(there_fresh, client) == "15.00"
    assert await versions(there_fresh, client) == [1, 2]
    assert await scenario.pending() == 0


async def test_key_that_a_request_is_changing_is_finished_later(
    through_proxy: Relay, proxy: FaultProxy, scenario: Scenario, there_fresh: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    client = await scenario.client()
    await scenario.top_up(client, 1000)
    left: list[int] = []
    is_free = asyncio.Event()
    finish = store.finish

    async def third_when_it_is_free(connection: Connection, ends: Sequence[Finish]) -> list[Finish]:
        """However long the request takes: the relay tries for a second or so."""
        if len(left) == 2:
            await is_free.wait()
        busy = await finish(connection, ends)
        left.append(len(busy))
        return busy

    monkeypatch.setattr(store, "finish", third_when_it_is_free)
    proxy.gate = asyncio.Event()
    call = asyncio.create_task(through_proxy.run_once())
    await until(lambda: proxy.requests == 1)
    async with scenario.db.transaction():
        await scenario.db.execute(
            "update sync.pending set generation = nextval('sync.pending_generation')"
        )
        proxy.gate.set()
        await until(lambda: len(left) == 2)
    is_free.set()
    await call
    assert left == [1, 1, 0]
    row = await scenario.db.fetchrow("select leased_until, parked_at from sync.pending")
    assert row is not None
    assert row["leased_until"] is None
    assert await balance(there_fresh, client) == "10.00"


class TestFaults:
    """Supabase fails; no change is lost and none happens twice."""

    @pytest.mark.parametrize(
        "fault",
        [
            Fault.REFUSE,
            Fault.ERROR_500,
            Fault.ERROR_503,
            Fault.HANG,
            Fault.DROP_BEFORE,
            Fault.DROP_AFTER,
            Fault.SLOW_RESPONSE,
            Fault.GARBAGE,
        ],
    )
    async def test_recovers_and_is_equal(
        self, fault: Fault, through_proxy: Relay, proxy: FaultProxy, clock: HandClock,
        scenario: Scenario,
        there_fresh: Connection, db: Database,
    ) -> None:  # fmt: skip
        client = await scenario.client()
        await scenario.top_up(client, 1000, 2000)
        session = await scenario.session(client, cost_minor=500)
        proxy.plan = [fault]
        with impatient(through_proxy) if fault in NEVER_ENDING else nullcontext():
            failed = await through_proxy.run_once()
        await until(lambda: not proxy.plan)  # given up, it may not have been read yet
        assert (failed.keys, failed.retried) == (0, 2)
        async with db.connection() as connection:
            seen = await status(connection)
        assert (seen.pending, seen.parked, seen.target) == (2, 0, "down")
        assert seen.last_error
        await due_now(scenario)
        clock.move(60)
        await through_proxy.drain()
        assert await scenario.pending() == 0
        assert await balance(there_fresh, client) == "25.00"
        assert await versions(there_fresh, client) == [1, 2, 3]
        assert await there_fresh.fetchval("select id from public.charging_sessions") == session
        async with db.connection() as connection:
            assert (await status(connection)).target == "up"

    async def test_dead_target_costs_one_probe_at_a_time(
        self, through_proxy: Relay, proxy: FaultProxy, clock: HandClock, scenario: Scenario
    ) -> None:
        await scenario.clients(300)
        proxy.fault = Fault.ERROR_503
        await through_proxy.drain()
        first = proxy.requests
        assert first <= 3  # those under way together
        for _ in range(20):
            await due_now(scenario)
            await through_proxy.drain()
        assert proxy.requests == first
        for probes in range(1, 4):
            clock.move(60)
            await due_now(scenario)
            await through_proxy.drain()
            assert proxy.requests == first + probes

    async def test_slow_supabase_gets_everything(
        self, through_proxy: Relay, proxy: FaultProxy, scenario: Scenario, there_fresh: Connection
    ) -> None:
        proxy.delay_s = 0.3
        clients = await scenario.clients(50)
        await scenario.top_up_everyone(clients, 2)
        await through_proxy.drain()
        assert await there_fresh.fetchval("select count(*) from public.transactions") == 100
        assert await scenario.pending() == 0

    async def test_a_wrong_key_is_logged_and_nothing_is_parked(
        self,
        db: Database,
        http: httpx.AsyncClient,
        fresh_project: Target,
        settings: Settings,
        scenario: Scenario,
    ) -> None:
        await scenario.client()
        rpc = rpc_to(http, fresh_project, secret_key="sb_secret_of_another_project_00000000")
        relay = Relay(db, rpc, settings, utc_now)
        await relay.run_once()
        async with db.connection() as connection:
            seen = await status(connection)
        assert (seen.target, seen.pending, seen.parked) == ("misconfigured", 1, 0)
        assert seen.target_error is not None
        assert "401" in seen.target_error
        with pytest.raises(TargetRefuses):
            await rpc.call("evpower_digest", b'{"payload": {}}')

    async def test_missing_function_is_a_configuration_error(
        self, http: httpx.AsyncClient, fresh_project: Target
    ) -> None:
        with pytest.raises(TargetRefuses):
            await rpc_to(http, fresh_project).call("evpower_nothing", b"{}")

    async def test_no_one_there_is_unavailable(self, http: httpx.AsyncClient) -> None:
        with pytest.raises(TargetUnavailable):
            await SupabaseRpc(http, "http://127.0.0.1:9", "sb_secret_x").call(
                "evpower_apply", b"{}"
            )

    async def test_running_relay_survives_an_outage(
        self, db: Database, http: httpx.AsyncClient, fresh_project: Target, proxy: FaultProxy,
        settings: Settings, scenario: Scenario, there_fresh: Connection,
    ) -> None:  # fmt: skip
        relay = Relay(db, rpc_to(http, fresh_project, proxy.url), settings, utc_now)
        stop = asyncio.Event()
        running = asyncio.create_task(relay.run(stop))
        client = await scenario.client()
        await scenario.top_up(client, 1000)
        await until(lambda: _has(there_fresh, client, "10.00"))
        await proxy.stop()
        await scenario.top_up(client, 500)
        others = await scenario.clients(100)
        await until(lambda: _target_is(db, "down"))
        assert await scenario.pending() == 101
        await proxy.start()
        await until(lambda: _has(there_fresh, client, "15.00"))
        await until(lambda: _empty(scenario))
        stop.set()
        await running
        assert await there_fresh.fetchval("select count(*) from public.clients") == 1 + len(others)


async def _target_is(db: Database, state: str) -> bool:
    async with db.connection() as connection:
        return (await status(connection)).target == state


async def _has(there: Connection, client: UUID, som: str) -> bool:
    return await balance(there, client) == som


async def _empty(scenario: Scenario) -> bool:
    return await scenario.pending() == 0


async def test_poisoned_key_parks_and_the_others_flow(
    relay: Relay, scenario: Scenario, there: Connection, db: Database, target: Target
) -> None:
    if target.older:
        await there.execute(
            "insert into public.clients (id, email) values ('someone', 'taken@example.kg')"
        )
    else:
        await there.execute(
            "alter table public.clients"
            " add constraint no_poison check (email <> 'taken@example.kg')"
        )
    try:
        good, bad = await scenario.clients(20), await scenario.client(email="taken@example.kg")
        await scenario.top_up_everyone([*good, bad], 2)
        done = await relay.drain()
        assert (done.keys, done.refused) == (20, 1)
        assert await versions(there, bad) == []
        async with db.connection() as connection:
            seen = await status(connection)
            assert (seen.pending, seen.parked) == (0, 1)
            assert seen.parked_keys[0].key == str(bad)
            assert seen.parked_keys[0].reason.startswith("23")
            assert "example.kg" not in seen.parked_keys[0].reason
        assert (await relay.drain()).calls == 0
    finally:
        await there.execute("alter table public.clients drop constraint if exists no_poison")
        await there.execute("delete from public.clients where id::text = 'someone'")
    async with db.transaction() as connection:
        assert await replay_parked(connection) == 1
    await relay.drain()
    assert await balance(there, bad) == "21.00"
    assert await scenario.pending() == 0


async def test_new_change_unparks_its_key(
    relay: Relay, scenario: Scenario, there: Connection
) -> None:
    client = await scenario.client()
    await scenario.db.execute("update sync.pending set parked_at = now()")
    assert (await relay.drain()).calls == 0
    await scenario.top_up(client, 700)
    await relay.drain()
    assert await balance(there, client) == "7.00"


async def test_supabase_restored_from_a_backup_is_filled_again(
    relay: Relay, scenario: Scenario, there: Connection, target: Target
) -> None:
    client = await scenario.client()
    await scenario.top_up(client, 100, 200, 300)
    await relay.drain()
    await target.empty(there)
    await scenario.top_up(client, 400)
    await relay.drain()
    assert await versions(there, client) == [1, 2, 3, 4]
    assert await balance(there, client) == "10.00"


async def test_replay_sends_one_client_whole(
    relay: Relay, scenario: Scenario, there: Connection, db: Database
) -> None:
    client = await scenario.client()
    await scenario.top_up(client, 100, 200)
    await relay.drain()
    await there.execute("update public.transactions set amount = 999 where version = 1")
    async with db.transaction() as connection:
        await replay(connection, "client", client)
    assert (await relay.drain()).transactions == 2
    assert float(await there.fetchval("select sum(amount) from public.transactions")) == 3


async def test_lease_of_a_dead_relay_ends(
    db: Database, http: httpx.AsyncClient, fresh_project: Target, settings: Settings,
    scenario: Scenario,
    there_fresh: Connection,
) -> None:  # fmt: skip
    client = await scenario.client()
    relay = Relay(db, rpc_to(http, fresh_project), settings, utc_now)
    await scenario.db.execute("update sync.pending set leased_until = now() + interval '1 hour'")
    assert (await relay.drain()).calls == 0
    await scenario.db.execute("update sync.pending set leased_until = now() - interval '1 second'")
    await relay.drain()
    assert await balance(there_fresh, client) == "0.00"


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """Note every return of a statement of the store, by how many rows it gave."""
    seen: list[int] = []
    real = getattr(store, name)

    async def counted(*args: Any, **kwargs: Any) -> Any:
        rows = await real(*args, **kwargs)
        seen.append(len(rows))
        return rows

    monkeypatch.setattr(store, name, counted)
    return seen


async def test_bus_wakes_the_relay(
    db: Database, http: httpx.AsyncClient, fresh_project: Target, settings: Settings,
    scenario: Scenario,
    there_fresh: Connection, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    claims = count_calls(monkeypatch, "claim")
    monkeypatch.setattr("evpower.sync.outbound.relay._LINGER_S", 3600.0)
    bus = LocalBus()
    relay = Relay(db, rpc_to(http, fresh_project), settings, utc_now, bus)
    running = asyncio.create_task(relay.run(asyncio.Event()))
    await until(lambda: claims)  # nothing was there: it sleeps for an hour now
    client = await scenario.client()
    bus.publish(CLIENT_CHANGED, client)
    await until(lambda: _has(there_fresh, client, "0.00"))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_lag_is_seen_from_another_process(
    relay_fresh: Relay, scenario: Scenario, db: Database
) -> None:
    clients = await scenario.clients(150)
    await scenario.top_up_everyone(clients, 1)
    await relay_fresh.drain()
    async with db.connection() as connection:
        seen = await status(connection)
    assert (seen.lag.keys, seen.lag.transactions) == (150, 150)
    assert seen.lag.p50_ms is not None
    assert seen.lag.p99_ms is not None
    assert 0 <= seen.lag.p50_ms <= seen.lag.p99_ms < 900_000  # the window it is measured in
    assert seen.oldest_s is None


async def test_a_planned_wait_is_no_lag_and_a_repeated_attempt_is(
    relay_fresh: Relay, scenario: Scenario, db: Database, owner: Connection
) -> None:
    await scenario.client()
    for attempts, oldest_s, lag_ms in ((0, range(30), range(30_000)), (1, range(45, 75), None)):
        # As progress is enqueued: changed 45 s ago, due in 15 s.
        await owner.execute(
            "update sync.pending set since = now() - interval '45 s', attempts = $1,"
            " next_at = now() + interval '15 s'",
            attempts,
        )
        async with db.connection() as connection:
            planned = await status(connection)
        assert planned.oldest_s is not None
        assert int(planned.oldest_s) in oldest_s
        await owner.execute("update sync.pending set next_at = now()")
        assert (await relay_fresh.drain()).keys == 1
        async with db.connection() as connection:
            after = await status(connection)
        assert after.lag.p99_ms is not None
        assert after.lag.p99_ms in (lag_ms or range(45_000, 75_000))
        await scenario.client()


async def test_target_gauge_is_right_where_no_relay_runs(
    through_proxy: Relay, scenario: Scenario, db: Database, proxy: FaultProxy
) -> None:
    async def gauge_says() -> float | None:
        metrics.TARGET_UP.set(-1)  # another process: nothing was measured here
        async with db.connection() as connection:
            await status(connection)
        return REGISTRY.get_sample_value("evpower_sync_target_up")

    assert await gauge_says() == 0
    await scenario.client()
    await through_proxy.drain()
    assert await gauge_says() == 1
    proxy.fault = Fault.REFUSE
    await scenario.client()
    await through_proxy.drain()
    assert await gauge_says() == 0


async def test_changes_and_relays_at_once_never_deadlock(
    db: Database, http: httpx.AsyncClient, fresh_project: Target, settings: Settings,
    scenario: Scenario,
    there_fresh: Connection, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Neither here, where a relay would only try again, nor in Supabase, which would say so."""
    errors: list[str | None] = []
    finish = store.finish

    async def recording(connection: Connection, ends: Sequence[Finish]) -> list[Finish]:
        errors.extend(end.error for end in ends)
        return await finish(connection, ends)

    monkeypatch.setattr(store, "finish", recording)
    before = await deadlocks(scenario.db)
    clients = await scenario.clients(30)
    stop = asyncio.Event()
    small = settings.model_copy(update={"relay_batch": 10})
    relays = [Relay(db, rpc_to(http, fresh_project), small, utc_now) for _ in range(2)]
    running = [asyncio.create_task(relay.run(stop)) for relay in relays]
    for number in range(40):
        await scenario.top_up_everyone(clients[number % 7 :], 1, 100)
    await until(lambda: _empty(scenario))
    stop.set()
    await asyncio.gather(*running)
    ours = await scenario.db.fetchval("select sum(balance_minor)::bigint from wallet.wallets")
    theirs = await there_fresh.fetchval("select sum(balance * 100)::bigint from public.clients")
    assert ours == theirs
    assert set(errors) == {None}
    await db.close()  # a connection counts its deadlocks when it ends
    await until(lambda: are_alone(scenario.db))
    assert await deadlocks(scenario.db) == before


async def test_station_unknown_to_an_older_project_parks_its_session_alone(
    db: Database,
    http: httpx.AsyncClient,
    older_project: Target,
    settings: Settings,
    scenario: Scenario,
) -> None:
    client = await scenario.client()
    await scenario.top_up(client, 100_000)
    await scenario.session(client)
    bad = await scenario.session(client, station="CHR-UNKNOWN")
    async with older_project.psql() as there:
        await older_project.empty(there)
        done = await Relay(db, rpc_to(http, older_project), settings, utc_now).drain()
        assert done.refused == 1
        assert await there.fetchval("select count(*) from public.charging_sessions") == 1
    parked = await scenario.db.fetchrow("select * from sync.pending")
    assert parked is not None
    assert parked["key"] == bad
    assert parked["last_error"].startswith("23503: ")


async def test_a_session_without_its_client_s_row_brings_the_client_whole(
    relay: Relay, scenario: Scenario, there: Connection
) -> None:
    client = await scenario.client()
    await scenario.top_up(client, 500, 20_000)
    await relay.drain()
    await there.execute("delete from public.clients")
    session = await scenario.session(client)
    await scenario.db.execute("delete from sync.pending where topic = 'client'")
    await relay.drain()
    assert await versions(there, client) == [1, 2, 3]
    assert await balance(there, client) == "81.55"
    brought = await there.fetchval("select id::text from public.charging_sessions")
    assert brought == str(session)
    assert await scenario.pending() == 0


async def test_a_session_waits_parked_for_a_client_that_supabase_refuses(
    relay: Relay, scenario: Scenario, there: Connection, db: Database
) -> None:
    client = await scenario.client()
    await scenario.top_up(client, 20_000)
    await relay.drain()
    await there.execute("delete from public.clients")
    await scenario.session(client)
    await scenario.db.execute(
        "update sync.pending set parked_at = now(), last_error = '23503' where topic = 'client'"
    )
    await relay.drain()
    assert await there.fetchval("select count(*) from public.clients") == 0
    why = "select last_error from sync.pending where topic = 'session' and parked_at is not null"
    assert await scenario.db.fetchval(why) == "Supabase refuses its client"
    async with db.transaction() as connection:
        assert await replay_parked(connection) == 2
    await relay.drain()
    assert await there.fetchval("select count(*) from public.charging_sessions") == 1
    assert await scenario.pending() == 0
