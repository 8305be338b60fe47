"""A row of clients without a user, left by a user who was deleted before EvPower."""

from uuid import UUID, uuid4

import httpx
import pytest

from evpower.client_migration import import_opening_balances
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.sync import Puller, Relay
from tests.sync.checking import compare, past_every_guard
from tests.sync.conftest import rpc_to
from tests.sync.pulling import DrainsAll, Supabase, client_here, counted, emptied
from tests.sync.scenario import Scenario, Target, by_hand

PHONE, EMAIL = "+996555000021", "shared@example.kg"


@pytest.fixture
async def supabase(
    fresh_project: Target, there_fresh: Connection, http: httpx.AsyncClient
) -> Supabase:
    await emptied(fresh_project, there_fresh)
    return Supabase(fresh_project, there_fresh, http)


@pytest.fixture
def puller(db: Database, http: httpx.AsyncClient, supabase: Supabase, settings: Settings) -> Puller:
    return DrainsAll(db, rpc_to(http, supabase.target), settings, supabase.psql)


async def left_behind(supabase: Supabase, client: UUID | None = None, **columns: object) -> UUID:
    """It was there before the log."""
    client = client or uuid4()
    async with past_every_guard(supabase.psql):
        await supabase.insert_row(
            client, **{"name": "Left", "email": EMAIL, "phone": PHONE, **columns}
        )
    return client


async def contacts(scenario: Scenario, client: UUID) -> tuple[str | None, str | None]:
    row = await client_here(scenario.db, client)
    return row["email"], row["phone"]


async def test_it_becomes_an_open_client_that_holds_no_contact(
    supabase: Supabase, puller: Puller, scenario: Scenario, db: Database, http: httpx.AsyncClient
) -> None:
    before = counted("row_alone")
    client = await left_behind(supabase)
    await puller.drain()
    here = await client_here(scenario.db, client)
    assert (here["status"], here["name"]) == ("active", "Left")
    assert await contacts(scenario, client) == (None, None)
    assert counted("row_alone") == before + 1
    result = await compare(db, rpc_to(http, supabase.target))
    assert [(notice.key, notice.kind) for notice in result.notice_sample] == [
        (str(client), "userless")
    ]
    row = await supabase.row(client)
    assert row is not None
    assert (row["email"], row["phone"]) == (EMAIL, PHONE), "Supabase's word stays as it is"


async def test_who_lives_has_the_contacts_though_the_row_left_behind_comes_first(
    supabase: Supabase, puller: Puller, scenario: Scenario
) -> None:
    await left_behind(supabase, UUID("00000000-0000-4000-8000-000000000001"))
    driver = await supabase.sign_up(EMAIL, phone=PHONE)
    await puller.drain()
    assert await contacts(scenario, driver.id) == (EMAIL, PHONE)
    assert await scenario.db.fetchval("select count(*) from sync.contact_conflicts") == 0


async def test_contacts_come_with_the_user(
    supabase: Supabase, puller: Puller, scenario: Scenario
) -> None:
    client = await left_behind(supabase)
    await puller.drain()
    await supabase.psql.execute(
        "insert into auth.users (id, email) values ($1, $2)", client, "login@example.kg"
    )
    await puller.drain()
    assert await contacts(scenario, client) == (EMAIL, PHONE)


async def test_what_its_row_says_later_makes_it_hold_nothing_either(
    supabase: Supabase, puller: Puller, scenario: Scenario
) -> None:
    client = await left_behind(supabase, email=None, phone=None)
    await puller.drain()
    await supabase.update_row(client, email=EMAIL, phone=PHONE, name="Another name")
    await puller.drain()
    assert await contacts(scenario, client) == (None, None)
    assert (await client_here(scenario.db, client))["name"] == "Another name"


async def test_a_supabase_restored_without_auth_takes_no_one_s_contacts(
    supabase: Supabase, puller: Puller, scenario: Scenario, db: Database, http: httpx.AsyncClient
) -> None:
    driver = await supabase.sign_up(EMAIL, phone=PHONE)
    await supabase.insert_row(driver.id, email=EMAIL, phone=PHONE, name="Aida")
    await puller.drain()
    async with past_every_guard(supabase.psql):
        await supabase.psql.execute("delete from auth.users")
    await puller.scan_all()
    here = await client_here(scenario.db, driver.id)
    assert (here["status"], here["email"], here["phone"]) == ("active", EMAIL, PHONE)
    assert [
        difference.topic for difference in (await compare(db, rpc_to(http, supabase.target))).drift
    ] in (
        [],
        ["client"],
    )
    await supabase.update_row(driver.id, phone="+996555000022")
    await puller.drain()
    assert await contacts(scenario, driver.id) == (EMAIL, None), "the former is given up"


async def test_its_money_can_be_imported(
    supabase: Supabase,
    puller: Puller,
    scenario: Scenario,
    db: Database,
    http: httpx.AsyncClient,
    settings: Settings,
) -> None:
    async with by_hand(supabase.psql):
        client = uuid4()
        await supabase.insert_row(client, balance=250, email=EMAIL)
    await puller.scan_all()
    rpc = rpc_to(http, supabase.target)
    done = await import_opening_balances(db, rpc, operator="o", reason="r", clock=utc_now)
    assert (done.imported, done.skipped) == (1, ())
    await Relay(db, rpc, settings, utc_now).drain()
    wallet = await scenario.db.fetchval(
        "select balance_minor from wallet.wallets where client_id = $1", client
    )
    assert wallet == 25_000
    assert (await compare(db, rpc)).drift == ()


async def test_imported_before_the_first_full_scan_it_has_no_contact_either(
    supabase: Supabase, puller: Puller, scenario: Scenario, db: Database, http: httpx.AsyncClient
) -> None:
    client = uuid4()
    async with past_every_guard(supabase.psql):
        await supabase.insert_row(client, balance=250, email=EMAIL, phone=PHONE)
    rpc = rpc_to(http, supabase.target)
    done = await import_opening_balances(db, rpc, operator="o", reason="r", clock=utc_now)
    assert (done.imported, done.skipped) == (1, ())
    assert await contacts(scenario, client) == (None, None)
    await puller.scan_all()
    assert await contacts(scenario, client) == (None, None)
