"""Status words of a project in use: neither written over nor spendable until mapped."""

from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import httpx
import pytest

from evpower.client_migration import OpeningBalances, import_opening_balances
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, Forbidden, Invalid
from evpower.identity import require_active, unblock_client
from evpower.sync import (
    Puller,
    Relay,
    SupabaseRpc,
    apply_status_word,
    find_words,
    map_word,
    replay_parked,
)
from evpower.sync.inbound.store_status_words import Meaning
from tests.sync.conftest import rpc_to
from tests.sync.pulling import DrainsAll, Driver, Supabase, client_here, counted, emptied
from tests.sync.scenario import Scenario, Target, by_hand

MEANINGS: list[Meaning] = ["active", "blocked", "inactive"]


@pytest.fixture
async def supabase(target: Target, there: Connection, http: httpx.AsyncClient) -> Supabase:
    await emptied(target, there)
    return Supabase(target, there, http)


@pytest.fixture
def rpc(http: httpx.AsyncClient, supabase: Supabase) -> SupabaseRpc:
    return rpc_to(http, supabase.target)


@pytest.fixture
def puller(db: Database, rpc: SupabaseRpc, supabase: Supabase, settings: Settings) -> Puller:
    return DrainsAll(db, rpc, settings, supabase.psql)


@pytest.fixture
def relay(db: Database, rpc: SupabaseRpc, settings: Settings) -> Relay:
    return Relay(db, rpc, settings, utc_now)


@pytest.fixture
def mapped(db: Database, rpc: SupabaseRpc) -> Callable[[str, Meaning], Awaitable[int]]:
    async def work(word: str, meaning: Meaning) -> int:
        async with db.transaction() as connection:
            await map_word(connection, word, meaning, operator="aida", reason="as before")
        return await apply_status_word(db, rpc, word)

    return work


async def row_of_before(
    supabase: Supabase, status: str | None, *, balance: str = "0", client: UUID | None = None
) -> UUID:
    """A row that some older backend wrote."""
    client = client or uuid4()
    if supabase.target.older and status is not None:  # its status is an enum
        await supabase.psql.execute(f"alter type client_status add value if not exists '{status}'")
    async with by_hand(supabase.psql):
        await supabase.psql.execute(
            "insert into public.clients (id, balance, status) values ($1, $2::text::numeric, $3)",
            supabase.key(client),
            balance,
            status,
        )
    return client


async def status_there(supabase: Supabase, client: UUID) -> str:
    row = await supabase.row(client)
    assert row is not None
    return str(row["status"])


async def may_spend(scenario: Scenario, client: UUID) -> bool:
    try:
        await require_active(scenario.db, client)
    except Forbidden as refusal:
        return refusal.code not in {"client_blocked", "client_deleted"}
    return True


async def brought_over(db: Database, rpc: SupabaseRpc, *, dry_run: bool = False) -> OpeningBalances:
    return await import_opening_balances(
        db, rpc, operator="aida", reason="cut-over", clock=utc_now, dry_run=dry_run
    )


@pytest.mark.parametrize("word", ["suspended", "Blocked", "blocked ", "banned", "x" * 60])
async def test_an_unmapped_word_stays_and_its_client_spends_nothing(
    supabase: Supabase, puller: Puller, relay: Relay, scenario: Scenario, word: str
) -> None:
    driver = await supabase.sign_up()
    await row_of_before(supabase, word, client=driver.id)
    before = counted("status_unmapped")
    await puller.drain()
    await relay.drain()
    assert await status_there(supabase, driver.id) == word
    assert not await may_spend(scenario, driver.id)
    assert counted("status_unmapped") == before + 1
    await puller.drain()
    assert counted("status_unmapped") == before + 1
    parked: str = await scenario.db.fetchval("select last_error from sync.pending")
    assert "status_unmapped" in parked


@pytest.mark.parametrize("word", ["active", "", " ", None])
async def test_what_is_no_word_of_the_project_waits_for_nothing(
    supabase: Supabase, puller: Puller, relay: Relay, scenario: Scenario, word: str | None
) -> None:
    await supabase.psql.execute("alter table public.clients alter status drop not null")
    try:
        client = await row_of_before(supabase, word)
        await puller.drain()
        assert (await relay.drain()).refused == 0
        assert await status_there(supabase, client) == "active"
        assert await may_spend(scenario, client)
    finally:
        await supabase.psql.execute("delete from public.clients where status is null")
        await supabase.psql.execute("alter table public.clients alter status set not null")


@pytest.mark.parametrize("meaning", MEANINGS)
async def test_a_mapped_word_is_handled_and_then_written_over(
    supabase: Supabase,
    puller: Puller,
    relay: Relay,
    scenario: Scenario,
    mapped: Callable[[str, Meaning], Awaitable[int]],
    meaning: Meaning,
) -> None:
    client = await row_of_before(supabase, "suspended")
    await puller.drain()
    await relay.drain()
    assert await mapped("suspended", meaning) == 1
    assert (await relay.drain()).refused == 0
    assert await status_there(supabase, client) == meaning
    assert await may_spend(scenario, client) == (meaning == "active")
    here = await client_here(scenario.db, client)
    assert here["status"] == ("blocked" if meaning == "blocked" else "active")
    assert here["unmapped_status"] is None


async def test_a_word_mapped_before_it_is_met_needs_nothing_more(
    supabase: Supabase,
    puller: Puller,
    relay: Relay,
    scenario: Scenario,
    mapped: Callable[[str, Meaning], Awaitable[int]],
) -> None:
    await mapped("suspended", "blocked")
    client = await row_of_before(supabase, "suspended")
    await puller.drain()
    assert (await relay.drain()).refused == 0
    assert await status_there(supabase, client) == "blocked"
    assert not await may_spend(scenario, client)


async def test_the_relay_before_the_puller_writes_nothing_over(
    supabase: Supabase,
    puller: Puller,
    relay: Relay,
    scenario: Scenario,
    mapped: Callable[[str, Meaning], Awaitable[int]],
) -> None:
    """EvPower met the client by a token first; even a mapped word waits for its handling."""
    await mapped("suspended", "blocked")
    client = await row_of_before(supabase, "suspended")
    await scenario.db.execute(
        "insert into identity.clients (id, origin) values ($1, 'token')", client
    )
    assert (await relay.drain()).refused == 1
    assert await status_there(supabase, client) == "suspended"
    await puller.drain()
    assert (await relay.drain()).refused == 0
    assert await status_there(supabase, client) == "blocked"
    assert not await may_spend(scenario, client)


async def test_a_word_is_handled_once_however_often_it_is_met(
    supabase: Supabase,
    puller: Puller,
    scenario: Scenario,
    db: Database,
    mapped: Callable[[str, Meaning], Awaitable[int]],
) -> None:
    """An operator's decision is younger than the word, which stays there until the relay comes."""
    await mapped("suspended", "blocked")
    client = await row_of_before(supabase, "suspended")
    await puller.drain()
    assert not await may_spend(scenario, client)
    async with db.transaction() as connection:
        await unblock_client(connection, client, actor="aida", reason="paid back")
    await supabase.update_row(client, name="Aida")
    await puller.drain()
    assert (await client_here(scenario.db, client))["name"] == "Aida"
    assert await may_spend(scenario, client)


async def test_another_word_than_the_handled_one_is_not_written_over(
    supabase: Supabase,
    puller: Puller,
    relay: Relay,
    scenario: Scenario,
    db: Database,
    mapped: Callable[[str, Meaning], Awaitable[int]],
) -> None:
    await mapped("paused", "active")
    client = await row_of_before(supabase, "paused")
    await row_of_before(supabase, "fraud")
    await puller.drain()
    await supabase.psql.execute(
        "update public.clients set status = 'fraud' where id = $1", supabase.key(client)
    )
    async with db.transaction() as connection:
        await replay_parked(connection)
    assert (await relay.drain()).refused == 2
    assert await status_there(supabase, client) == "fraud"
    await puller.drain()
    assert not await may_spend(scenario, client)


async def test_once_written_a_row_s_later_words_are_written_over(
    supabase: Supabase, puller: Puller, relay: Relay, scenario: Scenario
) -> None:
    driver: Driver = await supabase.sign_up()
    await puller.drain()
    await relay.drain()
    await supabase.update_row(driver.id, status="suspended")
    await puller.drain()
    assert (await relay.drain()).refused == 0
    assert await status_there(supabase, driver.id) == "active"
    assert await may_spend(scenario, driver.id)


async def test_a_word_that_the_project_itself_takes_back_waits_no_more(
    supabase: Supabase, puller: Puller, relay: Relay, scenario: Scenario, db: Database
) -> None:
    client = await row_of_before(supabase, "suspended")
    await puller.drain()
    await relay.drain()
    await supabase.update_row(client, status="active")
    await puller.drain()
    assert await may_spend(scenario, client)
    async with db.transaction() as connection:
        await replay_parked(connection)
    assert (await relay.drain()).refused == 0


class TestMapping:
    async def test_words_are_found_with_their_counts(
        self, supabase: Supabase, db: Database, rpc: SupabaseRpc
    ) -> None:
        for word in ("suspended", "suspended", "banned", "active", "blocked"):
            await row_of_before(supabase, word)
        words = await find_words(db, rpc)
        assert [(word.word, word.clients, word.mapped) for word in words] == [
            ("suspended", 2, None),
            ("banned", 1, None),
        ]

    async def test_a_word_is_mapped_once_with_a_line_in_the_audit(
        self,
        db: Database,
        scenario: Scenario,
        supabase: Supabase,  # noqa: ARG002 - the project is empty
        mapped: Callable[[str, Meaning], Awaitable[int]],
    ) -> None:
        await mapped("suspended", "blocked")
        await mapped("suspended", "blocked")
        with pytest.raises(Conflict):
            await mapped("suspended", "active")
        rows = await scenario.db.fetch("select actor, action, subject from identity.audit")
        assert [tuple(row) for row in rows] == [
            ("aida", "sync.map_status", "status:suspended"),
        ]
        with pytest.raises(Invalid):
            await mapped("blocked", "active")
        async with db.connection() as connection:
            assert await connection.fetchval("select count(*) from sync.status_words") == 1


class TestImport:
    async def test_no_balance_of_an_unmapped_word_is_imported(
        self,
        supabase: Supabase,
        db: Database,
        rpc: SupabaseRpc,
        puller: Puller,
        relay: Relay,
        scenario: Scenario,
        mapped: Callable[[str, Meaning], Awaitable[int]],
    ) -> None:
        good = await row_of_before(supabase, "active", balance="10.00")
        client = await row_of_before(supabase, "suspended", balance="500.00")
        look = await brought_over(db, rpc, dry_run=True)
        assert [(row.id, "suspended" in row.reason) for row in look.skipped] == [
            (str(client), True)
        ]
        done = await brought_over(db, rpc)
        assert (done.imported, len(done.skipped)) == (1, 1)
        await puller.drain()
        await relay.drain()
        assert not await may_spend(scenario, client)
        assert await may_spend(scenario, good)
        assert await status_there(supabase, client) == "suspended"
        await mapped("suspended", "blocked")
        again = await brought_over(db, rpc)
        assert (again.imported, again.skipped) == (1, ())
        await puller.drain()
        assert (await relay.drain()).refused == 0
        assert await status_there(supabase, client) == "blocked"
        assert not await may_spend(scenario, client)

    async def test_a_mapped_word_is_handled_before_its_balance_is_there(
        self,
        supabase: Supabase,
        db: Database,
        rpc: SupabaseRpc,
        scenario: Scenario,
        relay: Relay,
        mapped: Callable[[str, Meaning], Awaitable[int]],
    ) -> None:
        await mapped("banned", "blocked")
        client = await row_of_before(supabase, "banned", balance="500.00")
        done = await brought_over(db, rpc)
        assert (done.imported, done.blocked) == (1, 1)
        assert not await may_spend(scenario, client)
        assert (await relay.drain()).refused == 0
        assert await status_there(supabase, client) == "blocked"
