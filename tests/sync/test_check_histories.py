"""EvPower restored from an older backup: histories that part are found, and never written over."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import httpx
import pytest

from evpower.config import Settings
from evpower.devstack.stack import supabase_migrations
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.sync import Relay, Rpc, SupabaseRpc
from evpower.sync.reconciliation.digests import Digests
from tests.conftest import Server, as_owner, patient_database
from tests.sync.checking import compare, empty, give_users, kinds
from tests.sync.conftest import rpc_to
from tests.sync.projects import bare_project
from tests.sync.scenario import Scenario, Target, balance, versions
from tests.sync.test_supabase_schema import NUMBERED
from tests.waiting import until

one_shape = pytest.mark.parametrize("target", ["fresh_project"], indirect=True)


@pytest.fixture(autouse=True)
async def no_one(there: Connection) -> None:
    await empty(there)


@pytest.fixture
def rpc(http: httpx.AsyncClient, target: Target) -> SupabaseRpc:
    return rpc_to(http, target)


class House:
    """An EvPower that can be restored to an earlier moment."""

    def __init__(self, server: Server, rpc: Rpc, settings: Settings) -> None:
        self.server = server
        self.rpc = rpc
        self.settings = settings

    @asynccontextmanager
    async def at(self, dsn: str) -> AsyncGenerator[tuple[Scenario, Relay, Database]]:
        owner: Connection = await asyncpg.connect(as_owner(dsn))
        db = patient_database(dsn, size=5)
        await db.start()
        try:
            yield Scenario(owner), Relay(db, self.rpc, self.settings, utc_now), db
        finally:
            await db.close()
            await owner.close()

    async def backup(self, dsn: str) -> str:
        """Copies the database as it is now; no connection may be open."""
        copy = f"{dsn.rsplit('/', 1)[1]}_copy"
        admin: Connection = await asyncpg.connect(self.server.dsn("postgres"))
        try:
            await until(lambda: _no_one_is_in(admin, dsn))
            await admin.execute(
                f"create database {copy} template {dsn.rsplit('/', 1)[1]} owner evpower"
            )
        finally:
            await admin.close()
        await self.server.set_login_defaults(copy)
        return self.server.owner_dsn(copy)


async def _no_one_is_in(admin: Connection, dsn: str) -> bool:
    people = "select count(*) from pg_stat_activity where datname = $1"
    return await admin.fetchval(people, dsn.rsplit("/", 1)[1]) == 0


@pytest.fixture
def house(server: Server, rpc: SupabaseRpc, settings: Settings) -> House:
    return House(server, rpc, settings)


async def lost_hours(
    house: House, there: Connection, after_restore: tuple[int, ...]
) -> tuple[str, UUID, UUID]:
    """A backup of the night, a morning that was lost, and changes after the restore.

    Answers the restored database, a client with two histories, and one nothing happened to.
    """
    dsn = await house.server.new_database()
    async with house.at(dsn) as (scenario, relay, _):
        client, quiet = await scenario.client(), await scenario.client()
        await give_users(scenario, there)
        await scenario.top_up(client, 10_000, 20_000)
        await scenario.top_up(quiet, 700)
        await relay.drain()
    restored = await house.backup(dsn)
    async with house.at(dsn) as (scenario, relay, _):
        await scenario.top_up(client, 30_000, 40_000)
        await relay.drain()
    async with house.at(restored) as (scenario, relay, _):
        await scenario.top_up(client, *after_restore)
        await relay.drain()
    return restored, client, quiet


async def test_histories_of_one_length_are_found_to_part(
    house: House, rpc: SupabaseRpc, there: Connection
) -> None:
    restored, client, _ = await lost_hours(house, there, (500, 600))
    before = await there.fetchval("select json_agg(t order by version)::text from transactions t")
    async with house.at(restored) as (_, relay, db):
        result = await compare(db, rpc, repair=True, deliver=relay.drain)
        assert kinds(result) == {str(client): "diverged"}
        assert [difference.action for difference in result.drift] == [
            "reported: the histories diverge at version 3, decide by hand"
        ]
        assert (result.closed, result.equal) == (0, False)
        assert (
            await there.fetchval("select json_agg(t order by version)::text from transactions t")
            == before
        )
        repaired = await compare(db, rpc, repair=True, overwrite_ahead=True, deliver=relay.drain)
        assert repaired.equal, repaired.drift
        assert (await compare(db, rpc)).drift == ()
    assert (await balance(there, client), await versions(there, client)) == ("311.00", [1, 2, 3, 4])
    assert await archived(there, client) == ["300.00", "400.00"]


async def test_same_amounts_in_other_transactions_are_two_histories(
    house: House, rpc: SupabaseRpc, there: Connection
) -> None:
    restored, client, _ = await lost_hours(house, there, (30_000, 40_000))
    async with house.at(restored) as (scenario, relay, db):
        assert kinds(await compare(db, rpc, repair=True)) == {str(client): "diverged"}
        invoices = await there.fetch(
            "select invoice_id from public.transactions where version > 2 order by version"
        )
        known = await scenario.db.fetch("select invoice_id from payments.payments")
        assert not {row["invoice_id"] for row in invoices} & {row["invoice_id"] for row in known}
        await compare(db, rpc, repair=True, overwrite_ahead=True, deliver=relay.drain)
        assert (await compare(db, rpc)).drift == ()
        ours = await scenario.db.fetch("select id from wallet.transactions order by id")
    theirs = await there.fetch("select id from public.transactions order by id")
    assert [row["id"] for row in theirs] == [row["id"] for row in ours]
    assert await archived(there, client) == ["300.00", "400.00"]


async def test_longer_history_that_parts_is_put_aside_from_there(
    house: House, rpc: SupabaseRpc, there: Connection
) -> None:
    """Supabase is ahead, and earlier versions have other transactions: all are archived."""
    restored, client, _ = await lost_hours(house, there, (500,))
    async with house.at(restored) as (_, relay, db):
        result = await compare(db, rpc, repair=True)
        assert [(difference.kind, difference.diverged) for difference in result.drift] == [
            ("ahead", 3)
        ]
        repaired = await compare(db, rpc, repair=True, overwrite_ahead=True, deliver=relay.drain)
        assert repaired.equal, repaired.drift
    assert (await balance(there, client), await versions(there, client)) == ("305.00", [1, 2, 3])
    assert await archived(there, client) == ["300.00", "400.00"]


@one_shape
async def test_history_that_grew_past_the_other_is_found_to_part(
    house: House, rpc: SupabaseRpc, there: Connection
) -> None:
    restored, client, _ = await lost_hours(house, there, (500, 600, 700))
    async with house.at(restored) as (_, relay, db):
        assert kinds(await compare(db, rpc, repair=True, deliver=relay.drain)) == {
            str(client): "diverged"
        }
        assert await archived(there, client) == []
        await compare(db, rpc, repair=True, overwrite_ahead=True, deliver=relay.drain)
        assert (await compare(db, rpc)).drift == ()
    assert await archived(there, client) == ["300.00", "400.00"]


@one_shape
async def test_only_amounts_changed_by_hand_are_no_parting(
    house: House,
    rpc: SupabaseRpc,
    there: Connection,
    scenario: Scenario,
    relay: Relay,
    db: Database,
) -> None:
    client = await scenario.client()
    await give_users(scenario, there)
    await scenario.top_up(client, 100, 200, 300)
    await relay.drain()
    await there.execute(
        "update public.transactions set amount = 9, balance_before = 4 where version = 2"
    )
    await there.execute("update public.transactions set balance_before = 1 where version = 3")
    assert kinds(await compare(db, rpc)) == {str(client): "transactions"}
    assert (await compare(db, rpc, repair=True, deliver=relay.drain)).equal
    assert house


async def archived(there: Connection, client: UUID) -> list[str]:
    rows = await there.fetch(
        "select round((archived_row ->> 'amount')::numeric, 2)::text as amount from evpower.archive"
        " where relation = 'transactions' and client_id = $1 order by 1",
        str(client),
    )
    return [row["amount"] for row in rows]


class Direct:
    """Calls the function as PostgREST would, in a project without one."""

    def __init__(self, there: Connection) -> None:
        self.there = there

    async def call(self, function: str, body: bytes) -> object:
        payload = json.dumps(json.loads(body)["payload"])
        async with self.there.transaction():
            return json.loads(
                await self.there.fetchval(f"select public.{function}($1::jsonb)::text", payload)
            )


@one_shape
async def test_where_supabase_numbers_transactions_their_time_tells_them_apart(
    server: Server, db: Database, scenario: Scenario, settings: Settings
) -> None:
    there: Connection = await asyncpg.connect(await bare_project(server, "supabase_numbered_check"))
    try:
        await there.execute(NUMBERED)
        for path in sorted(supabase_migrations().glob("*.sql")):
            await there.execute(path.read_text())
        rpc = Direct(there)
        client = await scenario.client()
        await scenario.top_up(client, 100, 200)
        await Relay(db, rpc, settings, utc_now).drain()
        await there.execute("delete from public.transactions where version is null")
        assert (await compare(db, rpc)).drift == ()
        await there.execute(
            "update public.transactions set created_at = created_at - interval '1 us'"
            " where version = 2"
        )
        assert kinds(await compare(db, rpc, repair=True)) == {str(client): "diverged"}
    finally:
        await there.close()


@one_shape
async def test_partings_of_many_clients_are_found_over_many_pages(
    db: Database, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, there: Connection
) -> None:
    clients = sorted(await scenario.clients(12))
    await scenario.top_up_everyone(clients, 900)
    await relay.drain()
    wanted = {str(client): 3 + 80 * nr for nr, client in enumerate(clients) if nr % 2}
    for client, version in wanted.items():
        await there.execute(
            "update public.transactions set id = gen_random_uuid()"
            f" where client_id::text = '{client}' and version >= {version}"
        )
    assert await Digests(db, rpc).divergences([str(client) for client in clients]) == wanted
