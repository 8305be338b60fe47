"""EvPower owns the status: it overwrites any other, except a deletion request."""

from collections.abc import Awaitable, Callable

import httpx
import pytest

from evpower import identity
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.sync import Puller, Relay
from tests.sync.checking import compare
from tests.sync.conftest import rpc_to
from tests.sync.pulling import DrainsAll, Driver, Supabase, client_here, counted, emptied
from tests.sync.scenario import Scenario, Target

Rest = Callable[[], Awaitable[None]]
UNKNOWN = "suspended"  # the older project knows this word, EvPower does not


@pytest.fixture
async def supabase(target: Target, there: Connection, http: httpx.AsyncClient) -> Supabase:
    await emptied(target, there)
    return Supabase(target, there, http)


@pytest.fixture
def puller(db: Database, http: httpx.AsyncClient, supabase: Supabase, settings: Settings) -> Puller:
    return DrainsAll(db, rpc_to(http, supabase.target), settings, supabase.psql)


@pytest.fixture
def at_rest(
    db: Database, http: httpx.AsyncClient, supabase: Supabase, settings: Settings, puller: Puller
) -> Rest:
    """Everything was carried both ways, and nothing of it was refused."""
    relay = Relay(db, rpc_to(http, supabase.target), settings, utc_now)

    async def carried() -> None:
        for _ in range(3):
            assert (await puller.drain()).error is None
            assert (await relay.drain()).refused == 0

    return carried


@pytest.fixture
async def driver(supabase: Supabase, at_rest: Rest) -> Driver:
    """Known to both sides."""
    signed_up = await supabase.sign_up(name="Aida")
    await at_rest()
    return signed_up


async def status_there(supabase: Supabase, driver: Driver) -> str:
    row = await supabase.row(driver.id)
    assert row is not None
    return str(row["status"])


async def deletion_is_requested(scenario: Scenario, driver: Driver) -> bool:
    return (await client_here(scenario.db, driver.id))["deletion_requested_at"] is not None


async def test_a_word_evpower_does_not_know_is_written_over(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, driver: Driver
) -> None:
    before = counted("status_differs")
    await supabase.update_row(driver.id, status=UNKNOWN)
    await at_rest()
    assert await status_there(supabase, driver) == "active"
    assert (await client_here(scenario.db, driver.id))["status"] == "active"
    assert counted("status_differs") == before + 1


async def test_no_word_at_all_is_written_over(
    supabase: Supabase, at_rest: Rest, driver: Driver
) -> None:
    await supabase.psql.execute("alter table public.clients alter status drop not null")
    try:
        await supabase.update_row(driver.id, status=None)
        await at_rest()
        assert await status_there(supabase, driver) == "active"
    finally:
        await supabase.psql.execute("alter table public.clients alter status set not null")


@pytest.mark.parametrize("word", [UNKNOWN, "blocked"])
async def test_a_deletion_request_outlives_a_word_written_over_it(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, driver: Driver, word: str
) -> None:
    """Only `active` withdraws the request; Supabase can't block a client or add a status word."""
    await supabase.update_row(driver.id, status="inactive")
    await at_rest()
    await supabase.update_row(driver.id, status=word)
    await at_rest()
    assert await deletion_is_requested(scenario, driver)
    assert await status_there(supabase, driver) == "inactive"
    await supabase.update_row(driver.id, name="Looked at again")
    await at_rest()
    assert await deletion_is_requested(scenario, driver)
    await supabase.update_row(driver.id, status="active")
    await at_rest()
    assert not await deletion_is_requested(scenario, driver)


async def test_the_comparison_writes_it_over_as_well(
    supabase: Supabase,
    at_rest: Rest,
    db: Database,
    http: httpx.AsyncClient,
    settings: Settings,
    driver: Driver,
) -> None:
    rpc = rpc_to(http, supabase.target)
    await supabase.psql.execute("set session_replication_role = replica")
    await supabase.update_row(driver.id, status=UNKNOWN)
    await supabase.psql.execute("reset session_replication_role")
    relay = Relay(db, rpc, settings, utc_now)
    result = await compare(db, rpc, repair=True, deliver=relay.drain)
    assert [(difference.topic, difference.kind) for difference in result.drift] == [
        ("client", "status")
    ]
    assert result.equal
    assert await status_there(supabase, driver) == "active"
    await at_rest()
    assert (await compare(db, rpc)).drift == ()


async def test_a_block_reaches_a_project_whose_words_lack_it(
    supabase: Supabase, at_rest: Rest, db: Database, driver: Driver
) -> None:
    """The older project's enum had no such value: the client would be parked, money with it."""
    async with db.transaction() as connection:
        await identity.block_client(connection, driver.id, actor="operator", reason="fraud")
    await at_rest()
    assert await status_there(supabase, driver) == "blocked"


async def test_a_block_outlives_evpower_s_memory_of_the_client(
    supabase: Supabase, puller: Puller, at_rest: Rest, scenario: Scenario
) -> None:
    """EvPower was restored from a backup that is older than the client."""
    driver = await supabase.sign_up()
    await supabase.insert_row(driver.id, name="Aida")
    async with supabase.psql.transaction():
        await supabase.psql.execute("set local evpower.applying = 'on'")
        await supabase.update_row(driver.id, status="blocked", evpower_revision=7)
    await puller.drain()
    assert (await client_here(scenario.db, driver.id))["status"] == "blocked"
    await at_rest()
    assert await status_there(supabase, driver) == "blocked"
