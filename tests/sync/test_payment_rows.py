"""Top-ups and the ledger in the tables of an older backend, which phones read."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from evpower import payments
from evpower.cli import doctor_supabase
from evpower.cli.sync_report import facts_text
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.http import HttpClient
from evpower.payments import OPENING
from evpower.sync import Relay, backfill, check, guard_status, not_mirrored, set_guard
from evpower.sync.reconciliation.digests import Digests
from evpower.sync.reconciliation.store_runs import page_of_ours
from tests.conftest import Server
from tests.sync.conftest import rpc_to
from tests.sync.old_backend import old_backend_project, switch
from tests.sync.pulling import Driver, Supabase
from tests.sync.scenario import Scenario, Target
from tests.waiting import until

LEDGER = "payment_transactions_odengi"
FOREIGN_KEY = f"{LEDGER}_balance_topup_id_fkey"
# What the app's revisions ask for, as PostgREST takes it.
R1 = f"{LEDGER}?select=*&order=created_at.desc&limit=50"
R3 = "balance_topups?select=*&order=created_at.desc&limit=50"
R3B = (
    f"balance_topups?select=*,{LEDGER}!{FOREIGN_KEY}(balance_before,balance_after,amount,"
    "transaction_type)&order=created_at.desc&limit=50"
)
R5 = (
    "balance_topups?select=id,invoice_id,order_id,merchant_id,client_id,requested_amount,"
    "paid_amount,currency,status,odengi_status,payment_provider,description,qr_code_url,app_link,"
    f"created_at,paid_at,completed_at,qr_expires_at,invoice_expires_at,{LEDGER}!{FOREIGN_KEY}"
    "(balance_before,balance_after,amount,transaction_type)&order=created_at.desc&limit=100"
)
Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
async def project(server: Server) -> AsyncGenerator[Target]:
    async with old_backend_project(server, "supabase_payments") as target:
        yield target


@pytest.fixture
async def there(project: Target) -> AsyncGenerator[Connection]:
    async with project.psql() as connection:
        await switch(connection, enable=False)
        for table in ("charging_sessions", "transactions", LEDGER, "balance_topups", "clients"):
            await connection.execute(f"delete from public.{table}")
        await switch(connection, enable=True)
        yield connection


@pytest.fixture
async def relay(
    db: Database, http: httpx.AsyncClient, project: Target, settings: Settings, there: Connection,
    scenario: Scenario,
) -> Relay:  # fmt: skip
    """A relay that knows already that the tables are there."""
    assert there
    relay = Relay(db, rpc_to(http, project), settings, utc_now)
    await scenario.client()
    await relay.drain()
    return relay


@pytest.fixture
def supabase(project: Target, there: Connection, http: httpx.AsyncClient) -> Supabase:
    return Supabase(project, there, http)


async def registered(supabase: Supabase, owner: Connection) -> Driver:
    """A driver of the app, whom EvPower knows."""
    driver = await supabase.sign_up()
    await owner.execute(
        "insert into identity.clients (id, email, name, origin) values ($1, $2, 'A', 'import')",
        driver.id,
        driver.email,
    )
    return driver


async def begin(owner: Connection, client: UUID, amount_minor: int = 50_000) -> str:
    """A top-up that waits for its payment; returns its invoice."""
    code = uuid4().hex[:12]
    await owner.execute(
        "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
        " amount_minor, expires_at) values ($1, $2, $3, 'odengi', 'qr', $4, $5)",
        code,
        f"qr_topup_{code}",
        client,
        amount_minor,
        utc_now() + timedelta(minutes=5),
    )
    return code


async def pay(owner: Connection, invoice: str) -> None:
    await owner.fetch(
        "select wallet.credit_many(array(select id from payments.payments where invoice_id = $1))",
        await owner.fetchval(
            "update payments.payments set status = 'approved', paid_minor = amount_minor,"
            " confirmed_at = now(), closed_at = now(), credited_ref = invoice_id || '-t'"
            " where invoice_id = $1 returning invoice_id",
            invoice,
        ),
    )


async def rows(there: Connection, table: str, client: UUID) -> Rows:
    listed = await there.fetch(
        f"select to_jsonb(t)::text as row from public.{table} t where client_id = $1 order by id",
        str(client),
    )
    return [json.loads(entry["row"]) for entry in listed]


async def test_a_top_up_and_what_moves_the_balance_are_shown(
    relay: Relay, scenario: Scenario, owner: Connection, there: Connection, db: Database
) -> None:
    client = await scenario.client()
    invoice = await begin(owner, client)
    assert (await relay.drain()).refused == 0
    [bill] = await rows(there, "balance_topups", client)
    assert (bill["invoice_id"], bill["status"], bill["odengi_status"]) == (invoice, "processing", 0)
    assert (bill["requested_amount"], bill["paid_amount"]) == (500, None)
    assert (bill["payment_provider"], bill["order_id"]) == ("ODENGI", f"qr_topup_{invoice}")
    assert await rows(there, LEDGER, client) == []
    links = ["https://bank.example/qr.png", "https://bank.example/app"]
    await owner.execute(  # as the bank's answer about the bill does
        "update payments.payments set qr_code_url = $2, app_link = $3 where invoice_id = $1",
        invoice,
        *links,
    )
    assert (await relay.drain()).refused == 0
    [bill] = await rows(there, "balance_topups", client)
    assert [bill["qr_code_url"], bill["app_link"]] == links

    await pay(owner, invoice)
    session = await scenario.session(client, station="CHR-BGK-001", cost_minor=12_345)
    settlement = await owner.fetchval(
        "select id from charging.settlements where session_id = $1", session
    )
    async with db.transaction() as connection:
        cause = {"operator": "aida", "reason": "sorry", "reference": "r1"}
        await payments.refund_charge(
            connection, settlement_id=settlement, amount_minor=345, **cause
        )
        await payments.refund_payment(connection, invoice_id=invoice, amount_minor=10_000, **cause)
    assert (await relay.drain()).refused == 0
    [bill] = await rows(there, "balance_topups", client)
    assert (bill["status"], bill["odengi_status"], bill["paid_amount"]) == (
        "partial_refund", 4, 500,
    )  # fmt: skip
    assert bill["paid_at"] is not None
    ledger = await rows(there, LEDGER, client)
    assert [
        (row["transaction_type"], row["amount"], row["balance_before"], row["balance_after"],
         row["balance_topup_id"], row["charging_session_id"])
        for row in ledger
    ] == [
        ("balance_topup", 500, 0, 500, bill["id"], None),
        ("charge_payment", -123.45, 500, 376.55, None, str(session)),
        ("charge_refund", 3.45, 376.55, 380, None, str(session)),
        ("balance_topup", -100, 380, 280, None, None),
    ]  # fmt: skip


async def test_a_call_that_is_repeated_writes_no_second_row(
    relay: Relay, scenario: Scenario, owner: Connection, there: Connection
) -> None:
    client = await scenario.client()
    await pay(owner, await begin(owner, client))
    await relay.drain()
    for force in (False, True):
        await owner.execute("select sync.enqueue_ids('transaction', array[$1])", f"{client}:1")
        await owner.execute("update sync.pending set force = $1", force)
        assert (await relay.drain()).refused == 0
    assert len(await rows(there, LEDGER, client)) == 1


async def test_a_hold_and_an_opening_balance_make_no_row(
    relay: Relay, scenario: Scenario, owner: Connection, there: Connection, db: Database
) -> None:
    client = await scenario.client()
    await owner.execute(
        "insert into payments.payments (invoice_id, order_id, client_id, provider, provider_ref,"
        " method, amount_minor, status, paid_minor, confirmed_at, expires_at)"
        " values ($1, $1, $2, 'manual', $3, 'cash', 700, 'approved', 700, now(), now())",
        uuid4().hex[:12],
        client,
        f"{OPENING}{client}",
    )
    await owner.fetch(
        "select wallet.credit_many(array(select id from payments.payments where client_id = $1))",
        client,
    )
    assert (await relay.drain()).refused == 0
    assert await rows(there, LEDGER, client) == []
    assert await rows(there, "balance_topups", client) == []
    invoice = await owner.fetchval("select invoice_id from payments.payments")
    async with db.transaction() as connection:
        await payments.refund_payment(
            connection, invoice_id=invoice, amount_minor=200, operator="aida",
            reason="paid out", reference="r1",
        )  # fmt: skip
    assert (await relay.drain()).refused == 0
    [entry] = await rows(there, LEDGER, client)  # what leaves it is shown
    assert (entry["amount"], entry["balance_before"], entry["balance_after"]) == (-2, 7, 5)


async def test_an_unpaid_top_up_is_canceled_after_its_qr_expired(
    db: Database, http: httpx.AsyncClient, project: Target, settings: Settings, relay: Relay,
    scenario: Scenario, owner: Connection, there: Connection,
) -> None:  # fmt: skip
    client = await scenario.client()
    invoice = await begin(owner, client)
    await relay.drain()
    later = utc_now() + timedelta(minutes=6)
    await owner.execute(  # as a recheck does
        "update payments.payments set check_count = check_count + 1, updated_at = $2"
        " where invoice_id = $1",
        invoice,
        later,
    )
    after = Relay(db, rpc_to(http, project), settings, lambda: later)
    assert (await after.drain()).keys == 1
    [bill] = await rows(there, "balance_topups", client)
    assert (bill["status"], bill["odengi_status"]) == ("canceled", 2)
    await owner.execute(
        "update payments.payments set check_count = check_count + 1, updated_at = $2"
        " where invoice_id = $1",
        invoice,
        later + timedelta(minutes=5),
    )
    assert await scenario.pending() == 0  # a later recheck shows nothing new
    await pay(owner, invoice)
    await after.drain()
    [bill] = await rows(there, "balance_topups", client)
    assert bill["status"] == "approved"


@pytest.fixture
async def short_ids(there: Connection) -> AsyncGenerator[None]:
    """The table belongs to another role, so EvPower could not widen it."""
    await there.execute("alter table public.balance_topups alter invoice_id type varchar(12)")
    yield
    await there.execute("alter table public.balance_topups alter invoice_id type varchar(64)")


@pytest.mark.usefixtures("short_ids")
async def test_an_id_that_is_too_long_for_the_table_is_left_out(
    relay: Relay, scenario: Scenario, owner: Connection, there: Connection, db: Database,
    project: Target, http: httpx.AsyncClient, dsn: str,
) -> None:  # fmt: skip
    client = await scenario.client()
    first = await begin(owner, client)
    second = f"{first}/2"
    await owner.execute(
        "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
        " amount_minor, expires_at) values ($1, $1, $2, 'odengi', 'qr', 50000, now())",
        second,
        client,
    )
    await pay(owner, first)
    await pay(owner, second)
    assert (await relay.drain()).refused == 0
    assert await scenario.pending() == 0
    assert [bill["invoice_id"] for bill in await rows(there, "balance_topups", client)] == [first]
    ledger = await rows(there, LEDGER, client)
    assert [row["balance_after"] for row in ledger] == [500, 1000]
    assert [row["balance_topup_id"] is None for row in ledger] == [False, True]
    assert (await check(db, rpc_to(http, project))).differ == 0
    status = await guard_status(rpc_to(http, project))
    listed = await not_mirrored(db, status)
    assert listed == [second]
    as_doctor = Settings(
        _env_file=None,
        database_url=SecretStr(dsn),
        supabase_url=project.local.url,
        supabase_secret_key=SecretStr(project.local.secret_key),
        supabase_publishable_key=project.local.publishable_key,
        supabase_jwt_secret=SecretStr(project.local.jwt_secret),
    )
    async with HttpClient() as client_of_doctor:
        findings = await doctor_supabase.examine_supabase(
            as_doctor, client_of_doctor, may_write=False
        )
    bad = {finding.name: finding.detail for finding in findings if finding.ok is False}
    assert bad.keys() == {"Supabase invoice ids"}
    assert second in bad["Supabase invoice ids"]


async def test_it_waits_for_what_it_names(
    relay: Relay, scenario: Scenario, owner: Connection, there: Connection
) -> None:
    client = await scenario.client()
    await pay(owner, await begin(owner, client))
    await owner.execute("delete from sync.pending where topic in ('client', 'payment')")
    assert (await relay.drain()).refused == 0  # Supabase lacks the client and the bill
    await owner.execute("update sync.pending set next_at = now()")
    assert (await relay.drain()).refused == 0
    assert await scenario.pending() == 0
    [bill] = await rows(there, "balance_topups", client)
    [entry] = await rows(there, LEDGER, client)
    assert entry["balance_topup_id"] == bill["id"]


@pytest.mark.parametrize("topic", ["payment", "session"])
async def test_a_refused_client_is_parked_however_many_rows_name_it(
    relay: Relay, scenario: Scenario, owner: Connection, there: Connection, topic: str
) -> None:
    """Else each call that its rows are in would send it from its beginning, without end."""
    client = await scenario.client()
    for _ in range(3):
        await begin(owner, client)
        await scenario.session(client, cost_minor=0)
    await owner.execute("delete from sync.pending where topic not in ('client', $1)", topic)
    await there.execute(
        f"alter table public.clients add constraint refused check (id::text <> '{client}')"
    )
    parked: list[tuple[int, bool]] = []
    try:
        for _ in range(3):
            await owner.execute("update sync.pending set next_at = now()")
            await relay.run_once()
            entry = await owner.fetchrow(
                "select generation, parked_at is not null as is_parked from sync.pending"
                " where topic = 'client'"
            )
            assert entry is not None
            parked.append((entry["generation"], entry["is_parked"]))
    finally:
        await there.execute("alter table public.clients drop constraint refused")
    enqueued = parked[0][0]
    assert parked == [(enqueued, False), (enqueued, True), (enqueued, True)]
    assert await owner.fetchval("select bool_and(parked_at is not null) from sync.pending")


async def test_tables_that_are_new_are_filled_once(
    db: Database, http: httpx.AsyncClient, project: Target, settings: Settings, there: Connection,
    scenario: Scenario, owner: Connection,
) -> None:  # fmt: skip
    client = await scenario.client()
    await pay(owner, await begin(owner, client))
    closed = await scenario.client()
    await pay(owner, await begin(owner, closed))
    await owner.execute("update identity.clients set status = 'closed' where id = $1", closed)
    assert await owner.fetchval("select count(*) from sync.row_keys") == 0
    relay = Relay(db, rpc_to(http, project), settings, utc_now)
    await relay.drain()
    assert len(await rows(there, LEDGER, client)) == 1
    assert await rows(there, "balance_topups", closed) == []
    assert await scenario.pending() == 0
    other = Relay(db, rpc_to(http, project), settings, utc_now)
    second = await scenario.client()
    await pay(owner, await begin(owner, second))
    await other.drain()
    assert len(await rows(there, "balance_topups", second)) == 1
    await backfill(db)
    await other.drain()
    assert len(await rows(there, LEDGER, client)) == 1


async def test_relays_that_find_the_tables_at_once_do_not_wait_for_each_other(
    db: Database, http: httpx.AsyncClient, project: Target, settings: Settings, there: Connection,
    scenario: Scenario, owner: Connection,
) -> None:  # fmt: skip
    clients = await scenario.clients(60)
    await scenario.top_up_everyone(clients, 1)
    small = settings.model_copy(update={"relay_batch": 10, "relay_in_flight": 3})
    relays = [Relay(db, rpc_to(http, project), small, utc_now) for _ in range(3)]
    done = await asyncio.gather(*(relay.drain() for relay in relays))
    assert sum(delivered.keys for delivered in done) >= 60
    await relays[0].drain()
    assert await scenario.pending() == 0
    for table in ("balance_topups", LEDGER):
        count = f"select count(*) from public.{table} where client_id = any ($1)"
        assert await there.fetchval(count, [str(client) for client in clients]) == 60
    assert await owner.fetchval("select count(*) from sync.old_tables") == 2


async def test_a_payment_under_way_is_not_forgotten_while_tables_are_found(
    db: Database, http: httpx.AsyncClient, project: Target, settings: Settings, there: Connection,
    scenario: Scenario, owner: Connection,
) -> None:  # fmt: skip
    client = await scenario.client()
    other = await scenario.client()
    relay = Relay(db, rpc_to(http, project), settings, utc_now)
    async with owner.transaction():
        await begin(owner, client)  # made no entry: no table is known
        draining = asyncio.create_task(relay.drain())
        async with db.connection() as watching:
            await until(
                lambda: watching.fetchval("select exists (select from pg_locks where not granted)")
            )
    await draining
    await relay.drain()
    assert len(await rows(there, "balance_topups", client)) == 1
    assert other


async def test_a_project_without_the_tables_costs_no_entry(
    relay_fresh: Relay, scenario: Scenario, owner: Connection
) -> None:
    client = await scenario.client()
    await relay_fresh.drain()
    await pay(owner, await begin(owner, client))
    topics = await owner.fetch("select distinct topic from sync.pending")
    assert [row["topic"] for row in topics] == ["client"]


async def test_a_reconciliation_finds_and_repairs_what_differs(
    relay: Relay, scenario: Scenario, owner: Connection, there: Connection, db: Database,
    project: Target, http: httpx.AsyncClient,
) -> None:  # fmt: skip
    rpc = rpc_to(http, project)
    client = await scenario.client()
    invoice = await begin(owner, client)
    await pay(owner, invoice)
    await relay.drain()
    [bill] = await rows(there, "balance_topups", client)
    assert (await check(db, rpc)).differ == 0
    await switch(there, enable=False)
    await there.execute("update public.balance_topups set paid_amount = 5000")
    await there.execute(f"delete from public.{LEDGER}")
    await switch(there, enable=True)
    differing = await check(db, rpc)
    assert {
        f"{drift.title}: {drift.action} / {facts_text(drift.ours, drift.fields)}"
        f" / {facts_text(drift.theirs, drift.fields)}"
        for drift in differing.drift
    } == {
        (
            f"payment {invoice}: differs in an older backend's table balance_topups"
            " / paid amount 500 / paid amount 5000"
        ),
        (
            f"transaction 1 of client {client}, payment {invoice}: differs in an older backend's"
            f" table {LEDGER} / amount 500, currency KGS, client id {client}, balance after 500,"
            f" balance before 0, balance topup id {bill['id']}, transaction type balance_topup,"
            " charging session id none / nothing"
        ),
    }
    assert (await check(db, rpc, repair=True, deliver=relay.drain)).equal
    [bill] = await rows(there, "balance_topups", client)
    [entry] = await rows(there, LEDGER, client)
    assert (bill["paid_amount"], entry["balance_topup_id"]) == (500, bill["id"])


async def test_deleting_a_user_goes_on_working(
    relay: Relay, scenario: Scenario, owner: Connection, there: Connection, db: Database,
    project: Target, http: httpx.AsyncClient,
) -> None:  # fmt: skip
    client = await scenario.client()
    await pay(owner, await begin(owner, client))
    await relay.drain()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await there.execute("delete from public.balance_topups")
    await there.execute("delete from public.clients where id = $1", str(client))
    assert await rows(there, LEDGER, client) == []
    await owner.execute("update identity.clients set status = 'closed' where id = $1", client)
    await owner.execute("delete from sync.pending")
    differing = await check(db, rpc_to(http, project))
    assert [drift for drift in differing.drift if drift.topic == "row"] == []


async def test_the_apps_histories_are_answered_before_the_switch_and_after_it(
    supabase: Supabase, db: Database, owner: Connection, there: Connection, project: Target,
    http: httpx.AsyncClient, settings: Settings, scenario: Scenario,
) -> None:  # fmt: skip
    driver = await registered(supabase, owner)
    other = await scenario.client()

    async def ask(query: str, client: UUID = driver.id, *, signed_in: bool = True) -> Rows:
        headers = {"apikey": project.local.publishable_key}
        if signed_in:
            headers = supabase.driver_key(driver)
        answer = await http.get(
            f"{project.local.url}/rest/v1/{query}&client_id=eq.{client}", headers=headers
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    await switch(there, enable=False)
    for client in (driver.id, other):
        await there.execute(
            "insert into public.clients (id, name, balance) values ($1, 'A', 100)"
            " on conflict (id) do update set balance = 100",
            str(client),
        )
        await there.execute(
            f"""
            with bill as (
              insert into public.balance_topups values (default, substr(md5($1), 1, 12), $1,
                '4672496329', $1, 100, 100, 'KGS', 'approved', 1, $2, $2, $2, $2, $2, null, null,
                null, $2, 1, $2, 3, false, 'ODENGI') returning id)
            insert into public.{LEDGER} (client_id, transaction_type, amount, balance_before,
              balance_after, balance_topup_id, created_at)
            select $1, 'balance_topup', 100, 0, 100, id, $2 from bill
            """,
            str(client),
            datetime(2026, 10, 1, tzinfo=UTC),
        )
    assert [row["amount"] for row in await ask(R1)] == [100]
    for query in (R3B, R5):
        [before] = await ask(query)
        assert [entry["balance_after"] for entry in before[LEDGER]] == [100]

    await owner.execute(  # the import of the opening balance
        "insert into payments.payments (invoice_id, order_id, client_id, provider, provider_ref,"
        " method, amount_minor, status, paid_minor, confirmed_at, expires_at)"
        " select left(c::text, 12), c::text, c, 'manual', $2 || c, 'cash', 10000, 'approved',"
        " 10000, now(), now() from unnest($1::uuid[]) c",
        [driver.id, other],
        OPENING,
    )
    await owner.execute(
        "select wallet.credit_many(array(select id from payments.payments order by id))"
    )
    rpc = rpc_to(http, project)
    await set_guard(db, rpc, enable=True, actor="aida", reason="the switch")
    relay = Relay(db, rpc, settings, utc_now)
    assert (await relay.drain()).refused == 0
    invoice = await begin(owner, driver.id, 25_000)
    await relay.drain()
    [shown, earlier] = await ask(R5)
    assert (shown["status"], shown[LEDGER], earlier["status"]) == ("processing", [], "approved")
    await pay(owner, invoice)
    session = await scenario.session(driver.id, station="CHR-BGK-001", cost_minor=5_000)
    assert (await relay.drain()).refused == 0

    ledger = await ask(R1)
    assert {
        (row["transaction_type"], row["amount"], row["balance_before"], row["balance_after"])
        for row in ledger
    } == {
        ("balance_topup", 100, 0, 100),
        ("balance_topup", 250, 100, 350),
        ("charge_payment", -50, 350, 300),
    }
    assert {row["charging_session_id"] for row in ledger} == {None, str(session)}
    assert [row["requested_amount"] for row in await ask(R3)] == [250, 100]
    for query in (R3B, R5):
        after = await ask(query)
        assert [(row["status"], row["paid_amount"]) for row in after] == [
            ("approved", 250), ("approved", 100),
        ]  # fmt: skip
        assert [row[LEDGER] for row in after] == [
            [{"balance_before": 100, "balance_after": 350, "amount": 250,
              "transaction_type": "balance_topup"}],
            [{"balance_before": 0, "balance_after": 100, "amount": 100,
              "transaction_type": "balance_topup"}],
        ]  # fmt: skip
    for query in (R1, R3, R3B, R5):  # HEAD has no token of Supabase, and no driver reads another's
        assert await ask(query, signed_in=False) == []
        assert await ask(query, other) == []


async def test_no_policy_of_the_project_lets_anon_read(
    supabase: Supabase, relay: Relay, scenario: Scenario, owner: Connection, there: Connection,
    project: Target, http: httpx.AsyncClient,
) -> None:  # fmt: skip
    assert supabase
    client = await scenario.client()
    await pay(owner, await begin(owner, client))
    await relay.drain()
    for table in ("balance_topups", LEDGER, "client_tariffs"):
        await there.execute(f"create policy open_to_all on public.{table} for all using (true)")
        try:
            answer = await http.get(
                f"{project.local.url}/rest/v1/{table}?select=*",
                headers={"apikey": project.local.publishable_key},
            )
            assert (answer.status_code, answer.json()) == (200, [])
        finally:
            await there.execute(f"drop policy open_to_all on public.{table}")


async def send_again(owner: Connection, client: UUID, session: UUID, *, force: bool) -> None:
    """Enqueues what a client has; with `force` it is written whatever Supabase has."""
    await owner.execute("select sync.enqueue_ids('transaction', array[$1])", f"{client}:1")
    await owner.execute("insert into sync.pending (topic, key) values ('session', $1)", session)
    await owner.execute("update sync.pending set force = $1", force)


async def drifting(db: Database, http: httpx.AsyncClient, project: Target) -> dict[str, set[str]]:
    """The fields that differ, by what they are of."""
    result = await check(db, rpc_to(http, project))
    return {drift.topic: set(drift.fields) for drift in result.drift}


@pytest.mark.parametrize("change", ["deletion_requested_at = now()", "status = 'closed'"])
async def test_what_the_project_takes_from_a_client_who_leaves_stays_taken(
    change: str, db: Database, http: httpx.AsyncClient, project: Target, relay: Relay,
    scenario: Scenario, owner: Connection, there: Connection,
) -> None:  # fmt: skip
    client = await scenario.client()
    invoice = await begin(owner, client)
    await pay(owner, invoice)
    session = await scenario.session(client, station="CHR-BGK-001", cost_minor=12_345)
    assert (await relay.drain()).refused == 0
    # As the app's anonymize_client does, with the secret key.
    async with there.transaction():
        await there.execute("set local role service_role")
        await there.execute(
            "update public.charging_sessions set user_id = null where user_id = $1", str(client)
        )
        await there.execute(
            f"update public.{LEDGER} set client_id = null where client_id = $1", str(client)
        )
    assert await drifting(db, http, project) == {
        "session": {"client_id", "same"}, "row": {"client_id"},
    }  # fmt: skip

    await owner.execute(f"update identity.clients set {change} where id = $1", client)
    await there.execute("update public.clients set status = 'inactive'")
    await relay.drain()
    assert await drifting(db, http, project) == {}
    async with db.connection() as connection:
        keys = await page_of_ours(connection, "session", None, 10, None)
    assert len(keys) == 1
    assert await Digests(db, rpc_to(http, project)).differing("session", keys) == []
    for force in (True, False):
        await there.execute("update public.charging_sessions set revision = 0, energy = 99")
        await send_again(owner, client, session, force=force)
        assert (await relay.drain()).refused == 0
        [shown] = await there.fetch("select user_id, energy from public.charging_sessions")
        assert tuple(shown) == (None, 10.001)
    assert await rows(there, LEDGER, client) == []
    assert await there.fetchval(f"select count(*) from public.{LEDGER}") == 2
    assert await drifting(db, http, project) == {}
    await there.execute("update public.charging_sessions set energy = 99")
    assert await drifting(db, http, project) == {"session": {"energy_wh", "same"}}

    await owner.execute(  # withdrawn
        "update identity.clients set deletion_requested_at = null, status = 'active'"
    )
    await there.execute("update public.clients set status = 'active'")
    assert (await check(db, rpc_to(http, project), repair=True, deliver=relay.drain)).equal
    assert len(await rows(there, LEDGER, client)) == 2


@pytest.mark.parametrize(
    ("change", "evpower_blocks"),
    [
        ("status = 'pending_deletion'", False), ("status = 'inactive'", False),
        ("status = 'pending_deletion'", True), ("delete_requested_at = now()", False),
    ],
)  # fmt: skip
async def test_a_client_who_leaves_is_not_linked_again_before_evpower_knows(
    change: str, evpower_blocks: bool, relay: Relay, scenario: Scenario, owner: Connection,  # noqa: FBT001
    there: Connection,
) -> None:  # fmt: skip
    client, other = await scenario.client(), await scenario.client()
    for each in (client, other):
        await pay(owner, await begin(owner, each))
    sessions = [
        await scenario.session(each, station="CHR-BGK-001", cost_minor=12_345)
        for each in (client, other)
    ]
    assert (await relay.drain()).refused == 0
    await there.execute(
        "alter table public.clients add column if not exists delete_requested_at timestamptz"
    )
    try:
        async with there.transaction():
            await there.execute("set local role service_role")
            await there.execute(
                "update public.charging_sessions set user_id = null, client_id = null"
            )
            await there.execute(f"update public.{LEDGER} set client_id = null")
            await there.execute(f"update public.clients set {change} where id = $1", str(client))
        if evpower_blocks:
            await owner.execute(
                "update identity.clients set status = 'blocked' where id = $1", client
            )
            assert (await relay.drain()).refused == 0
        for each, session in zip((client, other), sessions, strict=True):
            await send_again(owner, each, session, force=True)
        assert (await relay.drain()).refused == 0
        linked = await there.fetch("select id, user_id, client_id from public.charging_sessions")
        assert {row["id"]: (row["user_id"], row["client_id"]) for row in linked} == {
            str(sessions[0]): (None, None), str(sessions[1]): (str(other), str(other)),
        }  # fmt: skip
        assert await rows(there, LEDGER, client) == []
        assert await rows(there, LEDGER, other) != []
    finally:
        await there.execute("alter table public.clients drop column delete_requested_at")


async def test_a_bill_whose_client_the_project_took_is_written_as_before(
    db: Database, relay: Relay, scenario: Scenario, owner: Connection, there: Connection
) -> None:
    client = await scenario.client()
    invoice = await begin(owner, client)
    await pay(owner, invoice)
    await relay.drain()
    await owner.execute("update identity.clients set status = 'closed' where id = $1", client)
    await there.execute("alter table public.balance_topups alter client_id drop not null")
    try:
        await there.execute("update public.balance_topups set client_id = null")
        async with db.transaction() as connection:
            await payments.refund_payment(
                connection, invoice_id=invoice, amount_minor=10_000, operator="aida",
                reason="sorry", reference="r1",
            )  # fmt: skip
        await owner.execute("select sync.enqueue_ids('transaction', array[$1])", f"{client}:1")
        assert (await relay.drain()).refused == 0
        [bill] = await there.fetch(
            "select id, client_id, status::text as status from public.balance_topups"
        )
        assert (bill["client_id"], bill["status"]) == (None, "partial_refund")
        assert [row["balance_topup_id"] for row in await rows(there, LEDGER, client)] == [
            bill["id"], None,
        ]  # fmt: skip
        await owner.execute("update identity.clients set status = 'active' where id = $1", client)
        await there.execute("update public.clients set status = 'active'")
        await owner.execute("select sync.enqueue_ids('payment', array[$1])", invoice)
        assert (await relay.drain()).refused == 0
        [linked] = await rows(there, "balance_topups", client)
        assert (linked["id"], linked["status"]) == (bill["id"], "partial_refund")
    finally:
        await switch(there, enable=False)
        await there.execute("delete from public.balance_topups")
        await there.execute("alter table public.balance_topups alter client_id set not null")
