"""The guard: an older backend works until it is enabled, and again after it is disabled."""

import asyncio
import json
from collections.abc import AsyncGenerator
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from evpower.cli import doctor_supabase, supabase_guard
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.sync import GuardStatus, Relay, guard_status, set_guard
from tests.conftest import Server
from tests.sync.conftest import rpc_to
from tests.sync.old_backend import OldBackend, old_backend_project, switch
from tests.sync.projects import bare_project, connected, migration
from tests.sync.scenario import Scenario, Target
from tests.sync.test_supabase_upgrade import LAST, SHAPES, TEN
from tests.waiting import until

REFUSED = asyncpg.InsufficientPrivilegeError


@pytest.fixture(scope="session")
async def project(server: Server) -> AsyncGenerator[Target]:
    async with old_backend_project(server, "supabase_guard") as target:
        yield target


@pytest.fixture
async def there(project: Target) -> AsyncGenerator[Connection]:
    async with project.psql() as connection:
        await switch(connection, enable=False)
        await connection.execute("delete from public.charging_sessions")
        await connection.execute("delete from public.transactions")
        await connection.execute("delete from public.clients")
        yield connection


@pytest.fixture
def old(there: Connection) -> OldBackend:
    return OldBackend(there)


@pytest.fixture
def relay(
    db: Database, http: httpx.AsyncClient, project: Target, settings: Settings,
    there: Connection,  # noqa: ARG001 - empties the project first
) -> Relay:  # fmt: skip
    return Relay(db, rpc_to(http, project), settings, utc_now)


async def as_driver(there: Connection, client: UUID, statement: str) -> None:
    """Runs a statement as PostgREST does for a driver's token."""
    async with there.transaction():
        claims = json.dumps({"sub": str(client), "role": "authenticated"})
        await there.execute("select set_config('request.jwt.claims', $1, true)", claims)
        await there.execute("select set_config('request.jwt.claim.sub', $1, true)", str(client))
        await there.execute("set local role authenticated")
        await there.execute(statement)


async def test_the_old_backend_works_until_the_switch_and_again_after_it(
    old: OldBackend, relay: Relay, scenario: Scenario, db: Database, project: Target,
    http: httpx.AsyncClient,
) -> None:  # fmt: skip
    rpc = rpc_to(http, project)
    assert not (await guard_status(rpc)).is_enabled
    client = await scenario.client(email="aida@example.kg")
    await old.sign_up(str(client), 0)
    await old.top_up(str(client), 0.5)
    await old.top_up(str(client), -0.5)
    await old.heartbeat()

    await scenario.top_up(client, 50_000)  # in EvPower: it waits
    assert (await relay.drain()).keys == 0
    assert await old.balance(str(client)) == 0
    assert await scenario.pending() > 0

    enabled = await set_guard(db, rpc, enable=True, actor="aida", reason="the switch")
    assert (enabled.is_enabled, enabled.has_changed) == (True, True)
    await until(lambda: relay._breaker.wait_s() == 0)
    await relay.drain()
    await relay.drain()
    assert await old.balance(str(client)) == 500
    for act in (old.top_up(str(client), 7), old.sign_up("other", 7), old.heartbeat()):
        with pytest.raises(REFUSED) as refused:
            await act
        assert "evpower supabase guard disable" in str(refused.value.hint)
    assert await old.balance(str(client)) == 500

    disabled = await set_guard(db, rpc, enable=False, actor="aida", reason="back")
    assert not disabled.is_enabled
    await old.top_up(str(client), 7)
    await old.heartbeat()
    assert await old.balance(str(client)) == 507


async def test_the_audit_has_each_switch(
    db: Database, owner: Connection, project: Target, http: httpx.AsyncClient, there: Connection
) -> None:
    assert there
    rpc = rpc_to(http, project)
    assert (await set_guard(db, rpc, enable=True, actor="aida", reason="go")).has_changed
    assert not (await set_guard(db, rpc, enable=True, actor="aida", reason="again")).has_changed
    assert (await set_guard(db, rpc, enable=False, actor="aida", reason="back")).has_changed
    rows = await owner.fetch("select actor, action, reason from identity.audit order by id")
    assert [tuple(row) for row in rows] == [
        ("aida", "supabase.guard_enable", "go"),
        ("aida", "supabase.guard_enable", "again"),
        ("aida", "supabase.guard_disable", "back"),
    ]


async def test_a_driver_writes_no_money_however_the_guard_stands(
    old: OldBackend, there: Connection
) -> None:
    client = uuid4()
    for enable in (False, True):
        await switch(there, enable=enable)
        row = f"insert into public.clients (id, name, balance) values ('{client}', 'x', {{}})"
        with pytest.raises(REFUSED):
            await as_driver(there, client, row.format(1000))
    await as_driver(there, client, row.format(0))
    for enable in (False, True):
        await switch(there, enable=enable)
        with pytest.raises(REFUSED):
            await as_driver(there, client, "update public.clients set balance = 1000")
    assert await old.balance(str(client)) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "update public.locations set name = 'x'",
        "delete from public.connectors",
        "truncate public.connectors",
        "insert into public.tariff_plans (id, name) values ('x', 'x')",
        "update public.tariff_rules set price = 1",
        "update public.client_tariffs set discount_percent = 100",
        "update public.stations set price_per_kwh = 1 where false",
        "delete from public.balance_topups",
        "truncate public.payment_transactions_odengi",
    ],
)
async def test_stations_and_tariffs_are_evpowers_while_it_is_enabled(
    there: Connection, statement: str
) -> None:
    for enable in (True, False):
        await switch(there, enable=enable)
        transaction = there.transaction()
        await transaction.start()
        if enable:
            with pytest.raises(REFUSED):
                await there.execute(statement)
        else:
            await there.execute(statement)
        await transaction.rollback()


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("client_id = null", False),
        ("client_id = null, amount = amount + 0", False),
        ("client_id = null, amount = 0", True),
        ("client_id = 'c2'", True),
        ("amount = 0", True),
        ("description = 'x'", True),
    ],
)
async def test_another_writer_only_takes_the_client_from_a_payment(
    there: Connection,
    old: OldBackend,
    statement: str,
    refused: bool,  # noqa: FBT001
) -> None:
    for client in ("c1", "c2"):
        await old.sign_up(client)
    await there.execute(
        "insert into public.payment_transactions_odengi (client_id, transaction_type, amount,"
        " balance_before, balance_after) values ('c1', 'balance_topup', 5, 0, 5)"
    )
    await there.execute(
        "alter table public.payment_transactions_odengi"
        " add column doubled numeric generated always as (amount * 2) stored"
    )
    await switch(there, enable=True)
    update = f"update public.payment_transactions_odengi set {statement}"
    if refused:
        with pytest.raises(REFUSED) as error:
            await there.execute(update)
        assert "evpower payments" in str(error.value.hint)
    else:
        assert await there.execute(update) == "UPDATE 1"
    await switch(there, enable=False)
    await there.execute("delete from public.payment_transactions_odengi")
    await there.execute("alter table public.payment_transactions_odengi drop column doubled")


async def test_enabling_waits_for_a_writer_that_has_begun(
    old: OldBackend, there: Connection, project: Target
) -> None:
    await old.sign_up("c1", 10)
    async with project.psql() as other:
        writing = there.transaction()
        await writing.start()
        await old.top_up("c1", 5)
        enabling = asyncio.create_task(switch(other, enable=True))
        async with project.psql() as third:
            await until(
                lambda: third.fetchval("select exists (select from pg_locks where not granted)")
            )
            await third.execute("set lock_timeout = '100ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):  # a writer that comes later waits
                await OldBackend(third).top_up("c1", 1)
        await writing.commit()
        assert (await enabling)["is_enabled"]
    assert await old.balance("c1") == 15
    with pytest.raises(REFUSED):
        await old.top_up("c1", 1)


async def test_while_it_is_disabled_no_function_of_evpower_writes(
    there: Connection, old: OldBackend, project: Target
) -> None:
    client = uuid4()
    await old.sign_up(str(client), 10)
    for function in ("evpower_apply", "evpower_archive"):
        payload = json.dumps({"clients": [[str(client), 0]]})
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await there.execute(f"select public.{function}($1)", payload)
    async with project.superuser() as auth:
        await auth.execute("insert into auth.users (id, email) values ($1, 'a@example.kg')", client)
        await auth.execute("update auth.users set email = 'b@example.kg' where id = $1", client)
    assert await there.fetchval("select email from public.clients") is None
    await switch(there, enable=True)  # then what waited is carried
    await there.execute("select public.evpower_changes('{\"limit\": 1}')")
    assert await there.fetchval("select email from public.clients") == "b@example.kg"


async def test_enabling_makes_room_for_the_ids_of_second_payments(
    there: Connection, db: Database, project: Target, http: httpx.AsyncClient
) -> None:
    assert there
    status = await set_guard(db, rpc_to(http, project), enable=True, actor="aida", reason="go")
    assert status.invoice_id == "character varying(64)"
    assert not status.is_invoice_id_short
    assert status.tables == (
        "locations", "tariff_plans", "tariff_rules", "stations", "connectors", "client_tariffs",
        "balance_topups", "payment_transactions_odengi",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("type_", "is_short"),
    [("character varying(12)", True), ("character varying(64)", False), ("text", False),
     ("character varying", False), (None, False)],
)  # fmt: skip
def test_a_short_invoice_id_is_seen(type_: str | None, is_short: bool) -> None:  # noqa: FBT001
    assert GuardStatus(True, utc_now(), False, (), type_).is_invoice_id_short is is_short


@pytest.mark.parametrize(
    ("name", "texts", "is_enabled"),
    [
        ("new", [], True),
        ("new_last", [*LAST], True),
        ("own_clients", ["create table public.clients (id uuid primary key)"], True),
        ("older", [*SHAPES["older"]], False),
        ("older_last", [*SHAPES["older"], *LAST], False),
        ("older_ten", [*SHAPES["older"], *TEN, *LAST], False),
        (
            "older_in_use",
            [*SHAPES["older"], *LAST, "alter table public.clients disable trigger user",
             "update public.clients set evpower_revision = 5"],
            True,
        ),
    ],
)  # fmt: skip
async def test_it_begins_as_the_project_needs_it(
    server: Server,
    name: str,
    texts: list[str],
    is_enabled: bool,  # noqa: FBT001
) -> None:
    async with connected(await bare_project(server, f"guard_{name}")) as there:
        for text in texts:
            await there.execute(text)
        await there.execute(migration())
        assert (await switch(there))["is_enabled"] is is_enabled
        assert (await switch(there, enable=not is_enabled))["is_enabled"] is not is_enabled
        await there.execute(migration())  # applied again it leaves the switch
        assert (await switch(there))["is_enabled"] is not is_enabled


async def test_doctor_says_who_writes(
    there: Connection, project: Target, http: httpx.AsyncClient
) -> None:
    settings = Settings.model_construct(
        supabase_url=project.local.url, supabase_secret_key=SecretStr(project.local.secret_key)
    )
    for enable in (False, True):
        await switch(there, enable=enable)
        [line] = await doctor_supabase._guard(settings, http)
        assert (line.name, line.ok) == ("Supabase guard", enable)
        assert "evpower supabase guard enable" in line.fix


async def test_what_the_guard_put_up_is_compared_with_how_it_was(there: Connection) -> None:
    await switch(there, enable=False)
    await switch(there, enable=True)
    policy = "policy evpower_none_of_anon on public.balance_topups"

    async def changed() -> list[str]:
        faults = await there.fetch(
            "select kind || ' ' || name from evpower.object_faults() where fault = 'changed'"
        )
        return [name for (name,) in faults]

    assert await changed() == []
    await there.execute(f"alter {policy} using (true)")
    assert await changed() == [policy]
    await switch(there, enable=False)
    await switch(there, enable=True)  # puts it up anew
    assert await changed() == []
    await there.execute("alter policy evpower_own_update on public.clients using (true)")
    await switch(there, enable=False)
    await switch(there, enable=True)  # neither does anything about this one
    assert await changed() == ["policy evpower_own_update on public.clients"]
    await there.execute(migration())
    assert await changed() == []


def test_a_command_says_who_writes() -> None:
    at = utc_now()
    enabled = GuardStatus(
        is_enabled=True, changed_at=at, has_changed=True, tables=(), invoice_id=None
    )
    assert "only EvPower writes" in supabase_guard.describe(enabled)
    disabled = GuardStatus(False, at, False, (), None)
    assert "EvPower writes nothing" in supabase_guard.describe(disabled)
