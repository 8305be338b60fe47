"""What every process reads of Supabase's state is what was seen last, whoever saw it."""

# pyright: reportPrivateUsage=false

from collections.abc import Callable

import httpx
import pytest

from evpower.config import Settings
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.loops import Round
from evpower.sync import Puller, Relay, TargetUnavailable, store_status
from evpower.sync.reconciliation import store_leases
from tests.sync.conftest import rpc_to
from tests.sync.pulling import HandClock, Scripted, page
from tests.sync.scenario import Scenario, Target, balance


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def relay_by(
    db: Database, http: httpx.AsyncClient, fresh_project: Target, settings: Settings,
    clock: HandClock,
    there_fresh: Connection,  # noqa: ARG001 - empties the project first
) -> Callable[[], tuple[Relay, Scripted]]:  # fmt: skip
    """Makes relays of processes of their own, with what is answered to each."""

    def make() -> tuple[Relay, Scripted]:
        rpc = Scripted(rpc_to(http, fresh_project))
        return Relay(db, rpc, settings, clock, jitter=lambda: 0.0), rpc

    return make


async def stored(scenario: Scenario, name: str) -> tuple[str, str | None]:
    row = await scenario.db.fetchrow("select state, error from sync.targets where name = $1", name)
    assert row is not None
    return row["state"], row["error"]


async def since(scenario: Scenario, name: str) -> object:
    return await scenario.db.fetchval("select since from sync.targets where name = $1", name)


async def due_now(scenario: Scenario) -> None:
    await scenario.db.execute("update sync.pending set next_at = now(), leased_until = null")


@pytest.fixture
def fails_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes EvPower's database fail as the state is stored the next time."""
    write = store_status.set_target
    failing: list[bool] = []

    async def set_target(
        connection: Connection, name: store_status.TargetName, state: str, error: str | None
    ) -> None:
        if failing:
            failing.clear()
            raise Unavailable("the database is away")
        await write(connection, name, state, error)

    monkeypatch.setattr(store_status, "set_target", set_target)
    return lambda: failing.append(True)


async def test_a_relay_that_sends_ends_what_a_dead_one_stored(
    relay_by: Callable[[], tuple[Relay, Scripted]], scenario: Scenario, clock: HandClock
) -> None:
    living, _ = relay_by()
    client = await scenario.client()
    await living.drain()
    assert await stored(scenario, "supabase") == ("up", None)
    dead, rpc = relay_by()
    rpc.answers["evpower_apply"] = [TargetUnavailable("no way")]
    await scenario.top_up(client, 500)
    await dead.run_once()
    assert await stored(scenario, "supabase") == ("down", "no way")
    clock.move(31)
    await due_now(scenario)
    assert (await living.drain()).keys == 1
    assert await stored(scenario, "supabase") == ("up", None)
    await scenario.client()
    assert await store_leases.target_error(scenario.db) == ""


async def test_the_state_is_stored_at_most_every_30_s_and_by_an_idle_relay_too(
    relay_by: Callable[[], tuple[Relay, Scripted]], scenario: Scenario, clock: HandClock
) -> None:
    relay, _ = relay_by()
    await scenario.client()
    await relay.drain()
    await scenario.db.execute("update sync.targets set state = 'down', error = 'no way'")
    clock.move(20)
    await scenario.client()
    await relay.drain()
    assert await stored(scenario, "supabase") == ("down", "no way")
    clock.move(11)
    await relay._round(Round())  # nothing is due: it stores what its last call saw
    assert await stored(scenario, "supabase") == ("up", None)
    await scenario.db.execute("update sync.targets set state = 'down', error = 'no way'")
    clock.move(31)
    await relay._round(Round())  # it has seen nothing since
    assert await stored(scenario, "supabase") == ("down", "no way")


async def test_what_is_stored_already_is_not_written_again(
    relay_by: Callable[[], tuple[Relay, Scripted]], scenario: Scenario, clock: HandClock
) -> None:
    relay, _ = relay_by()
    await scenario.client()
    await relay.drain()
    version = "select xmin::text from sync.targets where name = 'supabase'"
    first, began = await scenario.db.fetchval(version), await since(scenario, "supabase")
    clock.move(31)
    await scenario.client()
    await relay.drain()
    assert await scenario.db.fetchval(version) == first
    assert await since(scenario, "supabase") == began


async def test_a_clock_that_is_turned_back_delays_nothing(
    relay_by: Callable[[], tuple[Relay, Scripted]], scenario: Scenario, clock: HandClock
) -> None:
    relay, _ = relay_by()
    await scenario.client()
    await relay.drain()
    await scenario.db.execute("update sync.targets set state = 'down', error = 'no way'")
    clock.move(-3600)
    await scenario.client()
    await relay.drain()
    assert await stored(scenario, "supabase") == ("up", None)


async def test_a_recovery_that_could_not_be_stored_is_stored_with_the_next_call(
    relay_by: Callable[[], tuple[Relay, Scripted]], scenario: Scenario, clock: HandClock,
    there_fresh: Connection, fails_once: Callable[[], None],
) -> None:  # fmt: skip
    relay, rpc = relay_by()
    client = await scenario.client()
    rpc.answers["evpower_apply"] = [TargetUnavailable("no way")]
    await relay.run_once()
    assert await stored(scenario, "supabase") == ("down", "no way")
    clock.move(1)
    await due_now(scenario)
    fails_once()
    await relay.run_once()
    assert await balance(there_fresh, client) == "0.00"
    assert await stored(scenario, "supabase") == ("down", "no way")
    await due_now(scenario)
    await relay.run_once()
    assert await stored(scenario, "supabase") == ("up", None)


async def test_a_puller_that_reads_ends_what_a_dead_one_stored(
    db: Database, settings: Settings, scenario: Scenario, clock: HandClock
) -> None:
    living = Puller(db, Scripted(), settings, clock, jitter=lambda: 0.0)
    rpc = Scripted()
    rpc.answers["evpower_changes"] = [TargetUnavailable("no way")]
    dead = Puller(db, rpc, settings, clock, jitter=lambda: 0.0)
    await living.drain()
    assert await stored(scenario, "changes") == ("up", None)
    await dead.drain()
    assert await stored(scenario, "changes") == ("down", "no way")
    await living.drain()
    assert await stored(scenario, "changes") == ("down", "no way")
    clock.move(31)
    await living.drain()
    assert await stored(scenario, "changes") == ("up", None)


async def test_a_puller_s_recovery_that_could_not_be_stored_is_stored_next(
    db: Database, settings: Settings, scenario: Scenario, clock: HandClock,
    fails_once: Callable[[], None],
) -> None:  # fmt: skip
    rpc = Scripted()
    rpc.answers["evpower_changes"] = [TargetUnavailable("no way"), page()]
    puller = Puller(db, rpc, settings, clock, jitter=lambda: 0.0)
    await puller.pull_once()
    clock.move(1)
    fails_once()
    with pytest.raises(Unavailable):
        await puller.pull_once()
    assert await stored(scenario, "changes") == ("down", "no way")
    assert (await puller.pull_once()).error is None
    assert await stored(scenario, "changes") == ("up", None)
