"""`sync check` finds every kind of drift, and `--repair` repairs what EvPower is right about."""

from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest

from evpower.foundation.db import Connection, Database
from evpower.sync import Relay, SupabaseRpc, backfill, status
from evpower.sync.outbound.backfill import BackfillProgress
from evpower.sync.reconciliation.digests import DigestKey, Digests
from evpower.sync.reconciliation.run import RunProgress as Compared
from tests.sync.checking import (
    client_on_both_sides,
    compare,
    empty,
    give_users,
    kinds,
    past_every_guard,
)
from tests.sync.conftest import rpc_to
from tests.sync.projects import migration
from tests.sync.scenario import NOON, STATION, Scenario, Target, balance, by_hand, versions


@pytest.fixture
def rpc(http: httpx.AsyncClient, target: Target) -> SupabaseRpc:
    return rpc_to(http, target)


@pytest.fixture(autouse=True)
async def no_one(there: Connection) -> None:
    """Starts with an empty project."""
    await empty(there)


@pytest.fixture
async def client(scenario: Scenario, relay: Relay, there: Connection) -> UUID:
    """A client with three transactions and a session, equal on both sides."""
    return await client_on_both_sides(scenario, relay, there)


async def test_equal_sides_have_no_drift(
    db: Database,
    rpc: SupabaseRpc,
    scenario: Scenario,
    relay: Relay,
    there: Connection,
    client: UUID,
) -> None:
    await scenario.clients(25)
    await give_users(scenario, there)
    await relay.drain()
    seen: list[Compared] = []
    done = await compare(db, rpc, batch=10, on_progress=seen.append)
    assert (done.users, done.clients, done.sessions, done.transactions) == (26, 26, 1, 3)
    assert (done.drift, done.notice_sample, done.in_flight, done.equal) == ((), (), 0, True)
    assert Compared("client", "evpower", 26, 26) in seen
    assert Compared("client", "supabase", 26, 26) in seen
    assert Compared("profile", "supabase", 26, 26) in seen
    assert client


BY_HAND = {
    "balance": "update public.clients set balance = balance + 1",
    "balance with fractions": "update public.clients set balance = balance + 0.01",
    "held": "update public.clients set held = 5",
    "transaction amount": "update public.transactions set amount = amount + 1 where version = 1",
    "swapped amounts": "update public.transactions"
    " set amount = case version when 1 then 200.00 else 500.00 end,"
    " balance_after = balance_after where version < 3",
    "transaction type": "update public.transactions set type = 'refund' where version = 1",
    "transaction gone": "delete from public.transactions where version = 2",
    "last transaction gone": "delete from public.transactions where version = 3",
    "all transactions gone": "delete from public.transactions",
    "links and time of a transaction": "update public.transactions set invoice_id = 'X',"
    " session_id = gen_random_uuid(), event_at = '2020-01-01' where version = 1",
    "a transaction's bill gone": "update public.transactions set session_id = null",
    "currency": "update public.clients set currency = 'USD'",
    "status": "update public.clients set status = 'blocked'",
    "session cost": "update public.charging_sessions set amount = 1, total_cost = 1",
    "older columns apart": "update public.charging_sessions set energy = 3",
    "session status": "update public.charging_sessions set status = 'started'",
    "session begin": "update public.charging_sessions set start_time = start_time - interval '1 h'",
    "session end": "update public.charging_sessions"
    " set stop_time = stop_time + interval '2 s', end_time = end_time + interval '2 s'",
    "session recorded": "update public.charging_sessions set created_at = '2020-01-01'",
    "session without a begin": "update public.charging_sessions set start_time = null",
    "session never ends": "update public.charging_sessions"
    " set stop_time = 'infinity', end_time = 'infinity'",
    "session station": "update public.charging_sessions set station_id = null",
    "session connector": "update public.charging_sessions set connector_id = 2",
    "session gone": "delete from public.charging_sessions",
    "everything gone": "delete from public.transactions; delete from public.charging_sessions;"
    " delete from public.clients",
}


@pytest.mark.parametrize("change", BY_HAND)
async def test_drift_made_by_hand_is_found_and_repaired(
    change: str, db: Database, rpc: SupabaseRpc, relay: Relay, there: Connection, client: UUID
) -> None:
    async with by_hand(there):
        await there.execute(BY_HAND[change])
    result = await compare(db, rpc)
    assert result.drift
    assert not result.equal
    assert {difference.right_side for difference in result.drift} == {"evpower"}
    async with db.connection() as connection:
        assert (await status(connection)).drift == len(result.drift)
    repaired = await compare(db, rpc, repair=True, deliver=relay.drain)
    assert repaired.equal, repaired.drift
    assert repaired.closed == len(result.drift)
    assert (await compare(db, rpc)).drift == ()
    assert await balance(there, client) == "576.55"
    assert await versions(there, client) == [1, 2, 3]
    async with db.connection() as connection:
        assert (await status(connection)).drift == 0
        rows = await connection.fetch("select action, closed_at from sync.drift")
    assert all(row["closed_at"] for row in rows)


async def test_a_column_that_rounds_its_times_is_no_drift(
    db: Database, rpc: SupabaseRpc, there: Connection, client: UUID
) -> None:
    assert client
    async with by_hand(there):
        await there.execute(
            "update public.charging_sessions set start_time = start_time + interval '0.9 s',"
            " created_at = created_at - interval '0.9 s'"
        )
    assert (await compare(db, rpc)).drift == ()


@pytest.mark.parametrize("target", ["fresh_project"], indirect=True)
@pytest.mark.parametrize("precision", [0, 3])
async def test_times_are_compared_as_the_columns_round_them(
    db: Database,
    rpc: SupabaseRpc,
    scenario: Scenario,
    relay: Relay,
    there: Connection,
    client: UUID,
    precision: int,
) -> None:
    """Hashes are equal, so that no row is fetched; and both columns of the end are one time."""
    columns = ("start_time", "stop_time", "created_at")
    to = "alter table public.charging_sessions " + ", ".join(
        f"alter {c} type {{}}" for c in columns
    )
    await there.execute(to.replace("{}", f"timestamptz({precision})"))
    try:
        await there.execute(migration())
        session = uuid4()
        await scenario.db.execute(
            "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
            " started_at, ended_at, energy_wh, cost_minor)"
            " values ($1, $2, $3, 1, 'finished', 'import', $4, $5, 1000, 100)",
            session, client, STATION, NOON + timedelta(seconds=0.5),
            NOON + timedelta(minutes=40, seconds=0.499999),
        )  # fmt: skip
        await scenario.db.fetchrow("select wallet.charge($1)", session)
        await relay.drain()
        digests, keys = Digests(db, rpc), [DigestKey(session, deletion_requested=False)]
        assert await digests.differing("session", keys) == []
        theirs = await digests.theirs("session", [str(session)])
        assert theirs == await digests.ours("session", [session])
        assert (await compare(db, rpc)).drift == ()
        async with by_hand(there):
            await there.execute(
                "update public.charging_sessions set start_time = start_time + interval '1 s'"
            )
        assert await digests.differing("session", keys) == [session]
    finally:
        await there.execute(to.replace("{}", "timestamptz"))
        await there.execute(migration())


async def test_rows_only_supabase_has_are_reported_and_stay(
    db: Database, rpc: SupabaseRpc, relay: Relay, there: Connection, client: UUID
) -> None:
    stranger = uuid4()
    async with past_every_guard(there):
        await there.execute(f"insert into public.clients (id, balance) values ('{stranger}', 777)")
        await there.execute(
            "insert into public.transactions"
            " (client_id, type, amount, balance_before, balance_after)"
            f" values ('{client}', 'topup', 5, 0, 5)"
        )
        await there.execute(
            "insert into public.charging_sessions (id, user_id, status)"
            f" values ('{uuid4()}', '{client}', 'stopped')"
        )
    done = await compare(db, rpc, repair=True, deliver=relay.drain)
    assert kinds(done) == {str(stranger): "opening"}
    assert done.closed == 0
    assert (done.foreign_sessions, done.foreign_transactions) == (1, 1)
    assert await there.fetchval("select count(*) from public.transactions") == 4
    assert await balance(there, stranger) == "777.00"
    async with past_every_guard(there):
        await there.execute(f"delete from public.clients where id::text = '{stranger}'")
    assert (await compare(db, rpc)).drift == ()
    async with db.connection() as connection:
        assert (await status(connection)).drift == 0


async def test_row_no_one_here_knows_of_becomes_a_client(
    db: Database,
    rpc: SupabaseRpc,
    relay: Relay,
    scenario: Scenario,
    there: Connection,
    client: UUID,
) -> None:
    stranger = uuid4()
    async with past_every_guard(there):
        await there.execute(f"insert into public.clients (id, name) values ('{stranger}', 'Nur')")
    assert kinds(await compare(db, rpc)) == {str(stranger): "unseen"}
    done = await compare(db, rpc, repair=True, deliver=relay.drain)
    assert (kinds(done), done.equal) == ({str(stranger): "unseen"}, True)
    assert done.drift[0].right_side == "supabase"
    name = await scenario.db.fetchval("select name from identity.clients where id = $1", stranger)
    assert name == "Nur"
    await relay.drain()
    assert (await compare(db, rpc)).drift == ()
    assert client


async def test_transactions_of_the_old_backend_are_not_drift(
    db: Database, rpc: SupabaseRpc, relay: Relay, there: Connection, client: UUID
) -> None:
    stranger = uuid4()
    async with past_every_guard(there):
        await there.execute(f"insert into public.clients (id) values ('{stranger}')")
    await compare(db, rpc, repair=True, deliver=relay.drain)  # becomes a client
    for key in (client, client, stranger):
        await there.execute(
            "insert into public.transactions"
            " (client_id, type, amount, balance_before, balance_after)"
            f" values ('{key}', 'topup', 5, 0, 5)"
        )
    done = await compare(db, rpc, repair=True, deliver=relay.drain)
    assert (done.drift, done.foreign_transactions) == ((), 3)
    await there.execute(
        "insert into public.transactions"
        " (client_id, version, type, amount, balance_before, balance_after)"
        f" values ('{stranger}', 1, 'topup', 5, 0, 5)"
    )
    assert kinds(await compare(db, rpc)) == {str(stranger): "ahead"}


AHEAD = {
    "transactions": "insert into public.transactions"
    " (client_id, version, type, amount, balance_before, balance_after)"
    " select client_id, v, 'topup', 5, 0, 5 from public.transactions, generate_series(4, 5) v"
    " where version = 1;"
    " update public.clients set balance = 999, balance_version = 5",
    "transactions alone": "insert into public.transactions"
    " (client_id, version, type, amount, balance_before, balance_after)"
    " select client_id, 4, 'topup', 5, 0, 5 from public.transactions where version = 1",
    "version": "update public.clients set balance_version = 99, balance = 0",
    "session": "update public.charging_sessions set revision = revision + 1, amount = 1",
}


@pytest.mark.parametrize("change", AHEAD)
async def test_supabase_ahead_is_evidence_and_archived(
    change: str, db: Database, rpc: SupabaseRpc, relay: Relay, there: Connection, client: UUID
) -> None:
    facts = (
        "select (select json_agg(c order by id) from public.clients c)::text"
        " || (select json_agg(t order by version) from public.transactions t)::text"
        " || (select json_agg(s order by id) from public.charging_sessions s)::text"
    )
    async with by_hand(there):
        await there.execute(AHEAD[change])
    before = await there.fetchval(facts)
    result = await compare(db, rpc, repair=True, deliver=relay.drain)
    assert [difference.action for difference in result.drift] == [
        "reported: Supabase is ahead, restore or decide by hand"
    ]
    assert (result.closed, result.equal) == (0, False)
    assert await there.fetchval(facts) == before
    assert (await compare(db, rpc, overwrite_ahead=True)).closed == 0  # nothing without repair
    assert await there.fetchval(facts) == before
    repaired = await compare(db, rpc, repair=True, overwrite_ahead=True, deliver=relay.drain)
    assert repaired.equal, repaired.drift
    assert await balance(there, client) == "576.55"
    assert await versions(there, client) == [1, 2, 3]
    assert (await compare(db, rpc)).drift == ()
    archived = await there.fetch(
        "select relation from evpower.archive where client_id = $1", str(client)
    )
    assert {row["relation"] for row in archived} == (
        {"charging_sessions"}
        if change == "session"
        else {"clients", "transactions"}
        if "transactions" in change
        else {"clients"}
    )


async def test_what_is_on_its_way_is_not_drift(
    db: Database, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, client: UUID
) -> None:
    await scenario.top_up(client, 100)
    done = await compare(db, rpc)
    assert (done.drift, done.in_flight) == ((), 1)
    await relay.drain()
    done = await compare(db, rpc)
    assert (done.drift, done.in_flight) == ((), 0)


async def test_parked_key_is_drift(
    db: Database, rpc: SupabaseRpc, scenario: Scenario, client: UUID
) -> None:
    await scenario.top_up(client, 100)
    await scenario.db.execute("update sync.pending set parked_at = now()")
    assert [difference.key for difference in (await compare(db, rpc)).drift] == [str(client)]


async def test_client_leaving_through_supabase_is_not_drift(
    db: Database, rpc: SupabaseRpc, there: Connection, client: UUID
) -> None:
    await there.execute("update public.clients set status = 'inactive', name = 'Someone else'")
    assert (await compare(db, rpc)).drift == ()
    assert client


async def test_empty_supabase_is_filled_by_backfill(
    db: Database,
    rpc: SupabaseRpc,
    scenario: Scenario,
    relay: Relay,
    there: Connection,
    target: Target,
) -> None:
    clients = await scenario.clients(120)
    await scenario.top_up_everyone(clients, 3)
    for client in clients[:5]:
        await scenario.session(client, cost_minor=100)
    await relay.drain()
    await target.empty(there)
    seen: list[BackfillProgress] = []
    marked = await backfill(db, on_progress=seen.append)
    assert (marked.clients, marked.sessions) == (120, 5)
    assert seen[0] == BackfillProgress("client", 120, 120)
    await relay.drain()
    assert (await compare(db, rpc)).drift == ()
    assert await there.fetchval("select count(*) from public.transactions") == 365


async def test_stopped_backfill_carries_on(db: Database, scenario: Scenario) -> None:
    clients = sorted(await scenario.clients(25))
    await scenario.db.execute("delete from sync.pending")

    def stop(progress: BackfillProgress) -> None:
        if progress.done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await backfill(db, page=10, on_progress=stop)
    assert await scenario.pending() == 20
    await scenario.db.execute("delete from sync.pending")
    assert (await backfill(db)).clients == 25
    rows = await scenario.db.fetch("select key from sync.pending order by key")
    assert [row["key"] for row in rows] == clients[20:]
    assert (await backfill(db)).clients == 25  # a finished one begins anew
    assert await scenario.pending() == 25
