"""What the inbound sync and reconciliation store: nothing for ever, and no contact in clear."""

import re
from uuid import UUID, uuid4

import httpx
import pytest

from evpower import identity
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.sync import Puller, Relay, SupabaseRpc
from evpower.sync.inbound.assign_contacts import assign_free_contacts
from evpower.sync.reconciliation.scheduler import ReconciliationScheduler
from tests.sync.changes_log import rpc as call_function
from tests.sync.changes_log import until_visible
from tests.sync.checking import compare, kinds, past_every_guard
from tests.sync.conftest import rpc_to
from tests.sync.pulling import DrainsAll, HandClock, Scripted, Supabase, client_here, emptied
from tests.sync.scenario import Scenario, Target, by_hand
from tests.sync.test_supabase_schema import _apply, _client


@pytest.fixture
async def supabase(
    fresh_project: Target, there_fresh: Connection, http: httpx.AsyncClient
) -> Supabase:
    await emptied(fresh_project, there_fresh)
    return Supabase(fresh_project, there_fresh, http)


@pytest.fixture
def rpc(http: httpx.AsyncClient, supabase: Supabase) -> SupabaseRpc:
    return rpc_to(http, supabase.target)


@pytest.fixture
def puller(db: Database, rpc: SupabaseRpc, settings: Settings, supabase: Supabase) -> Puller:
    return DrainsAll(db, rpc, settings, supabase.psql)


@pytest.fixture
def relay(db: Database, rpc: SupabaseRpc, settings: Settings) -> Relay:
    return Relay(db, rpc, settings, utc_now)


async def test_drift_says_whose_contacts_differ_and_not_what_they_are(
    supabase: Supabase,
    puller: Puller,
    relay: Relay,
    scenario: Scenario,
    db: Database,
    rpc: SupabaseRpc,
) -> None:
    driver = await supabase.sign_up("aida.asanova@example.kg", phone="+996700112233", name="Aida")
    await puller.drain()
    await relay.drain()
    async with past_every_guard(scenario.db):
        await scenario.db.execute(
            "update identity.clients set email = 'other@example.com', phone = '+996555445566',"
            " name = 'Bermet'"
        )
    result = await compare(db, rpc)
    assert kinds(result) == {str(driver.id): "profile"}
    row = await scenario.db.fetchrow("select fields, ours::text, theirs::text from sync.drift")
    assert row is not None
    assert row["fields"] == ["email", "phone", "name"]
    stored = row["ours"] + row["theirs"] + repr(result.drift)
    assert "o***@example.com" in row["ours"]
    assert "a***@example.kg" in row["theirs"]
    assert "+996***566" in row["ours"]
    assert "+996***233" in row["theirs"]
    for text in ("aida", "asanova", "Aida", "Bermet", "other@", "70011", "55544"):
        assert text not in stored
    assert not re.search(r"\d{7}", re.sub(str(driver.id), "", stored).replace("minor", ""))


async def test_a_block_that_an_operator_lifted_is_no_endless_drift(
    supabase: Supabase,
    puller: Puller,
    relay: Relay,
    db: Database,
    scenario: Scenario,
    rpc: SupabaseRpc,
) -> None:
    """EvPower may not write the row before its balance is imported: its status stays blocked."""
    client = uuid4()
    async with by_hand(supabase.psql):
        await supabase.insert_row(client, status="blocked", balance=250)
    await puller.scan_all()
    async with db.transaction() as connection:
        await identity.unblock_client(connection, client, actor="operator", reason="a mistake")
    assert (await relay.drain()).refused == 1
    result = await compare(db, rpc, repair=True)
    assert [(difference.topic, difference.kind) for difference in result.drift] == [
        ("client", "opening")
    ]
    assert (await client_here(scenario.db, client))["status"] == "active"


async def test_who_is_closed_waits_for_no_contact(
    supabase: Supabase, puller: Puller, scenario: Scenario, db: Database
) -> None:
    """Its holder may never release it: the pending contact would be stored for ever."""
    holder = await supabase.sign_up()
    await supabase.change_user(holder.id, phone="+996555000031", phone_confirm=True)
    await puller.drain()
    second = await supabase.sign_up(phone="+996555000031")
    await puller.drain()
    assert await scenario.db.fetchval("select count(*) from sync.contact_conflicts") == 1
    async with db.transaction() as connection:
        await identity.close_client(connection, second.id, actor="operator", reason="asked")
    assert await assign_free_contacts(db) == []
    assert await scenario.db.fetchval("select count(*) from sync.contact_conflicts") == 0


async def test_all_that_is_old_is_pruned_at_once(db: Database, settings: Settings) -> None:
    """Supabase deletes 20,000 changes a call: more may come in an hour."""
    there = Scripted()
    there.answers["evpower_changes_prune"] = [{"pruned": 20_000}, {"pruned": 20_000}, {"pruned": 7}]
    puller = Puller(db, there, settings, utc_now, jitter=lambda: 0.0)
    async with db.connection() as connection:
        await connection.execute("update sync.cursors set xid = '700', seq = 1")
    there.answers["evpower_changes_prune"].append({"pruned": 0})
    assert await puller.prune() == 40_007
    assert there.calls.count("evpower_changes_prune") == 4


async def test_runs_of_long_ago_are_forgotten_where_no_night_is_set(
    db: Database, scenario: Scenario, rpc: SupabaseRpc, settings: Settings
) -> None:
    """The hourly run alone stores 24 of them a day."""
    long_ago = "from unnest(array[now(), now() - interval '100 days']) at"
    await scenario.db.execute(
        "insert into sync.runs (kind, since, repair, started_at, finished_at)"
        f" select 'recent', now(), true, at, at {long_ago}"
    )
    await scenario.db.execute(
        "insert into sync.drift (topic, key, right_side, action, closed_at)"
        f" select 'client', at::text, 'evpower', 'x', at {long_ago}"
    )
    settings.check_at, settings.check_recent_s, settings.check_pause_s = "", 3600, 0
    clock = HandClock()
    reconciler = ReconciliationScheduler(db, rpc, settings, clock, pause=_at_once)
    assert await reconciler.run_due() is None
    clock.move(3601)
    leased = await reconciler.run_due()
    assert leased is not None
    assert leased.kind == "recent"
    assert await scenario.db.fetchval("select count(*) from sync.runs") == 2, "this one, the last"
    assert await scenario.db.fetchval("select count(*) from sync.drift") == 1


async def _at_once(_: float) -> None: ...


async def test_a_deletion_request_of_a_removed_row_is_forgotten(supabase: Supabase) -> None:
    there, client = supabase.psql, uuid4()
    await there.execute("delete from evpower.statuses_under_block")
    await _apply(there, clients=[_client(client)])
    await supabase.update_row(client, status="pending_deletion")
    await _apply(there, clients=[_client(client, revision=2, status="blocked")])
    assert await there.fetchval("select client_id from evpower.statuses_under_block") == str(client)
    await supabase.delete_row(client)
    await until_visible(there)
    last = (await call_function(there, "evpower_changes", after=None, limit=10))["changes"][-1]
    await call_function(
        there, "evpower_changes_prune", before={"xid": last["xid"], "seq": last["seq"]}
    )
    assert await there.fetchval("select count(*) from evpower.statuses_under_block") == 0


class Beside:
    """Runs an action right before evpower_apply is called."""

    def __init__(self, inner: SupabaseRpc) -> None:
        self.inner = inner
        self.meanwhile: list[Puller] = []
        self.then: list[tuple[Supabase, UUID]] = []

    async def call(self, function: str, body: bytes) -> object:
        while function == "evpower_apply" and self.then:
            supabase, client = self.then.pop()
            await supabase.delete_user(client)
            await supabase.delete_row(client)
            for puller in self.meanwhile:
                await puller.drain()
        return await self.inner.call(function, body)


async def test_a_row_the_relay_makes_after_its_user_was_deleted_says_so(
    supabase: Supabase,
    puller: Puller,
    scenario: Scenario,
    db: Database,
    rpc: SupabaseRpc,
    settings: Settings,
) -> None:
    """The call was under way when the client was closed; its outbox entry must stay."""
    driver = await supabase.sign_up(name="Aida")
    await puller.drain()
    beside = Beside(rpc)
    relay = Relay(db, beside, settings, utc_now)
    await relay.drain()
    await scenario.top_up(driver.id, 5_000)
    beside.meanwhile, beside.then = [puller], [(supabase, driver.id)]
    await relay.drain()
    await relay.drain()
    assert (await client_here(scenario.db, driver.id))["status"] == "closed"
    row = await supabase.row(driver.id)
    assert row is not None
    assert row["status"] == "inactive"
    assert await scenario.pending() == 0
