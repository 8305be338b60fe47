"""`sync check` compares profiles: Supabase is right, and no client is closed by a guess."""

from uuid import UUID, uuid4

import httpx
import pytest

from evpower.foundation.db import Connection, Database, Record
from evpower.sync import Relay, SupabaseRpc, status
from evpower.sync.inbound.remote_users import parse
from tests.sync.changes_log import until_visible
from tests.sync.checking import (
    Calls,
    compare,
    drift_rows,
    empty,
    give_users,
    kinds,
    past_every_guard,
)
from tests.sync.conftest import rpc_to
from tests.sync.scenario import Scenario, Target

one_shape = pytest.mark.parametrize("target", ["fresh_project"], indirect=True)


@pytest.fixture(autouse=True)
async def no_one(there: Connection) -> None:
    await empty(there)


@pytest.fixture
def rpc(http: httpx.AsyncClient, target: Target) -> SupabaseRpc:
    return rpc_to(http, target)


@pytest.fixture
async def client(scenario: Scenario, relay: Relay, there: Connection) -> UUID:
    """Equal on both sides, with everything a profile can hold."""
    client = await scenario.client(name="Айдана Уметова-O'Neill")
    await scenario.db.execute("update identity.clients set phone = '+996700112233'")
    await give_users(scenario, there)
    await relay.drain()
    return client


async def here(scenario: Scenario, client: UUID) -> Record:
    row = await scenario.db.fetchrow("select * from identity.clients where id = $1", client)
    assert row is not None
    return row


async def test_equal_profiles_are_compared_by_hashes_alone(
    db: Database, rpc: SupabaseRpc, scenario: Scenario, relay: Relay, client: UUID,
    there: Connection,
) -> None:  # fmt: skip
    await scenario.top_up(client, 12_345, 1)
    await scenario.session(client, cost_minor=777)
    calls = Calls(rpc)
    await relay.drain()
    assert (await compare(db, calls)).equal
    assert {function for function, _ in calls.bodies} == {"evpower_digest"}
    # Whether there are columns for limits is learned once, and then the sessions are asked again.
    learned = await there.fetchval("select evpower.session_limits()")
    assert calls.calls_with(b'"ids"') == calls.calls_with(b'"chunk"') == 3 + int(learned)


PROFILE_CHANGES = {
    "email": ("update public.clients set email = 'new@example.kg'", "email", "new@example.kg"),
    "phone": ("update public.clients set phone = '0700 44 55 66'", "phone", "+996700445566"),
    "name": ("update public.clients set name = '  Aida   Asanova '", "name", "Aida Asanova"),
    "no phone": ("update public.clients set phone = null", "phone", None),
    "no name": ("update public.clients set name = ''", "name", None),
}


@pytest.mark.parametrize("change", PROFILE_CHANGES)
async def test_profile_of_supabase_is_applied(
    change: str, db: Database, rpc: SupabaseRpc, scenario: Scenario, there: Connection, client: UUID
) -> None:
    sql, field, value = PROFILE_CHANGES[change]
    async with past_every_guard(there):
        await there.execute(sql)
        if field == "email":
            await there.execute("update auth.users set email = 'new@example.kg'")
    result = await compare(db, rpc)
    assert kinds(result) == {str(client): "profile"}
    assert [(difference.fields, difference.right_side) for difference in result.drift] == [
        ((field,), "supabase")
    ]
    repaired = await compare(db, rpc, repair=True)
    assert (repaired.differ, repaired.closed) == (1, 1)
    assert (await here(scenario, client))[field] == value
    rows = await scenario.db.fetch("select fields, action, repaired from sync.drift")
    assert [tuple(row) for row in rows] == [([field], "profile differs; applied", True)]


@one_shape
@pytest.mark.parametrize(("field", "value"), [("email", "x@y.kg"), ("phone", None), ("name", "X")])
async def test_profile_damaged_here_is_repaired_from_supabase(
    field: str, value: str | None, db: Database, rpc: SupabaseRpc, scenario: Scenario, client: UUID
) -> None:
    before = await here(scenario, client)
    async with past_every_guard(scenario.db):
        await scenario.db.execute(f"update identity.clients set {field} = $1", value)
    assert kinds(await compare(db, rpc)) == {str(client): "profile"}
    assert (await compare(db, rpc, repair=True)).equal
    assert (await here(scenario, client))[field] == before[field]


@one_shape
async def test_deletion_requested_and_withdrawn_is_applied(
    db: Database,
    rpc: SupabaseRpc,
    scenario: Scenario,
    there: Connection,
    client: UUID,
    relay: Relay,
) -> None:
    async with past_every_guard(there):
        await there.execute("update public.clients set status = 'inactive'")
    result = await compare(db, rpc, repair=True, deliver=relay.drain)
    assert (kinds(result), result.equal) == ({str(client): "deletion"}, True)
    assert (await here(scenario, client))["deletion_requested_at"] is not None
    calls = Calls(rpc)
    assert (await compare(db, calls)).drift == ()
    assert calls.calls_with(b'"chunk"') == calls.calls_with(
        b'"ids"'
    )  # leaving costs no look at the row
    async with past_every_guard(there):
        await there.execute("update public.clients set status = 'active'")
    result = await compare(db, rpc, repair=True, deliver=relay.drain)
    assert (kinds(result), result.equal) == ({str(client): "deletion"}, True)
    assert (await here(scenario, client))["deletion_requested_at"] is None


@one_shape
async def test_user_deleted_softly_closes_the_client(
    db: Database,
    rpc: SupabaseRpc,
    scenario: Scenario,
    there: Connection,
    client: UUID,
    relay: Relay,
) -> None:
    async with past_every_guard(there):
        await there.execute("update auth.users set deleted_at = now()")
    result = await compare(db, rpc, repair=True, deliver=relay.drain)
    assert kinds(result) == {str(client): "deletion"}
    assert (await here(scenario, client))["status"] == "closed"
    assert (await compare(db, rpc)).drift == ()


async def test_block_from_before_evpower_is_taken_over(
    db: Database,
    rpc: SupabaseRpc,
    scenario: Scenario,
    there: Connection,
    relay: Relay,
    client: UUID,
) -> None:
    blocked = await scenario.client(email="blocked@example.kg")
    await give_users(scenario, there)
    await scenario.db.execute("delete from sync.pending")
    async with past_every_guard(there):
        await there.execute(
            "insert into public.clients (id, email, name, status)"
            f" values ('{blocked}', 'blocked@example.kg', 'Aida', 'blocked')"
        )
    assert kinds(await compare(db, rpc)) == {str(blocked): "block"}
    assert (await compare(db, rpc, repair=True, deliver=relay.drain)).equal
    assert (await here(scenario, blocked))["status"] == "blocked"
    assert await there.fetchval("select count(*) from public.clients where status = 'blocked'") == 1
    assert (await compare(db, rpc)).drift == ()
    assert client


async def test_users_no_one_here_knows_of_become_clients(
    db: Database,
    rpc: SupabaseRpc,
    scenario: Scenario,
    there: Connection,
    relay: Relay,
    client: UUID,
) -> None:
    users = [uuid4() for _ in range(7)]
    async with past_every_guard(there):
        await there.executemany(
            "insert into auth.users (id, email) values ($1, $2)",
            [(user, f"{user.hex}@example.kg") for user in users],
        )
        await there.execute(f"insert into auth.users (id, deleted_at) values ('{uuid4()}', now())")
    assert kinds(await compare(db, rpc, batch=3)) == {str(user): "unseen" for user in users}
    result = await compare(db, rpc, repair=True, deliver=relay.drain, batch=3)
    assert (result.differ, result.closed) == (7, 7)
    assert await scenario.db.fetchval("select count(*) from wallet.wallets") == 8
    done = await compare(db, rpc, batch=3)
    assert (done.drift, done.clients, done.in_flight) == ((), 8, 0)
    assert client


@one_shape
async def test_clients_without_a_user_are_reported_and_never_closed(
    db: Database,
    rpc: SupabaseRpc,
    scenario: Scenario,
    there: Connection,
    relay: Relay,
    client: UUID,
) -> None:
    await scenario.top_up(client, 5_000)
    await relay.drain()
    async with past_every_guard(there):
        await there.execute("delete from auth.users")
        await there.execute("delete from public.transactions")
        await there.execute("delete from public.clients")
    result = await compare(db, rpc, repair=True, deliver=relay.drain)
    assert kinds(result) == {str(client): "missing"}
    assert (result.equal, result.notices) == (True, 1)
    assert [(notice.key, notice.kind, notice.notice) for notice in result.notice_sample] == [
        (str(client), "userless", True)
    ]
    assert (await here(scenario, client))["status"] == "active"
    assert await drift_rows(db) == {("profile", str(client)): "userless"}
    async with db.connection() as connection:
        now = await status(connection)
    assert (now.drift, now.notices) == (0, 1)
    await give_users(scenario, there)
    assert (await compare(db, rpc)).notices == 0
    assert await drift_rows(db) == {}


@one_shape
async def test_contact_another_client_has_is_no_endless_drift(
    db: Database,
    rpc: SupabaseRpc,
    scenario: Scenario,
    there: Connection,
    relay: Relay,
    client: UUID,
) -> None:
    """EvPower knows a holder that Supabase lost: the holder keeps the email."""
    other = await scenario.client(email="other@example.kg")
    await give_users(scenario, there)
    await relay.drain()
    async with past_every_guard(there):
        await there.execute(f"delete from auth.users where id = '{other}'")
        await there.execute(f"delete from public.clients where id::text = '{other}'")
        await there.execute("update auth.users set email = 'other@example.kg'")
        await there.execute("update public.clients set email = 'other@example.kg'")
    await scenario.db.execute(
        "update identity.clients set email_verified = true where id = $1", other
    )
    await scenario.db.execute(  # the row of the holder is not sent again meanwhile
        "insert into sync.pending (topic, key, next_at) values ('client', $1, now() + '1 day')"
        " on conflict (topic, key) do update set next_at = excluded.next_at",
        other,
    )
    assert kinds(await compare(db, rpc)) == {str(client): "profile"}
    assert (await compare(db, rpc, repair=True)).equal
    assert (await here(scenario, client))["email"] is None
    result = await compare(db, rpc)
    assert result.drift == ()
    assert {(notice.key, notice.kind) for notice in result.notice_sample} == {
        (str(client), "contact_taken"),
        (str(other), "userless"),
    }


@one_shape
async def test_a_contact_that_was_verified_unseen_is_found_and_applied(
    db: Database, rpc: SupabaseRpc, scenario: Scenario, there: Connection, client: UUID
) -> None:
    await compare(db, rpc, repair=True)
    assert (await here(scenario, client))["email_verified"] is False
    async with past_every_guard(there):
        await there.execute("update auth.users set email_confirmed_at = now()")
    result = await compare(db, rpc)
    assert [(difference.kind, difference.fields) for difference in result.drift] == [
        ("profile", ("email_verified",))
    ]
    assert (await compare(db, rpc, repair=True)).equal
    assert (await here(scenario, client))["email_verified"] is True


@one_shape
async def test_row_and_user_with_two_emails_are_reported(
    db: Database, rpc: SupabaseRpc, there: Connection, client: UUID
) -> None:
    async with past_every_guard(there):
        await there.execute("update auth.users set email = 'login@example.kg'")
    result = await compare(db, rpc, repair=True)
    assert (result.drift, [notice.kind for notice in result.notice_sample]) == ((), ["email_apart"])
    assert result.notice_sample[0].key == str(client)


@one_shape
async def test_closed_client_has_no_profile_to_keep(
    db: Database,
    rpc: SupabaseRpc,
    scenario: Scenario,
    there: Connection,
    relay: Relay,
    client: UUID,
) -> None:
    await scenario.db.execute("update identity.clients set status = 'closed'")
    await relay.drain()
    async with past_every_guard(there):
        await there.execute("delete from auth.users")
    done = await compare(db, rpc)
    assert (done.drift, done.notice_sample, done.users, done.clients) == ((), (), 1, 1)
    async with past_every_guard(there):
        await there.execute("delete from public.clients")  # gone with the user
    assert (await compare(db, rpc)).drift == ()
    assert client


@one_shape
@pytest.mark.parametrize(
    ("column", "value"), [("email", "again@example.kg"), ("phone", "no phone"), ("name", "Aida")]
)
async def test_a_closed_clients_contact_is_drift_until_it_is_emptied(
    column: str, value: str, db: Database, rpc: SupabaseRpc, scenario: Scenario, there: Connection,
    relay: Relay, client: UUID,
) -> None:  # fmt: skip
    await scenario.db.execute("update identity.clients set status = 'closed'")
    await relay.drain()
    async with past_every_guard(there):
        await there.execute(f"update public.clients set {column} = $1", value)
    result = await compare(db, rpc)
    [drift] = result.drift
    assert (drift.key, drift.kind, drift.fields) == (str(client), "closed_contact", (column,))
    assert drift.right_side == "evpower"
    assert value not in str(drift.theirs)
    repaired = await compare(db, rpc, repair=True, deliver=relay.drain)
    assert (repaired.differ, repaired.closed) == (1, 1)
    assert await there.fetchval(f"select {column} from public.clients") is None
    assert await scenario.pending() == 0


@one_shape
async def test_to_empty_a_closed_clients_contact_overwrites_no_money(
    db: Database, rpc: SupabaseRpc, scenario: Scenario, there: Connection, relay: Relay,
    client: UUID,
) -> None:  # fmt: skip
    """Supabase is ahead, as after a restored backup: an operator decides about that."""
    await scenario.db.execute("update identity.clients set status = 'closed'")
    await relay.drain()
    async with past_every_guard(there):
        await there.execute(
            "update public.clients set name = 'Aida', balance = 7, balance_version = 9"
        )
    done = await compare(db, rpc, repair=True, deliver=relay.drain)
    assert sorted(drift.kind for drift in done.drift) == ["ahead", "closed_contact"]
    row = await there.fetchrow("select id, balance::int from public.clients")
    assert row is not None
    assert tuple(row) == (client, 7)
    assert await scenario.pending() == 0


@one_shape
async def test_a_project_that_fills_a_closed_clients_name_is_sent_to_once_a_run(
    db: Database, rpc: SupabaseRpc, scenario: Scenario, there: Connection, relay: Relay,
    target: Target, client: UUID,
) -> None:  # fmt: skip
    await scenario.db.execute("update identity.clients set status = 'closed'")
    async with target.superuser() as superuser:
        await superuser.execute(
            """
            create function public.fill() returns trigger language plpgsql as
              $$ begin new.name := coalesce(new.name, 'Driver'); return new; end $$;
            create trigger fill before update on public.clients
              for each row execute function public.fill()
            """
        )
        try:
            await relay.drain()
            for _ in range(2):
                done = await compare(db, rpc, repair=True, deliver=relay.drain)
                assert [(drift.kind, drift.fields) for drift in done.drift] == [
                    ("closed_contact", ("name",))
                ]
                assert (done.closed, await scenario.pending()) == (0, 0)
        finally:
            await superuser.execute("drop function public.fill() cascade")
    assert (await compare(db, rpc, repair=True, deliver=relay.drain)).closed == 1
    assert await there.fetchval("select name from public.clients") is None
    assert client


@one_shape
async def test_a_closed_clients_contact_that_waits_to_be_emptied_is_no_drift(
    db: Database, rpc: SupabaseRpc, scenario: Scenario, client: UUID
) -> None:
    await scenario.db.execute("update identity.clients set status = 'closed'")
    undecided = await compare(db, rpc)
    assert (undecided.drift, undecided.in_flight) == ((), 2)  # the profile, the status
    assert client


@one_shape
async def test_change_that_is_about_to_be_pulled_is_no_drift(
    db: Database, rpc: SupabaseRpc, there: Connection, client: UUID
) -> None:
    await there.execute("update public.clients set name = 'Renamed'")  # logged in the log
    await until_visible(there)
    done = await compare(db, rpc, repair=True)
    assert (done.drift, done.in_flight) == ((), 1)
    assert client


async def test_ids_that_are_none_of_ours_are_left_alone(
    db: Database, rpc: SupabaseRpc, there: Connection, target: Target, client: UUID
) -> None:
    if target.older:
        async with past_every_guard(there):
            await there.execute("insert into public.clients (id, name) values ('client_007', 'J')")
            await there.execute("insert into public.clients (id, balance) values ('old_1', 50)")
    done = await compare(db, rpc, repair=True, batch=1)
    assert kinds(done) == ({"old_1": "opening"} if target.older else {})
    assert client


@pytest.mark.parametrize(
    ("email", "phone", "filled"),
    [
        (None, None, ()),
        ("{}@closed.invalid", "{}", ()),
        ("{:.10}", "{:.20}", ()),  # cut to the column's length
        (" ", "", ()),
        ("a@example.kg", "no phone", ("email", "phone")),
    ],
)
def test_what_stands_for_nothing_is_no_contact_of_a_closed_client(
    email: str | None, phone: str | None, filled: tuple[str, ...]
) -> None:
    client = uuid4()
    row = {"email": email and email.format(client.hex), "phone": phone and phone.format(client.hex)}
    remote = parse({"id": str(client), "client": {**row, "name": None, "status": "inactive"}})
    assert remote is not None
    assert remote.row is not None
    assert remote.row.filled == filled
