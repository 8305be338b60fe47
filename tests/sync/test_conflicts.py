"""Every row of the conflict table, against a real Supabase: the right side, and what is done."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from evpower import identity
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Forbidden
from evpower.identity import Claims, Profile, SupabaseAdmin
from evpower.identity.register import RegistrationRequest, register
from evpower.sync import Puller, Relay, check
from evpower.sync.inbound.conflicts import CONFLICTS, ConflictKind
from tests.sync.conftest import rpc_to
from tests.sync.pulling import PASSWORD, DrainsAll, Supabase, client_here, counted, emptied
from tests.sync.scenario import Scenario, Target, balance, by_hand
from tests.waiting import PatientHttp

DOCS = Path(__file__).resolve().parents[2] / "docs" / "sync.md"
DENIED = {401, 403}


@pytest.fixture
async def supabase(
    fresh_project: Target, there_fresh: Connection, http: httpx.AsyncClient
) -> Supabase:
    await emptied(fresh_project, there_fresh)
    return Supabase(fresh_project, there_fresh, http)


@pytest.fixture
async def older(older_project: Target, http: httpx.AsyncClient) -> object:
    async with older_project.psql() as psql:
        await emptied(older_project, psql)
        yield Supabase(older_project, psql, http)


@pytest.fixture
def relay(db: Database, http: httpx.AsyncClient, supabase: Supabase, settings: Settings) -> Relay:
    return Relay(db, rpc_to(http, supabase.target), settings, utc_now)


@pytest.fixture
def puller(db: Database, http: httpx.AsyncClient, supabase: Supabase, settings: Settings) -> Puller:
    return DrainsAll(db, rpc_to(http, supabase.target), settings, supabase.psql)


Rest = Callable[[], Awaitable[None]]


@pytest.fixture
def at_rest(puller: Puller, relay: Relay) -> Rest:
    """Everything was carried both ways."""

    async def carried() -> None:
        for _ in range(3):
            pulled = await puller.drain()
            assert pulled.error is None
            await relay.drain()

    return carried


class Counted:
    """What was counted since it was made."""

    def __init__(self) -> None:
        self._before = {kind: counted(kind) for kind in CONFLICTS}

    def __call__(self, kind: ConflictKind) -> float:
        return counted(kind) - self._before[kind]


@pytest.fixture
def met() -> Counted:
    return Counted()


def test_the_page_of_profiles_has_the_same_rows() -> None:
    table = re.search(r"<!-- conflicts -->\n(.*?)<!-- end -->", DOCS.read_text(), re.DOTALL)
    assert table is not None
    shown = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in table.group(1).splitlines()[2:]
        if line.strip()
    ]
    names = {"evpower": "EvPower", "supabase": "Supabase"}
    assert shown == [
        (f"`{rule.kind}`", rule.when, names[rule.right_side], rule.done, _counted(rule.counted))
        for rule in CONFLICTS.values()
    ]


def _counted(text: str) -> str:
    return f"`{text}`" if text.startswith("evpower_") else text


async def test_a_balance_changed_by_hand_is_found_and_repaired(
    supabase: Supabase,
    scenario: Scenario,
    relay: Relay,
    puller: Puller,
    db: Database,
    http: httpx.AsyncClient,
) -> None:
    client = await scenario.client()
    await scenario.top_up(client, 50_000)
    await relay.drain()
    async with by_hand(supabase.psql):
        await supabase.update_row(client, balance=99_999)
    await puller.drain()
    assert (await client_here(scenario.db, client))["status"] == "active"
    rpc = rpc_to(http, supabase.target)
    result = await check(db, rpc, repair=True, deliver=relay.drain)
    assert (len(result.drift), result.closed) == (1, 1)
    assert await balance(supabase.psql, client) == "500.00"


async def test_a_vehicle_plate_changed_by_hand_is_found_and_repaired(
    supabase: Supabase, scenario: Scenario, relay: Relay, db: Database, http: httpx.AsyncClient
) -> None:
    known, unknown = [
        await scenario.session(await scenario.client(), charge=False) for _ in range(2)
    ]
    await scenario.db.execute("set session_replication_role = replica")  # it was reported at once
    await scenario.db.execute(
        "update charging.sessions set vehicle_plate = '01KG123ABC' where id = $1", known
    )
    await scenario.db.execute("reset session_replication_role")
    await relay.drain()
    plates = "select id::text, vehicle_plate from public.charging_sessions"
    expected = {str(known): "01KG123ABC", str(unknown): None}
    assert dict(await supabase.psql.fetch(plates)) == expected
    await supabase.psql.execute("update public.charging_sessions set vehicle_plate = '01KG999XYZ'")
    rpc = rpc_to(http, supabase.target)
    result = await check(db, rpc, repair=True, deliver=relay.drain)
    assert {drift.key: drift.fields for drift in result.drift} == dict.fromkeys(
        expected, ("vehicle_plate",)
    )
    assert result.closed == 2
    assert dict(await supabase.psql.fetch(plates)) == expected


async def test_a_driver_who_writes_a_balance_is_refused(
    supabase: Supabase, at_rest: Rest, scenario: Scenario
) -> None:
    driver = await supabase.sign_up()
    await at_rest()
    for key in (supabase.driver_key(driver), supabase.server_key):
        answer = await supabase.patch(key, driver.id, balance=1_000)
        assert answer.status_code in DENIED, answer.text
    await at_rest()
    assert await balance(supabase.psql, driver.id) == "0.00"
    wallet = await scenario.db.fetchval(
        "select balance_minor from wallet.wallets where client_id = $1", driver.id
    )
    assert wallet == 0


async def test_an_email_changed_on_both_sides_is_supabases(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, met: Counted
) -> None:
    driver = await supabase.sign_up()
    await at_rest()
    await scenario.db.execute(
        "update identity.clients set email = 'evpower@example.kg' where id = $1", driver.id
    )
    await supabase.change_user(driver.id, email="supabase@example.kg")
    await at_rest()
    row = await supabase.row(driver.id)
    assert row is not None
    assert row["email"] == "supabase@example.kg"
    assert (await client_here(scenario.db, driver.id))["email"] == "supabase@example.kg"
    assert met("profile_differs") == 1


async def test_a_profile_is_stored_in_our_form_and_stays_theirs(
    supabase: Supabase, at_rest: Rest, scenario: Scenario
) -> None:
    driver = await supabase.sign_up()
    await at_rest()
    answer = await supabase.patch(
        supabase.driver_key(driver), driver.id, phone="0555 12-34-56", name="  Айгүл\n Ааматова "
    )
    assert answer.status_code == 200, answer.text
    await at_rest()
    here = await client_here(scenario.db, driver.id)
    assert (here["phone"], here["name"]) == ("+996555123456", "Айгүл Ааматова")
    row = await supabase.row(driver.id)
    assert row is not None
    assert row["phone"] == "0555 12-34-56"


async def test_a_contact_of_another_is_given_over_when_it_is_free(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, met: Counted
) -> None:
    holder = await supabase.sign_up()
    await supabase.change_user(holder.id, phone="+996555000001", phone_confirm=True)
    await at_rest()
    second = await supabase.sign_up(phone="+996555000001", name="Second")
    await at_rest()
    here = await client_here(scenario.db, second.id)
    assert (here["phone"], here["name"], here["email"]) == (None, "Second", second.email)
    assert (await client_here(scenario.db, holder.id))["phone"] == "+996555000001"
    conflict = await scenario.db.fetchrow("select * from sync.contact_conflicts")
    assert conflict is not None
    assert (conflict["client_id"], conflict["contact"], conflict["holder"]) == (
        second.id,
        "phone",
        holder.id,
    )
    assert met("contact_taken") == 1
    await supabase.update_row(second.id, phone="+996555000001")  # the relay made it without one
    await supabase.update_row(holder.id, phone="+996555000002")
    await at_rest()
    assert (await client_here(scenario.db, second.id))["phone"] == "+996555000001"
    assert await scenario.db.fetchval("select count(*) from sync.contact_conflicts") == 0


@pytest.mark.parametrize("contact", ["email", "phone"])
async def test_a_claim_keeps_no_one_from_registering_and_verifying(
    supabase: Supabase,
    at_rest: Rest,
    scenario: Scenario,
    db: Database,
    http: PatientHttp,
    contact: str,
) -> None:
    """A driver writes a stranger's contact into the own row; the stranger comes and verifies it."""
    contacts = {"email": "stranger@example.kg", "phone": "+996555000009"}
    squatter = await supabase.sign_up()
    await at_rest()
    answer = await supabase.patch(
        supabase.driver_key(squatter), squatter.id, **{contact: contacts[contact]}
    )
    assert answer.status_code == 200, answer.text
    await at_rest()
    here = await client_here(scenario.db, squatter.id)
    assert (here[contact], here[f"{contact}_verified"]) == (contacts[contact], False)

    admin = SupabaseAdmin(
        http=http, url=supabase.url, secret_key=SecretStr(supabase.target.local.secret_key)
    )
    wants = RegistrationRequest(
        contacts["email"], SecretStr(PASSWORD), contacts["phone"], "Stranger"
    )
    stranger, _ = await register(db, admin, wants, confirm="email", clock=utc_now)
    await at_rest()
    assert stranger.profile == Profile(contacts["email"], contacts["phone"], "Stranger")
    assert (await client_here(scenario.db, squatter.id))[contact] == contacts[contact]

    await supabase.change_user(
        stranger.id, email_confirm=True, phone=contacts["phone"], phone_confirm=True
    )
    await at_rest()
    here = await client_here(scenario.db, stranger.id)
    assert (here[contact], here[f"{contact}_verified"]) == (contacts[contact], True)
    assert (await client_here(scenario.db, squatter.id))[contact] is None
    waiting = await scenario.db.fetch(
        "select client_id, contact, holder from sync.contact_conflicts"
    )
    assert [tuple(row) for row in waiting] == [(squatter.id, contact, stranger.id)]
    async with db.connection() as connection:
        holder = await identity.find_verified(connection, contacts[contact])
    assert holder is not None
    assert holder.id == stranger.id


async def test_two_who_exchange_their_phones_both_get_them(
    supabase: Supabase, at_rest: Rest, scenario: Scenario
) -> None:
    phones = ["+996555000001", "+996555000002"]
    drivers = [await supabase.sign_up(phone=phone) for phone in phones]
    await at_rest()
    for driver, phone in zip(drivers, reversed(phones), strict=True):
        await supabase.update_row(driver.id, phone=phone)
    await at_rest()
    now = [(await client_here(scenario.db, driver.id))["phone"] for driver in drivers]
    assert now == phones[::-1]
    assert await scenario.db.fetchval("select count(*) from sync.contact_conflicts") == 0


async def test_a_contact_is_free_when_an_operator_closes_its_holder(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, db: Database, puller: Puller
) -> None:
    holder, second = await supabase.sign_up(), await supabase.sign_up()
    await at_rest()
    await supabase.change_user(holder.id, phone="+996555000003", phone_confirm=True)
    await at_rest()
    await supabase.update_row(second.id, phone="+996555000003")
    await at_rest()
    assert (await client_here(scenario.db, second.id))["phone"] is None
    async with db.transaction() as connection:
        await identity.close_client(connection, holder.id, actor="operator", reason="asked")
    puller._contacts_at = None  # the pause between two looks is over
    await at_rest()
    assert (await client_here(scenario.db, second.id))["phone"] == "+996555000003"


async def test_who_was_closed_waits_for_no_contact(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, db: Database, puller: Puller
) -> None:
    holder, second = await supabase.sign_up(), await supabase.sign_up()
    await at_rest()
    await supabase.change_user(holder.id, phone="+996555000004", phone_confirm=True)
    await at_rest()
    await supabase.update_row(second.id, phone="+996555000004")
    await at_rest()
    assert await scenario.db.fetchval("select client_id from sync.contact_conflicts") == second.id
    async with db.transaction() as connection:
        await identity.close_client(connection, second.id, actor="operator", reason="asked")
    puller._contacts_at = None  # the pause between two looks is over
    await at_rest()
    assert await scenario.db.fetchval("select count(*) from sync.contact_conflicts") == 0
    assert (await client_here(scenario.db, second.id))["phone"] is None


async def test_a_contact_that_is_none_counts_as_empty(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, met: Counted
) -> None:
    driver = await supabase.sign_up(phone="+996555000004")
    await at_rest()
    await supabase.update_row(driver.id, phone="call me", email="no email at home")
    await at_rest()
    here = await client_here(scenario.db, driver.id)
    assert (here["phone"], here["email"]) == (None, None)
    row = await supabase.row(driver.id)
    assert row is not None
    assert (row["phone"], row["email"]) == ("call me", "no email at home")
    assert met("contact_unusable") == 2


@pytest.mark.parametrize("there", ["active", "inactive"])
async def test_blocked_in_evpower_stays_blocked(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, db: Database, met: Counted, there: str
) -> None:
    driver = await supabase.sign_up()
    await at_rest()
    async with db.transaction() as connection:
        await identity.block_client(connection, driver.id, actor="operator", reason="fraud")
    await at_rest()
    await supabase.update_row(driver.id, status=there)
    await at_rest()
    assert (await client_here(scenario.db, driver.id))["status"] == "blocked"
    row = await supabase.row(driver.id)
    assert row is not None
    assert row["status"] == "blocked"
    assert met("status_differs") == 1


async def test_blocked_in_supabase_by_hand_is_made_active_again(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, met: Counted
) -> None:
    driver = await supabase.sign_up()
    await at_rest()
    await supabase.update_row(driver.id, status="blocked")
    await at_rest()
    row = await supabase.row(driver.id)
    assert row is not None
    assert (row["status"], (await client_here(scenario.db, driver.id))["status"]) == (
        "active",
        "active",
    )
    assert met("status_differs") == 1


async def test_a_block_from_before_evpower_is_applied_once(
    supabase: Supabase, puller: Puller, relay: Relay, scenario: Scenario, db: Database, met: Counted
) -> None:
    client = uuid4()
    await supabase.insert_row(client, email="old@example.kg", status="blocked", name="Old")
    await puller.drain()
    assert (await client_here(scenario.db, client))["status"] == "blocked"
    await relay.drain()
    audit = await scenario.db.fetchrow("select actor, action, subject from identity.audit")
    assert audit is not None
    assert tuple(audit) == ("supabase", "client.block", str(client))
    async with db.transaction() as connection:
        await identity.unblock_client(connection, client, actor="operator", reason="a mistake")
    await relay.drain()
    await supabase.update_row(client, name="Older")
    await puller.drain()
    assert (await client_here(scenario.db, client))["status"] == "active"
    row = await supabase.row(client)
    assert row is not None
    assert row["status"] == "active"
    assert met("blocked_before") == 1


async def test_an_operator_lifts_an_old_block_before_the_balance_is_imported(
    supabase: Supabase, puller: Puller, scenario: Scenario, db: Database, met: Counted
) -> None:
    """EvPower may not write such a row yet, so it goes on saying blocked."""
    client = uuid4()
    async with by_hand(supabase.psql):
        await supabase.insert_row(client, status="blocked", balance=250)
    await puller.drain()
    assert (await client_here(scenario.db, client))["status"] == "blocked"
    async with db.transaction() as connection:
        await identity.unblock_client(connection, client, actor="operator", reason="a mistake")
    await supabase.update_row(client, name="Older")
    await puller.drain()
    here = await client_here(scenario.db, client)
    assert (here["status"], here["name"]) == ("active", "Older")
    assert met("blocked_before") == 1


async def test_a_block_from_before_holds_when_evpower_knew_the_client_first(
    supabase: Supabase, at_rest: Rest, relay: Relay, scenario: Scenario, met: Counted
) -> None:
    client = uuid4()
    await supabase.insert_row(client, email="old@example.kg", status="blocked")
    await supabase.psql.execute("truncate evpower.changes")  # it is not known yet
    await scenario.db.execute(
        "insert into identity.clients (id, origin) values ($1, 'token')", client
    )
    await scenario.db.execute("update sync.cursors set scanning = false")
    await relay.drain()
    await at_rest()
    assert (await client_here(scenario.db, client))["status"] == "blocked"
    row = await supabase.row(client)
    assert row is not None
    assert row["status"] == "blocked"
    assert met("blocked_before") == 1


@pytest.mark.parametrize("way", ["inactive", "pending_deletion", "delete_requested_at"])
async def test_a_driver_who_requested_deletion_moves_no_money_until_it_is_withdrawn(
    older: Supabase,
    scenario: Scenario,
    db: Database,
    http: httpx.AsyncClient,
    settings: Settings,
    met: Counted,
    way: str,
) -> None:
    puller = DrainsAll(db, rpc_to(http, older.target), settings, older.psql)
    relay = Relay(db, rpc_to(http, older.target), settings, utc_now)
    driver = await older.sign_up()
    await puller.drain()
    await relay.drain()
    await scenario.top_up(driver.id, 10_000)
    at = utc_now()
    if way == "delete_requested_at":
        await older.update_row(driver.id, delete_requested_at=at)
    else:
        await older.update_row(driver.id, status=way)
    await puller.drain()
    asked_at = (await client_here(scenario.db, driver.id))["deletion_requested_at"]
    assert asked_at is not None
    assert way != "delete_requested_at" or asked_at == at
    with pytest.raises(Forbidden) as refused:
        async with db.transaction() as connection:
            await identity.require_active(connection, driver.id)
    assert refused.value.code == "client_deleted"
    assert await hold(scenario, driver.id) == "closed"
    await relay.drain()
    row = await older.row(driver.id)
    assert row is not None
    assert str(row["status"]) == ("active" if way == "delete_requested_at" else way)
    await older.update_row(driver.id, status="active", delete_requested_at=None)
    await puller.drain()
    assert (await client_here(scenario.db, driver.id))["deletion_requested_at"] is None
    assert await hold(scenario, driver.id) == "held"
    assert (met("deletion_requested"), met("deletion_withdrawn")) == (1, 1)


async def hold(scenario: Scenario, client: UUID, minor: int = 1_000) -> str:
    """Begin a session and set money aside for it; answers the outcome."""
    session = uuid4()
    await scenario.db.execute(
        "insert into charging.sessions (id, client_id, station_id, connector_id, state, source)"
        " values ($1, $2, $3, 1, 'requested', 'import')",
        session,
        client,
        f"S-{session.hex[:8]}",
    )
    outcome: str = await scenario.db.fetchval(
        "select (wallet.hold($1, $2)).outcome", session, minor
    )
    return outcome


@pytest.mark.parametrize("soft", [False, True], ids=["deleted", "soft-deleted"])
async def test_deleted_there_while_charging_here(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, db: Database, met: Counted, *, soft: bool
) -> None:
    driver = await supabase.sign_up(phone="+996555000005")
    await at_rest()
    await scenario.top_up(driver.id, 50_000)
    session = uuid4()
    await scenario.db.execute(
        "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
        " started_at) values ($1, $2, 'CHR-BGK-001', 1, 'charging', 'evpower', now())",
        session,
        driver.id,
    )
    await scenario.db.fetchval("select (wallet.hold($1, 20000)).outcome", session)
    invoice = await begun_payment(scenario, driver.id)
    await at_rest()

    await supabase.delete_user(driver.id, soft=soft)
    await at_rest()

    assert (await client_here(scenario.db, driver.id))["status"] == "closed"
    assert met("user_deleted") == 1
    with pytest.raises(Forbidden) as refused:
        async with db.transaction() as connection:
            await identity.require_active(connection, driver.id)
    assert refused.value.code == "client_closed"
    assert await hold(scenario, driver.id) == "closed"
    await settle(scenario, session, cost_minor=12_000)
    await scenario.db.execute(
        "update payments.payments set status = 'approved', paid_minor = amount_minor,"
        " confirmed_at = now(), credited_ref = order_id where id = $1",
        invoice,
    )
    await scenario.db.execute("select wallet.credit($1)", invoice)
    await at_rest()
    wallet = await scenario.db.fetchrow(
        "select * from wallet.wallets where client_id = $1", driver.id
    )
    assert wallet is not None
    assert (wallet["balance_minor"], wallet["held_minor"]) == (50_000 - 12_000 + 700, 0)
    assert await balance(supabase.psql, driver.id) == "387.00"
    again = await supabase.sign_up(phone="+996555000005")  # the phone is free for others
    await at_rest()
    assert (await client_here(scenario.db, again.id))["phone"] == "+996555000005"


async def test_an_account_deleted_and_registered_again_has_a_row_of_its_own(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, db: Database, http: httpx.AsyncClient
) -> None:
    """Where emails and phones of the project are unique, and the old row stays behind."""
    for column in ("email", "phone"):
        await supabase.psql.execute(
            f"create unique index only_{column} on public.clients ({column})"
        )
    try:
        first = await supabase.sign_up(phone="+996555000017", name="Aida")
        await at_rest()
        await scenario.top_up(first.id, 50_000)
        await at_rest()
        await supabase.delete_user(first.id)
        again = await supabase.sign_up(first.email, phone="+996555000017", name="Aida")
        await at_rest()
        old, new = await supabase.row(first.id), await supabase.row(again.id)
        assert old is not None
        assert new is not None
        assert (old["email"], old["phone"], old["name"]) == (None, None, None)
        assert (new["email"], new["phone"]) == (first.email, "+996555000017")
        assert await balance(supabase.psql, first.id) == "500.00"
        assert await balance(supabase.psql, again.id) == "0.00"
        assert await scenario.pending() == 0
        report = await check(db, rpc_to(http, supabase.target), repair=False)
        assert report.drift == ()
    finally:
        await supabase.psql.execute("drop index public.only_email, public.only_phone")


async def begun_payment(scenario: Scenario, client: UUID) -> int:
    payment: int = await scenario.db.fetchval(
        "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
        " amount_minor, expires_at) values ('inv-' || gen_random_uuid(), 'ord-' ||"
        " gen_random_uuid(), $1, 'sandbox', 'qr', 700, now()) returning id",
        client,
    )
    return payment


async def settle(scenario: Scenario, session: UUID, *, cost_minor: int) -> None:
    await scenario.db.execute(
        "update charging.sessions set state = 'finished', ended_at = now(), cost_minor = $2,"
        " energy_wh = 1000 where id = $1",
        session,
        cost_minor,
    )
    await scenario.db.fetchrow("select wallet.charge($1)", session)


async def test_a_closed_client_stays_closed_though_the_user_lives(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, db: Database, met: Counted
) -> None:
    driver = await supabase.sign_up()
    await at_rest()
    async with db.transaction() as connection:
        await identity.close_client(connection, driver.id, actor="operator", reason="asked")
    await at_rest()
    await supabase.update_row(driver.id, status="active", name="Back again")
    await at_rest()
    here = await client_here(scenario.db, driver.id)
    assert here["status"] == "closed"
    row = await supabase.row(driver.id)
    assert row is not None
    assert row["status"] == "inactive"
    assert met("closed_but_alive") == 1


async def test_a_deleted_row_is_sent_again(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, met: Counted
) -> None:
    driver = await supabase.sign_up(name="Aida")
    await at_rest()
    await scenario.top_up(driver.id, 30_000)
    await at_rest()
    await supabase.update_row(driver.id, phone="+996555000006")
    await at_rest()
    await supabase.delete_row(driver.id)
    await at_rest()
    row = await supabase.row(driver.id)
    assert row is not None
    assert (row["email"], row["phone"], row["name"]) == (driver.email, "+996555000006", "Aida")
    assert await balance(supabase.psql, driver.id) == "300.00"
    assert met("row_gone") == 1


async def test_a_row_made_again_still_says_that_deletion_was_asked_for(
    supabase: Supabase, at_rest: Rest, scenario: Scenario
) -> None:
    driver = await supabase.sign_up()
    await at_rest()
    await supabase.update_row(driver.id, status="inactive")
    await at_rest()
    await supabase.delete_row(driver.id)
    await at_rest()
    row = await supabase.row(driver.id)
    assert row is not None
    assert row["status"] == "inactive"
    assert (await client_here(scenario.db, driver.id))["deletion_requested_at"] is not None


async def test_no_one_is_closed_for_being_unknown_in_supabase(
    supabase: Supabase, at_rest: Rest, scenario: Scenario, met: Counted
) -> None:
    client = await scenario.client()
    await at_rest()
    await supabase.delete_row(client)
    await at_rest()
    here = await client_here(scenario.db, client)
    assert (here["status"], here["name"]) == ("active", "Aida")
    assert met("user_unknown") == 1


async def test_created_by_both_at_once_is_one_client(
    supabase: Supabase, puller: Puller, scenario: Scenario, db: Database
) -> None:
    drivers = [await supabase.sign_up(name="Aida") for _ in range(8)]

    async def first_request(client: UUID, email: str) -> None:
        async with db.transaction() as connection:
            profile = Profile(email=email)
            await identity.ensure_client(
                connection, Claims(client, "authenticated", utc_now(), profile, {})
            )

    await asyncio.gather(
        puller.drain(), *(first_request(driver.id, driver.email) for driver in drivers)
    )
    rows = await scenario.db.fetch("select id, name from identity.clients order by id")
    assert [row["id"] for row in rows] == sorted(driver.id for driver in drivers)
    assert {row["name"] for row in rows} == {"Aida"}
    assert await scenario.db.fetchval("select count(*) from wallet.wallets") == 8


async def test_an_id_that_is_no_uuid_is_left_alone(
    older: Supabase,
    db: Database,
    scenario: Scenario,
    http: httpx.AsyncClient,
    settings: Settings,
    met: Counted,
) -> None:
    puller = DrainsAll(db, rpc_to(http, older.target), settings, older.psql)
    upper = str(uuid4()).upper()
    for strange in ("client_007", upper, str(UUID(int=0))):
        await older.insert_row(strange, name="Strange")
    good = uuid4()
    await older.insert_row(good, name="Good")
    pulled = await puller.drain()
    assert (pulled.error, pulled.created, pulled.failed) == (None, 1, 0)
    assert await scenario.db.fetchval("select array_agg(id) from identity.clients") == [good]
    assert met("foreign_id") == 3


async def test_no_row_of_the_table_touches_money(
    supabase: Supabase, puller: Puller, scenario: Scenario
) -> None:
    """Whatever a row in Supabase says its balance is, EvPower takes none of it."""
    client = uuid4()
    async with by_hand(supabase.psql):
        await supabase.insert_row(client, balance=777)
    await supabase.psql.execute(
        "insert into evpower.changes (\"table\", row_id, op) values ('clients', $1, 'insert')",
        str(client),
    )
    await puller.drain()
    wallet = await scenario.db.fetchrow("select * from wallet.wallets where client_id = $1", client)
    assert wallet is not None
    assert (wallet["balance_minor"], wallet["version"]) == (0, 0)


async def test_a_superuser_may_not_delete_the_cursor(db: Database) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with db.transaction() as connection:
            await connection.execute("delete from sync.cursors")
