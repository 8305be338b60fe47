"""A ban in Supabase Auth keeps a client from spending while it runs, beside any block."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest

from evpower import identity
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Forbidden
from evpower.identity import require_active
from evpower.sync import Puller, Relay
from tests.charging.money import top_up
from tests.sync.checking import compare
from tests.sync.conftest import rpc_to
from tests.sync.pulling import DrainsAll, Driver, Supabase, client_here, counted, emptied
from tests.sync.scenario import Scenario, Target

Rest = Callable[[], Awaitable[None]]


@pytest.fixture
async def supabase(target: Target, there: Connection, http: httpx.AsyncClient) -> Supabase:
    await emptied(target, there)
    return Supabase(target, there, http)


@pytest.fixture
def at_rest(db: Database, http: httpx.AsyncClient, supabase: Supabase, settings: Settings) -> Rest:
    """Everything was carried both ways, and nothing of it was refused."""
    puller: Puller = DrainsAll(db, rpc_to(http, supabase.target), settings, supabase.psql)
    relay = Relay(db, rpc_to(http, supabase.target), settings, utc_now)

    async def carried() -> None:
        for _ in range(2):
            assert (await puller.drain()).error is None
            assert (await relay.drain()).refused == 0

    return carried


@pytest.fixture
async def driver(supabase: Supabase, at_rest: Rest) -> Driver:
    """Known to both sides."""
    signed_up = await supabase.sign_up(name="Aida")
    await at_rest()
    return signed_up


async def banned_until(scenario: Scenario, client: UUID) -> datetime | None:
    return (await client_here(scenario.db, client))["banned_until"]


async def hold(scenario: Scenario, client: UUID) -> str:
    """What a hold for a new session of the client comes to."""
    session: UUID = await scenario.db.fetchval(
        "insert into charging.sessions (id, client_id, station_id, connector_id, state, source)"
        " values (gen_random_uuid(), $1, 'CHR-BGK-001', 1, 'requested', 'evpower') returning id",
        client,
    )
    outcome: str = await scenario.db.fetchval("select outcome from wallet.hold($1, 100)", session)
    return outcome


async def test_a_banned_client_spends_nothing_until_the_ban_is_lifted(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, driver: Driver
) -> None:
    await top_up(scenario.db, driver.id, 10_000)
    before = counted("ban_changed")
    await supabase.change_user(driver.id, ban_duration="24h")
    await at_rest()
    with pytest.raises(Forbidden, match="banned") as refused:
        await require_active(scenario.db, driver.id)
    assert refused.value.code == "client_blocked"
    assert await hold(scenario, driver.id) == "closed"
    await supabase.change_user(driver.id, ban_duration="none")
    await at_rest()
    assert await banned_until(scenario, driver.id) is None
    assert (await require_active(scenario.db, driver.id)).status == "active"
    assert counted("ban_changed") == before + 2


async def test_a_ban_ends_by_its_time(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, driver: Driver
) -> None:
    await supabase.change_user(driver.id, ban_duration="1h")
    await at_rest()
    until = await banned_until(scenario, driver.id)
    assert until is not None
    later = until + timedelta(seconds=1)
    assert await require_active(scenario.db, driver.id, clock=lambda: later)
    with pytest.raises(Forbidden):
        await require_active(scenario.db, driver.id, clock=lambda: until - timedelta(seconds=1))


async def test_a_ban_that_has_ended_holds_no_money_back(
    at_rest: Rest, scenario: Scenario, driver: Driver
) -> None:
    await at_rest()
    await top_up(scenario.db, driver.id, 10_000)
    await scenario.db.execute(
        "update identity.clients set banned_until = now() - interval '1 s' where id = $1", driver.id
    )
    assert await hold(scenario, driver.id) == "held"


async def test_unblocking_leaves_the_ban_and_lifting_the_ban_leaves_the_block(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, db: Database, driver: Driver
) -> None:
    async def act(act: Callable[..., Awaitable[object]]) -> None:
        async with db.transaction() as connection:
            await act(connection, driver.id, actor="aida", reason="chargeback")

    await act(identity.block_client)
    await supabase.change_user(driver.id, ban_duration="24h")
    await at_rest()
    await act(identity.unblock_client)
    with pytest.raises(Forbidden, match="banned"):
        await require_active(scenario.db, driver.id)
    await act(identity.block_client)
    await supabase.change_user(driver.id, ban_duration="none")
    await at_rest()
    with pytest.raises(Forbidden, match="blocked"):
        await require_active(scenario.db, driver.id)


async def test_a_user_banned_before_evpower_knew_is_banned_here(
    supabase: Supabase, at_rest: Rest, scenario: Scenario
) -> None:
    driver = await supabase.sign_up(name="Banned")
    await supabase.change_user(driver.id, ban_duration="24h")
    await at_rest()
    assert await banned_until(scenario, driver.id) is not None


async def test_a_ban_without_an_end_is_far_away(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, driver: Driver
) -> None:
    await supabase.psql.execute(
        "update auth.users set banned_until = 'infinity' where id = $1", driver.id
    )
    await at_rest()
    until = await banned_until(scenario, driver.id)
    assert until is not None
    assert until > datetime(9000, 1, 1, tzinfo=UTC)


async def test_the_comparison_finds_a_ban_that_was_missed(
    supabase: Supabase,
    at_rest: Rest,
    scenario: Scenario,
    db: Database,
    http: httpx.AsyncClient,
    driver: Driver,
) -> None:
    await at_rest()
    await supabase.psql.execute("set session_replication_role = replica")
    await supabase.psql.execute(
        "update auth.users set banned_until = now() + interval '1 day' where id = $1", driver.id
    )
    await supabase.psql.execute("reset session_replication_role")
    result = await compare(db, rpc_to(http, supabase.target), repair=True)
    assert [(difference.kind, difference.fields) for difference in result.drift] == [
        ("profile", ("banned_until",))
    ]
    assert await banned_until(scenario, driver.id) is not None
