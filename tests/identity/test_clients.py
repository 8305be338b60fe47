"""A client is created at its first request, once, and never gets another client's contacts."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, Forbidden, NotFound
from evpower.identity import clients
from evpower.identity.model import Claims, Client, Profile

AIDA = Profile("aida@example.kg", "+996555123456", "Aida")
VERIFIED = replace(AIDA, email_verified=True, phone_verified=True)


def claims(sub: UUID, profile: Profile = AIDA) -> Claims:
    return Claims(sub, "authenticated", datetime.now(UTC) + timedelta(hours=1), profile, {})


async def ensured(db: Database, sub: UUID, profile: Profile = AIDA) -> Client:
    async with db.transaction() as connection:
        return await clients.ensure_client(connection, claims(sub, profile))


async def synced(db: Database, profile: Profile) -> Client:
    """Create a client from Supabase, where contacts may be verified."""
    async with db.transaction() as connection:
        return await clients.ensure(connection, uuid4(), profile, "supabase")


async def test_the_first_request_creates_a_client_with_an_empty_wallet(
    db: Database, owner: Connection
) -> None:
    sub = uuid4()
    client = await ensured(db, sub)
    assert (client.id, client.email, client.phone, client.name) == (
        sub,
        "aida@example.kg",
        "+996555123456",
        "Aida",
    )
    assert (client.status, client.origin) == ("active", "token")
    wallet = await owner.fetchrow("select * from wallet.wallets where client_id = $1", sub)
    assert wallet is not None
    assert (wallet["version"], wallet["balance_minor"]) == (0, 0)


async def test_twenty_calls_at_once_create_one(db: Database, owner: Connection) -> None:
    sub = uuid4()
    answers = await asyncio.gather(*(ensured(db, sub) for _ in range(20)))
    assert len(set(answers)) == 1
    assert await owner.fetchval("select count(*) from identity.clients") == 1
    assert await owner.fetchval("select count(*) from wallet.wallets") == 1


async def test_of_twenty_clients_with_one_verified_email_one_gets_it(
    db: Database, owner: Connection
) -> None:
    answers = await asyncio.gather(*(synced(db, VERIFIED) for _ in range(20)))
    assert len({client.id for client in answers}) == 20
    assert sum(client.email is not None for client in answers) == 1
    assert sum(client.phone is not None for client in answers) == 1
    assert await owner.fetchval("select count(*) from wallet.wallets") == 20


async def test_an_unverified_contact_may_be_claimed_by_several(db: Database) -> None:
    answers = await asyncio.gather(*(ensured(db, uuid4()) for _ in range(5)))
    assert {client.profile for client in answers} == {AIDA}


async def test_verifying_a_contact_removes_it_from_all_claimants(
    db: Database, owner: Connection
) -> None:
    claimants = [await ensured(db, uuid4()) for _ in range(3)]
    closed = await ensured(db, uuid4())
    async with db.transaction() as connection:
        await clients.close_client(connection, closed.id, actor="bek", reason="asked")
    true_owner = await ensured(db, uuid4(), Profile(name="Owner"))
    async with db.transaction() as connection:
        locked = await clients.lock_client(connection, true_owner.id)
        assert locked is not None
        now, holders = await clients.sync_profile(connection, locked, VERIFIED)
        assert (now.profile, holders) == (VERIFIED, {})
    for claimant in claimants:
        async with db.connection() as connection:
            left = (await clients.get_client(connection, claimant.id)).profile
        assert left == Profile(name="Aida")
    conflicts = await owner.fetch("select * from sync.contact_conflicts")
    assert {(row["client_id"], row["contact"], row["value"]) for row in conflicts} == {
        (claimant.id, contact, value)
        for claimant in claimants
        for contact, value in (("email", AIDA.email), ("phone", AIDA.phone))
    }
    assert {(row["holder"], row["verified"]) for row in conflicts} == {(true_owner.id, False)}


async def test_one_statement_may_insert_the_owner_and_a_claimant(db: Database) -> None:
    claimant, true_owner, other = uuid4(), uuid4(), uuid4()
    profiles = {claimant: AIDA, true_owner: VERIFIED, other: Profile(name="C")}
    async with db.transaction() as connection:
        assert await clients.ensure_new_clients(connection, profiles, "supabase") == set(profiles)
        assert (await clients.get_client(connection, true_owner)).profile == VERIFIED
        assert (await clients.get_client(connection, claimant)).profile == Profile(name="Aida")
        late = {uuid4(): AIDA, uuid4(): VERIFIED}
        assert await clients.ensure_new_clients(connection, late, "supabase") == set()


async def test_a_contact_another_client_has_verified_is_left_out(db: Database) -> None:
    await synced(db, VERIFIED)
    same_email = await ensured(db, uuid4(), Profile("aida@example.kg", "+996555000001", "B"))
    assert (same_email.email, same_email.phone) == (None, "+996555000001")
    same_phone = await ensured(db, uuid4(), Profile("c@example.kg", "+996555123456", "C"))
    assert (same_phone.email, same_phone.phone) == ("c@example.kg", None)


@pytest.mark.parametrize("contact", ["email", "phone"])
async def test_a_missing_contact_is_not_verified(owner: Connection, contact: str) -> None:
    for flag, error in (
        (True, asyncpg.CheckViolationError),
        (None, asyncpg.NotNullViolationError),
    ):
        with pytest.raises(error):
            await owner.execute(
                f"insert into identity.clients (id, {contact}, {contact}_verified, origin)"
                " values (gen_random_uuid(), null, $1, 'token')",
                flag,
            )


async def test_a_later_token_changes_nothing(db: Database) -> None:
    sub = uuid4()
    first = await ensured(db, sub)
    assert await ensured(db, sub, Profile("new@example.kg", None, "New")) == first


async def test_profile_is_replaced_unless_another_has_it(db: Database) -> None:
    other, own = await synced(db, VERIFIED), await ensured(db, uuid4(), Profile(name="B"))
    async with db.transaction() as connection:
        by_email = Profile(email=other.email, email_verified=True)
        by_phone = Profile(phone=other.phone, phone_verified=True)
        with pytest.raises(Conflict) as email:
            await clients.update_profile(connection, own.id, by_email)
        with pytest.raises(Conflict) as phone:
            await clients.update_profile(connection, own.id, by_phone)
        changed = await clients.update_profile(connection, own.id, Profile("b@example.kg"))
        with pytest.raises(NotFound):
            await clients.update_profile(connection, uuid4(), AIDA)
    assert (email.value.code, phone.value.code) == ("email_taken", "phone_taken")
    assert (changed.email, changed.name) == ("b@example.kg", None)
    assert changed.updated_at > own.updated_at


async def test_the_status_decides_about_money_and_acts_are_audited(
    db: Database, owner: Connection
) -> None:
    client = await ensured(db, uuid4())
    by = {"actor": "bek", "reason": "fraud"}
    async with db.transaction() as connection:
        assert (await clients.require_active(connection, client.id)).status == "active"
        assert (await clients.block_client(connection, client.id, **by)).status == "blocked"
        with pytest.raises(Forbidden) as blocked:
            await clients.require_active(connection, client.id)
        assert (await clients.unblock_client(connection, client.id, **by)).status == "active"
        assert (await clients.close_client(connection, client.id, **by)).status == "closed"
        with pytest.raises(Forbidden) as closed:
            await clients.require_active(connection, client.id)
        await clients.request_deletion(connection, client.id, datetime.now(UTC))
        assert (await clients.get_client(connection, client.id)).deletion_requested_at is None
        for act in (clients.block_client, clients.unblock_client):
            with pytest.raises(Conflict):
                await act(connection, client.id, **by)
        with pytest.raises(NotFound):
            await clients.block_client(connection, uuid4(), **by)
        with pytest.raises(NotFound):
            await clients.get_client(connection, uuid4())
    assert (blocked.value.code, closed.value.code) == ("client_blocked", "client_closed")
    rows = await owner.fetch(
        "select actor, action, subject, reason from identity.audit order by id"
    )
    assert [row["action"] for row in rows] == ["client.block", "client.unblock", "client.close"]
    assert {(row["actor"], row["subject"], row["reason"]) for row in rows} == {
        ("bek", str(client.id), "fraud")
    }


async def test_a_client_who_asked_for_deletion_moves_no_money(db: Database) -> None:
    client = await ensured(db, uuid4())
    at = datetime.now(UTC)
    async with db.transaction() as connection:
        await clients.request_deletion(connection, client.id, at)
        with pytest.raises(Forbidden) as refusal:
            await clients.require_active(connection, client.id)
        assert (await clients.get_client(connection, client.id)).deletion_requested_at == at
        await clients.withdraw_deletion(connection, client.id)
        await clients.require_active(connection, client.id)
    assert refusal.value.code == "client_deleted"


async def test_a_synced_profile_leaves_out_contacts_of_another_client(db: Database) -> None:
    holder, other = await synced(db, VERIFIED), await ensured(db, uuid4(), Profile("b@example.kg"))
    async with db.transaction() as connection:
        locked = await clients.lock_client(connection, other.id)
        assert locked is not None
        wanted = Profile("aida@example.kg", "+996555000009", "Other")
        now, holders = await clients.sync_profile(connection, locked, wanted)
        assert (now.email, now.phone, now.name) == (None, "+996555000009", "Other")
        assert holders == {"email": holder.id}
        again, same_holders = await clients.sync_profile(connection, now, wanted)
        assert (again, same_holders) == (now, holders)


async def test_of_concurrent_verifications_of_one_email_one_wins(db: Database) -> None:
    claimants = [await ensured(db, uuid4(), Profile(f"{n}@example.kg")) for n in range(6)]

    async def verify(client: Client) -> Client:
        async with db.transaction() as connection:
            locked = await clients.lock_client(connection, client.id)
            assert locked is not None
            wanted = Profile("one@example.kg", email_verified=True)
            now, _ = await clients.sync_profile(connection, locked, wanted)
            return now

    now = await asyncio.gather(*map(verify, claimants))
    assert sorted(str(client.email) for client in now) == ["None"] * 5 + ["one@example.kg"]


async def test_closed_client_frees_its_address_but_stays(db: Database, owner: Connection) -> None:
    old = await synced(db, VERIFIED)
    async with db.transaction() as connection:
        await clients.close_client(connection, old.id, actor="bek", reason="asked")
    assert (await ensured(db, uuid4())).email == "aida@example.kg"
    with pytest.raises(asyncpg.RestrictViolationError):
        await owner.execute("delete from identity.clients where id = $1", old.id)
