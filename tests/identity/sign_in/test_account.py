"""A driver deletes the account, or asks for it, only when no money is lost by it."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection, Database
from evpower.identity import close_client
from tests.charging.money import top_up
from tests.conftest import Server
from tests.identity.sign_in.app import Phone, running_phone
from tests.identity.sign_in.conftest import new_phone


@pytest.fixture
async def app(db: Database, project: LocalSupabase) -> AsyncIterator[Phone]:
    async with running_phone(db, project) as phone:
        yield phone


@pytest.fixture
async def there(server: Server, project: LocalSupabase) -> AsyncIterator[Connection]:
    """The project's database."""
    del project
    connection: Connection = await asyncpg.connect(server.dsn("supabase_moving"))
    yield connection
    await connection.close()


async def signed_in(app: Phone) -> tuple[UUID, str, str]:
    """A new client: its id, its access token, its phone."""
    phone = new_phone()
    answer = await app.sign_in(phone)
    return UUID(answer["user"]["id"]), answer["access_token"], phone


async def test_an_empty_account_is_deleted_and_its_phone_begins_anew(
    app: Phone, there: Connection, owner: Connection
) -> None:
    phone = new_phone()
    answer = await app.sign_in(phone)
    client, token = UUID(answer["user"]["id"]), answer["access_token"]
    for _ in range(2):
        done = await app.post("auth/delete-account", token=token)
        assert (done.status_code, done.json()["success"]) == (200, True)
    assert await there.fetchval("select count(*) from auth.users where id = $1", client) == 0
    refused = await app.post("auth/refresh", {"refresh_token": answer["refresh_token"]})
    assert refused.status_code == 401
    acts = await owner.fetch("select action from identity.audit where subject = $1", str(client))
    assert "client.delete_account" in {row["action"] for row in acts}


async def test_a_closed_account_is_shown_to_no_token_of_before(app: Phone, db: Database) -> None:
    client, token, _ = await signed_in(app)
    assert (await app.post("auth/delete-account", token=token)).status_code == 200
    async with db.transaction() as connection:  # as the puller does with a deleted user
        await close_client(connection, client, actor="sync", reason="the user was deleted")
    for path in ("auth/me", "profile"):
        assert (await app.get(path, token)).status_code == 401


async def test_an_account_with_money_is_refused_with_the_sum(
    app: Phone, owner: Connection, there: Connection
) -> None:
    client, token, _ = await signed_in(app)
    await top_up(owner, client, 12_345)
    refused = await app.post("auth/delete-account", token=token)
    assert (refused.status_code, refused.json()["error_code"]) == (409, "account_has_money")
    assert "123.45" in refused.json()["error"].replace(",", ".")
    assert await there.fetchval("select count(*) from auth.users where id = $1", client) == 1
    requested = "select deletion_requested_at from identity.clients where id = $1"
    assert await owner.fetchval(requested, client) is None


async def test_a_request_with_money_says_that_it_comes_back(app: Phone, owner: Connection) -> None:
    client, token, _ = await signed_in(app)
    await top_up(owner, client, 500)
    done = (await app.post("account/delete-request", token=token)).json()
    assert done["success"] is True
    assert "5" in done["message"]
    profile = (await app.get("profile", token)).json()
    assert (profile["status"], profile["balance"]) == ("inactive", 5.0)


async def test_a_request_is_stored_in_both_systems_and_taken_back(
    app: Phone, owner: Connection, there: Connection
) -> None:
    client, token, phone = await signed_in(app)
    row = "insert into public.clients (id, phone, balance) values ($1, $2, 0)"
    await there.execute(row + " on conflict (id) do nothing", str(client), phone)
    for _ in range(2):
        assert (await app.post("account/delete-request", token=token)).status_code == 200
    here = "select deletion_requested_at is not null from identity.clients where id = $1"
    status = "select to_jsonb(c) from public.clients c where id = $1"
    assert await owner.fetchval(here, client)
    assert is_requested(await there.fetchval(status, str(client)))
    for _ in range(2):
        assert (await app.post("account/restore", token=token)).status_code == 200
    assert not await owner.fetchval(here, client)
    assert not is_requested(await there.fetchval(status, str(client)))


def is_requested(row: Any) -> bool:
    """Whether the project's row asks for deletion."""
    return '"inactive"' in row or '"delete_requested_at": "' in row


async def test_the_profile_has_no_null(app: Phone) -> None:
    client, token, phone = await signed_in(app)
    assert (await app.get("profile", token)).json() == {
        "success": True,
        "client_id": str(client),
        "email": "",
        "phone": phone,
        "name": "",
        "balance": 0,
        "status": "active",
    }


async def test_a_stranger_deletes_nothing(app: Phone) -> None:
    for path in ("auth/delete-account", "account/delete-request", "account/restore"):
        assert (await app.post(path)).status_code == 401
    assert (await app.get("profile")).status_code == 401
