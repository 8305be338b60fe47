"""A phone that went to another person signs in to an account of that person's own."""

from uuid import UUID

import httpx
import pytest

from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection, Database
from evpower.identity import clients, store
from evpower.identity.model import AuthUser, ImportedUser, Profile
from evpower.identity.sign_in import store_accounts
from evpower.identity.supabase_admin import SupabaseAdmin
from tests.identity.sign_in.conftest import Phones, new_phone, refusal_of


class Stopped(Exception):
    """The process stopped."""


class StoppingAdmin(SupabaseAdmin):
    """Stops right after Auth has created the user."""

    def __init__(self, admin: SupabaseAdmin) -> None:
        self.__dict__.update(admin.__dict__)

    async def import_user(self, user: ImportedUser) -> AuthUser:
        await super().import_user(user)
        raise Stopped


async def stop_half_way(phones: Phones, admin: SupabaseAdmin, phone: str) -> str:
    """Signs in; the user is created and the process stops. Returns the code, which stays good."""
    await phones.ask(phone)
    code = phones.inbox.code(phone)
    with pytest.raises(Stopped):
        await phones.through(admin=StoppingAdmin(admin)).type(phone, code)
    return code


async def begun(owner: Connection, phone: str) -> UUID | None:
    return await owner.fetchval(
        "select client_id from identity.phone_accounts where phone = $1", phone
    )


async def pull(db: Database, client_id: UUID, phone: str) -> None:
    """What the puller does with a user of Auth that has this phone."""
    async with db.transaction() as connection:
        await clients.ensure(
            connection, client_id, Profile(phone=phone, phone_verified=True), "token"
        )
        locked = await store.lock_client(connection, client_id)
        assert locked is not None
        await clients.sync_profile(connection, locked, locked.with_phone(phone))


async def phone_of(owner: Connection, client_id: UUID) -> str | None:
    return await owner.fetchval("select phone from identity.clients where id = $1", client_id)


async def test_a_beginning_ends_when_its_client_signs_in(
    phones: Phones, db: Database, admin: SupabaseAdmin, owner: Connection
) -> None:
    phone = new_phone()
    code = await stop_half_way(phones, admin, phone)
    client_id = await begun(owner, phone)
    assert client_id is not None
    await pull(db, client_id, phone)
    assert (await phones.type(phone, code)).account.user_id == client_id
    assert await begun(owner, phone) is None


async def test_a_user_banned_after_a_beginning_gets_no_account(
    phones: Phones,
    admin: SupabaseAdmin,
    owner: Connection,
    supabase: LocalSupabase,
    http: httpx.AsyncClient,
) -> None:
    phone = new_phone()
    code = await stop_half_way(phones, admin, phone)
    client_id = await begun(owner, phone)
    answer = await http.put(
        f"{supabase.url}/auth/v1/admin/users/{client_id}",
        headers={"apikey": supabase.secret_key},
        json={"ban_duration": "24h"},
    )
    assert answer.status_code == 200, answer.text
    refused = await refusal_of(phones.type(phone, code))
    assert (refused.code, refused.http_status) == ("client_blocked", 403)
    assert await owner.fetchval("select count(*) from identity.clients") == 0


@pytest.mark.parametrize("pulled", ["pulled", "not pulled"])
async def test_a_beginning_of_the_owner_before_is_not_handed_out(
    phones: Phones, db: Database, admin: SupabaseAdmin, owner: Connection, pulled: str
) -> None:
    phone, next_phone = new_phone(), new_phone()
    await stop_half_way(phones, admin, phone)
    before = await begun(owner, phone)
    assert before is not None
    await admin.confirm_phone(before, next_phone)
    if pulled == "pulled":
        await pull(db, before, next_phone)
    phones.clock.forward(seconds=61)
    signed_in = await phones.sign_in(phone)
    assert signed_in.account.is_new
    assert signed_in.account.user_id != before
    assert await phone_of(owner, before) == (next_phone if pulled == "pulled" else None)
    assert await phone_of(owner, signed_in.account.user_id) == phone
    assert await begun(owner, phone) is None


async def test_a_client_that_has_another_phone_keeps_it(
    phones: Phones, db: Database, owner: Connection
) -> None:
    """The beginning's id is a client's already, and Auth has no such user."""
    phone, other = new_phone(), new_phone()
    client_id = phones.calls.accounts.new_id()
    await pull(db, client_id, other)
    async with db.transaction() as connection:
        await store_accounts.open_account(connection, phone, client_id, phones.clock())
    signed_in = await phones.sign_in(phone)
    assert signed_in.account.user_id != client_id
    assert await phone_of(owner, client_id) == other


async def test_a_closed_client_is_not_begun_again(
    phones: Phones, db: Database, admin: SupabaseAdmin, owner: Connection
) -> None:
    phone = new_phone()
    await stop_half_way(phones, admin, phone)
    client_id = await begun(owner, phone)
    assert client_id is not None
    await pull(db, client_id, phone)
    await admin.delete_user(client_id)
    await owner.execute("update identity.clients set status = 'closed' where id = $1", client_id)
    phones.clock.forward(seconds=61)
    assert (await phones.sign_in(phone)).account.user_id != client_id
    assert await admin.get_user(client_id) is None
