"""A phone has one user and one client under one id, wherever making them was interrupted."""

import asyncio
import json
from collections.abc import Awaitable
from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr

from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection, Database
from evpower.identity.clients import update_profile
from evpower.identity.model import ImportedUser, Profile
from evpower.identity.operators import add_operator
from evpower.identity.sign_in import store_accounts
from evpower.identity.sign_in.operate import decide_review, set_operator_phone
from evpower.identity.supabase_admin import SupabaseAdmin
from tests.identity.conftest import Answer, Edge, Request, forward
from tests.identity.crashing import Crash, CrashingAdmin, CrashingDatabase
from tests.identity.sign_in.conftest import Phones, new_phone, refusal_of

USERS = "/auth/v1/admin/users"


async def users_with(
    supabase: LocalSupabase, http: httpx.AsyncClient, phone: str
) -> list[dict[str, object]]:
    answer = await http.get(
        f"{supabase.url}{USERS}?per_page=1000", headers={"apikey": supabase.secret_key}
    )
    return [user for user in answer.json()["users"] if f"+{user.get('phone')}" == phone]


async def clients_with(owner: Connection, phone: str) -> list[UUID]:
    rows = await owner.fetch(
        "select id from identity.clients where phone = $1 and phone_verified", phone
    )
    return [row["id"] for row in rows]


async def a_claimant(owner: Connection, phone: str, *, days: int = 8) -> UUID:
    """A client that has claimed the phone for this many days."""
    client = uuid4()
    await owner.execute(
        "insert into identity.clients (id, phone, origin, phone_since)"
        " values ($1, $2, 'supabase', now() - make_interval(days => $3))",
        client, phone, days,
    )  # fmt: skip
    return client


async def test_a_new_phone_gets_a_user_and_a_client_under_one_id(
    phones: Phones, supabase: LocalSupabase, http: httpx.AsyncClient, owner: Connection
) -> None:
    phone = new_phone()
    signed_in = await phones.sign_in(phone)
    assert signed_in.account.is_new
    users = await users_with(supabase, http, phone)
    assert [user["id"] for user in users] == [str(signed_in.account.user_id)]
    assert users[0]["phone_confirmed_at"]
    assert await clients_with(owner, phone) == [signed_in.account.user_id]
    again = await phones.sign_in(phone)
    assert (again.account.user_id, again.account.is_new) == (signed_in.account.user_id, False)
    assert await owner.fetchval("select count(*) from identity.phone_accounts") == 0


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
async def test_a_crash_at_any_step_leaves_one_user_for_the_phone(
    phones: Phones,
    supabase: LocalSupabase,
    http: httpx.AsyncClient,
    owner: Connection,
    nth: int,
    committed: bool,  # noqa: FBT001
) -> None:
    phone = new_phone()
    await phones.ask(phone)
    code = phones.inbox.code(phone)
    db = CrashingDatabase(phones.calls.db, nth=nth, committed=committed)
    with pytest.raises(Crash):
        await phones.through(db=db).type(phone, code)
    phones.clock.forward(seconds=61)
    signed_in = await phones.sign_in(phone)
    users = await users_with(supabase, http, phone)
    assert [user["id"] for user in users] == [str(signed_in.account.user_id)]
    assert await clients_with(owner, phone) == [signed_in.account.user_id]
    assert await owner.fetchval("select count(*) from identity.clients") == 1


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_crash_beside_auth_leaves_one_user_for_the_phone(
    phones: Phones, supabase: LocalSupabase, http: httpx.AsyncClient, owner: Connection, moment: str
) -> None:
    phone = new_phone()
    crashing = CrashingAdmin(
        http=http,  # pyright: ignore[reportArgumentType]
        url=supabase.url,
        secret_key=SecretStr(supabase.secret_key),
    )
    setattr(crashing, moment, True)
    await phones.ask(phone)
    code = phones.inbox.code(phone)
    with pytest.raises(Crash):
        await phones.through(admin=crashing).type(phone, code)
    signed_in = await phones.type(phone, code)  # the code was not used up
    users = await users_with(supabase, http, phone)
    assert [user["id"] for user in users] == [str(signed_in.account.user_id)]
    assert await clients_with(owner, phone) == [signed_in.account.user_id]


async def test_a_lost_answer_of_auth_is_asked_for(
    phones: Phones,
    supabase: LocalSupabase,
    http: httpx.AsyncClient,
    admin_through_edge: SupabaseAdmin,
    edge: Edge,
) -> None:
    async def lose(request: Request) -> Answer:
        answer = await forward(supabase, http, request)
        return None if request.method == "POST" else answer

    edge.respond = lose
    phone = new_phone()
    await phones.ask(phone)
    signed_in = await phones.through(admin=admin_through_edge).type(phone, phones.inbox.code(phone))
    users = await users_with(supabase, http, phone)
    assert [user["id"] for user in users] == [str(signed_in.account.user_id)]


async def test_while_auth_is_down_the_code_stays_good(
    phones: Phones, admin_through_edge: SupabaseAdmin, edge: Edge
) -> None:
    async def down(_: Request) -> Answer:
        return 503, b"{}"

    edge.respond = down
    phone = new_phone()
    await phones.ask(phone)
    code = phones.inbox.code(phone)
    refused = await refusal_of(phones.through(admin=admin_through_edge).type(phone, code))
    assert refused.http_status == 503
    assert (await phones.type(phone, code)).account.is_new


async def test_two_codes_typed_at_once_make_one_account(
    phones: Phones, supabase: LocalSupabase, http: httpx.AsyncClient, owner: Connection
) -> None:
    phone = new_phone()
    await phones.ask(phone)
    code = phones.inbox.code(phone)
    await asyncio.gather(*(phones.type(phone, code) for _ in range(4)), return_exceptions=True)
    assert len(await users_with(supabase, http, phone)) == 1
    assert len(await clients_with(owner, phone)) == 1
    assert await owner.fetchval("select count(*) from identity.refresh_tokens") == 1


async def test_claims_without_money_end_with_the_new_account(
    phones: Phones, owner: Connection
) -> None:
    phone = new_phone()
    claimant = await a_claimant(owner, phone)
    signed_in = await phones.sign_in(phone)
    assert signed_in.account.user_id != claimant
    assert (
        await owner.fetchval("select phone from identity.clients where id = $1", claimant) is None
    )


async def test_a_claim_that_holds_money_needs_an_operator(
    phones: Phones, owner: Connection, supabase: LocalSupabase, http: httpx.AsyncClient
) -> None:
    phone = new_phone()
    claimant = await a_claimant(owner, phone)
    phones.rich[claimant] = None
    await phones.ask(phone)
    code = phones.inbox.code(phone)
    refused = [await refusal_of(phones.type(phone, code)) for _ in range(2)]
    assert [error.code for error in refused] == ["phone_needs_review"] * 2
    assert await users_with(supabase, http, phone) == []
    assert await clients_with(owner, phone) == []
    (review,) = await store_accounts.open_reviews(owner, 10)
    assert (review.phone, review.reason, review.claimants, review.tries) == (
        phone, "claim_with_money", [claimant], 2,
    )  # fmt: skip


async def test_an_operator_may_decide_on_a_new_account(phones: Phones, owner: Connection) -> None:
    phone = new_phone()
    claimant = await a_claimant(owner, phone)
    phones.rich[claimant] = None
    await phones.ask(phone)
    code = phones.inbox.code(phone)
    await refusal_of(phones.type(phone, code))
    await decide_review(
        phones.calls.db, phones.calls.accounts.admin, phone, owner_id=None,
        actor="aida", reason="the card of the claimant says otherwise", clock=phones.clock,
    )  # fmt: skip
    signed_in = await phones.type(phone, code)
    assert signed_in.account.is_new
    assert await store_accounts.open_reviews(owner, 10) == []


async def test_no_later_claim_undoes_the_decision_for_a_new_account(
    phones: Phones, owner: Connection
) -> None:
    phone = new_phone()
    phones.rich[await a_claimant(owner, phone)] = None
    await phones.ask(phone)
    code = phones.inbox.code(phone)
    await refusal_of(phones.type(phone, code))
    await decide_review(
        phones.calls.db, phones.calls.accounts.admin, phone, owner_id=None,
        actor="aida", reason="nothing in common", clock=phones.clock,
    )  # fmt: skip
    phones.rich[await a_claimant(owner, phone)] = None
    assert (await phones.type(phone, code)).account.is_new


async def test_a_stranger_s_young_claim_with_money_keeps_no_driver_out(
    phones: Phones, owner: Connection
) -> None:
    phone = new_phone()
    strangers = [await a_claimant(owner, phone, days=6) for _ in range(2)]
    phones.rich.update(dict.fromkeys(strangers))
    signed_in = await phones.sign_in(phone)
    assert signed_in.account.is_new
    assert await clients_with(owner, phone) == [signed_in.account.user_id]
    # Support finds by the phone where the money is that may be this driver's.
    acts = await owner.fetch("select * from identity.audit where subject = $1", phone)
    assert [(act["action"], act["actor"]) for act in acts] == [("phone_claim.pass_over", "system")]
    listed = json.loads(acts[0]["details"])["claimants"]
    assert set(listed) == {str(stranger) for stranger in strangers}


async def test_a_claim_that_moves_to_another_phone_is_young_again(
    phones: Phones, owner: Connection
) -> None:
    phone = new_phone()
    stranger = await a_claimant(owner, new_phone(), days=400)
    phones.rich[stranger] = None
    async with phones.calls.db.transaction() as connection:
        await update_profile(connection, stranger, Profile(phone=phone, name="Mallory"))
        await update_profile(connection, stranger, Profile(phone=phone, name="Trudy"))
    assert (await phones.sign_in(phone)).account.is_new


@pytest.mark.parametrize(("days", "code"), [(0, "phone_needs_review"), (30, "")])
async def test_a_claim_beside_an_imported_balance_counts_from_the_first_day(
    phones: Phones, owner: Connection, days: int, code: str
) -> None:
    phone = new_phone()
    claimant = await a_claimant(owner, phone, days=0)
    phones.rich[claimant] = phones.clock() - timedelta(days=days)
    await phones.ask(phone)
    if code:
        assert (await refusal_of(phones.type(phone, phones.inbox.code(phone)))).code == code
    else:  # the client had no claim to this phone when its balance was imported
        assert (await phones.type(phone, phones.inbox.code(phone))).account.is_new


async def test_a_claim_of_before_its_time_was_stored_counts(
    phones: Phones, owner: Connection
) -> None:
    phone = new_phone()
    claimant = await a_claimant(owner, phone, days=0)
    await owner.execute("update identity.clients set phone_since = null where id = $1", claimant)
    phones.rich[claimant] = None
    await phones.ask(phone)
    refused = await refusal_of(phones.type(phone, phones.inbox.code(phone)))
    assert refused.code == "phone_needs_review"


async def test_the_newest_decision_about_a_phone_counts(db: Database, owner: Connection) -> None:
    phone = new_phone()
    claimant = await a_claimant(owner, phone)
    for owner_id in (None, claimant, None):
        async with db.transaction() as connection:
            now = await connection.fetchval("select now()")
            known = [claimant]
            await store_accounts.put_review(connection, phone, "claim_with_money", known, now)
            assert not await store_accounts.is_cleared(connection, phone)  # it waits
            review = await store_accounts.lock_open_review(connection, phone)
            assert review is not None
            await store_accounts.decide_review(connection, review.id, "aida", owner_id, now)
            assert await store_accounts.is_cleared(connection, phone) == (owner_id is None)


async def test_an_operator_may_give_the_phone_to_the_claimant(
    phones: Phones,
    owner: Connection,
    admin: SupabaseAdmin,
    supabase: LocalSupabase,
    http: httpx.AsyncClient,
) -> None:
    phone = new_phone()
    claimant = await a_claimant(owner, phone)
    await admin.import_user(
        ImportedUser(claimant, f"{claimant}@example.kg", True, None, False, None, None)
    )
    phones.rich[claimant] = None
    await phones.ask(phone)
    code = phones.inbox.code(phone)
    await refusal_of(phones.type(phone, code))
    await decide_review(
        phones.calls.db, admin, phone, owner_id=claimant,
        actor="aida", reason="receipts shown", clock=phones.clock,
    )  # fmt: skip
    assert (await phones.type(phone, code)).account.user_id == claimant
    assert [user["id"] for user in await users_with(supabase, http, phone)] == [str(claimant)]
    act = await owner.fetchrow("select actor, action, subject, reason from identity.audit")
    assert act is not None
    assert tuple(act) == ("aida", "phone_review.decide", phone, "receipts shown")


async def a_review(phones: Phones, owner: Connection, phone: str) -> UUID:
    """A claimant with money, on whose phone an operator must decide."""
    claimant = await a_claimant(owner, phone)
    phones.rich[claimant] = None
    await phones.ask(phone)
    refused = await refusal_of(phones.type(phone, phones.inbox.code(phone)))
    assert refused.code == "phone_needs_review"
    return claimant


async def a_login(admin: SupabaseAdmin, client: UUID, phone: str | None = None) -> UUID:
    """A login in Supabase Auth, with its email and this phone."""
    email = f"{client}@example.kg"
    await admin.import_user(ImportedUser(client, email, True, phone, phone is not None, None, None))
    return client


async def test_no_client_gets_a_phone_that_it_does_not_claim(
    phones: Phones, owner: Connection, admin: SupabaseAdmin
) -> None:
    phone = new_phone()
    victim = await phones.sign_in(new_phone())
    claimant = await a_review(phones, owner, phone)
    decided = decide_review(
        phones.calls.db, admin, phone, owner_id=victim.account.user_id,
        actor="operator:mallory", reason="it is his", clock=phones.clock,
    )  # fmt: skip
    refused = await refusal_of(decided)
    assert (refused.code, refused.http_status) == ("not_a_claimant", 409)
    login = await admin.get_user(victim.account.user_id)
    assert login is not None
    assert login.phone == victim.account.phone
    assert await clients_with(owner, victim.account.phone) == [victim.account.user_id]
    assert len(await store_accounts.open_reviews(owner, 10)) == 1
    act = await owner.fetchrow(
        "select actor, reason, details from identity.audit"
        " where action = 'phone_review.refused' and subject = $1",
        phone,
    )
    assert act is not None
    assert (act["actor"], act["reason"]) == ("operator:mallory", "it is his")
    assert json.loads(act["details"]) == {
        "owner": str(victim.account.user_id), "claimants": [str(claimant)],
    }  # fmt: skip


async def test_a_claimant_that_verified_another_phone_since_keeps_it(
    phones: Phones, owner: Connection, admin: SupabaseAdmin
) -> None:
    phone, later = new_phone(), new_phone()
    claimant = await a_login(admin, await a_review(phones, owner, phone), later)
    async with phones.calls.db.transaction() as connection:
        await update_profile(connection, claimant, Profile(phone=later, phone_verified=True))
    decided = decide_review(
        phones.calls.db, admin, phone, owner_id=claimant,
        actor="aida", reason="receipts shown", clock=phones.clock,
    )  # fmt: skip
    assert (await refusal_of(decided)).code == "not_a_claimant"
    login = await admin.get_user(claimant)
    assert login is not None
    assert login.phone == later
    assert await clients_with(owner, later) == [claimant]


async def test_a_claim_that_ends_while_auth_is_asked_gets_no_phone(
    phones: Phones, owner: Connection, supabase: LocalSupabase, http: httpx.AsyncClient,
    admin_through_edge: SupabaseAdmin, edge: Edge,
) -> None:  # fmt: skip
    phone, later = new_phone(), new_phone()
    claimant = await a_login(phones.calls.accounts.admin, await a_review(phones, owner, phone))

    async def verify_another(request: Request) -> Answer:
        async with phones.calls.db.transaction() as connection:
            await update_profile(connection, claimant, Profile(phone=later, phone_verified=True))
        return await forward(supabase, http, request)

    edge.respond = verify_another
    decided = decide_review(
        phones.calls.db, admin_through_edge, phone, owner_id=claimant,
        actor="aida", reason="receipts shown", clock=phones.clock,
    )  # fmt: skip
    assert (await refusal_of(decided)).code == "not_a_claimant"
    assert await clients_with(owner, later) == [claimant]
    assert await clients_with(owner, phone) == []


async def test_a_closed_claimant_gets_the_phone_in_neither_system(
    phones: Phones,
    owner: Connection,
    admin: SupabaseAdmin,
    supabase: LocalSupabase,
    http: httpx.AsyncClient,
) -> None:
    phone = new_phone()
    claimant = await a_claimant(owner, phone)
    await admin.import_user(
        ImportedUser(claimant, f"{claimant}@example.kg", True, None, False, None, None)
    )
    phones.rich[claimant] = None
    await phones.ask(phone)
    await refusal_of(phones.type(phone, phones.inbox.code(phone)))
    await owner.execute("update identity.clients set status = 'closed' where id = $1", claimant)
    decided = decide_review(
        phones.calls.db, admin, phone, owner_id=claimant,
        actor="aida", reason="receipts shown", clock=phones.clock,
    )  # fmt: skip
    assert (await refusal_of(decided)).code == "client_closed"
    assert await users_with(supabase, http, phone) == []
    assert len(await store_accounts.open_reviews(owner, 10)) == 1


async def test_a_phone_that_a_client_verified_meanwhile_waits_for_no_operator(
    phones: Phones, owner: Connection
) -> None:
    phone = new_phone()
    claimant = await a_claimant(owner, phone)
    phones.rich[claimant] = None
    await phones.ask(phone)
    await refusal_of(phones.type(phone, phones.inbox.code(phone)))
    await owner.execute("update identity.clients set phone_verified = true where id = $1", claimant)
    assert await store_accounts.open_reviews(owner, 10) == []
    await owner.execute("update identity.clients set status = 'closed' where id = $1", claimant)
    assert len(await store_accounts.open_reviews(owner, 10)) == 1


async def test_a_phone_of_another_login_needs_an_operator(
    phones: Phones, admin: SupabaseAdmin, owner: Connection
) -> None:
    phone = new_phone()
    await admin.import_user(ImportedUser(uuid4(), None, False, phone, True, None, None))
    await phones.ask(phone)
    refused = await refusal_of(phones.type(phone, phones.inbox.code(phone)))
    assert refused.code == "phone_needs_review"
    (review,) = await store_accounts.open_reviews(owner, 10)
    assert review.reason == "phone_of_another_login"


async def test_the_other_login_alone_gets_its_phone(
    phones: Phones, admin: SupabaseAdmin, owner: Connection
) -> None:
    phone = new_phone()
    login, stranger = await a_login(admin, uuid4(), phone), await a_login(admin, uuid4())
    for client in (login, stranger):
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'supabase')", client
        )
    await phones.ask(phone)
    code = phones.inbox.code(phone)
    assert (await refusal_of(phones.type(phone, code))).code == "phone_needs_review"

    def decided(client: UUID) -> Awaitable[object]:
        return decide_review(
            phones.calls.db, admin, phone, owner_id=client,
            actor="aida", reason="receipts shown", clock=phones.clock,
        )  # fmt: skip

    assert (await refusal_of(decided(stranger))).code == "not_a_claimant"
    await decided(login)
    assert (await phones.type(phone, code)).account.user_id == login


async def test_a_user_banned_in_auth_does_not_sign_in(phones: Phones, owner: Connection) -> None:
    phone = new_phone()
    signed_in = await phones.sign_in(phone)
    await owner.execute(
        "update identity.clients set banned_until = $2 where id = $1",
        signed_in.account.user_id,
        phones.clock() + timedelta(days=1),
    )
    await phones.ask(phone)
    refused = await refusal_of(phones.type(phone, phones.inbox.code(phone)))
    assert (refused.code, refused.http_status) == ("client_blocked", 403)


@pytest.mark.parametrize(
    "change", ["status = 'blocked'", "deletion_requested_at = now()", "unmapped_status = 'vip'"]
)
async def test_a_client_that_may_not_spend_signs_in_all_the_same(
    phones: Phones, owner: Connection, change: str
) -> None:
    phone = new_phone()
    first = await phones.sign_in(phone)
    await owner.execute(f"update identity.clients set {change} where phone = $1", phone)
    assert (await phones.sign_in(phone)).account.user_id == first.account.user_id


async def test_the_phone_of_a_deleted_account_begins_anew(
    phones: Phones, owner: Connection, admin: SupabaseAdmin
) -> None:
    phone = new_phone()
    first = await phones.sign_in(phone)
    await admin.delete_user(first.account.user_id)
    await owner.execute("update identity.clients set status = 'closed' where phone = $1", phone)
    second = await phones.sign_in(phone)
    assert second.account.is_new
    assert second.account.user_id != first.account.user_id


async def test_an_operators_phone_signs_in_as_the_operator(
    phones: Phones, db: Database, owner: Connection
) -> None:
    phone, user = new_phone(), uuid4()
    async with db.transaction() as connection:
        await add_operator(connection, user_id=user, name="Aida", role="support", actor="cli")
        await set_operator_phone(connection, user, phone, actor="cli")
    signed_in = await phones.sign_in(phone)
    operator = signed_in.account.operator
    assert operator is not None
    assert (operator.user_id, operator.role) == (user, "support")
    assert signed_in.tokens.subject.kind == "admin"
    assert await owner.fetchval("select count(*) from identity.clients") == 0
