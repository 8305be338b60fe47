"""A login's new email or phone that can't be written to the profile now is written later."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from evpower.foundation.db import Connection
from tests.sync.changes_log import (
    as_auth,
    digits,
    forget,
    logged,
    make_row,
    make_user,
    rpc,
    until_visible,
)
from tests.sync.scenario import Target
from tests.sync.test_supabase_schema import _apply, _client


@pytest.fixture
async def log(there: Connection) -> Connection:
    """The owner's connection, with nothing logged and nothing waiting."""
    await there.execute("delete from evpower.pending_contacts")
    await there.execute("delete from auth.users")
    await forget(there)
    return there


@pytest.fixture
async def other(target: Target) -> AsyncGenerator[Connection]:
    """A second connection."""
    async with target.psql() as connection:
        yield connection


async def change_email(there: Connection, user: UUID, email: str) -> None:
    await as_auth(there, "update auth.users set email = $2 where id = $1", user, email)


async def email_of(there: Connection, user: UUID) -> str | None:
    return await there.fetchval("select email from public.clients where id::text = $1", str(user))


async def waiting(there: Connection) -> int:
    return await there.fetchval("select count(*) from evpower.pending_contacts")


async def test_a_row_evpower_makes_with_the_older_email_gets_the_newer(log: Connection) -> None:
    user = await make_user(log, email="old@example.kg")
    await change_email(log, user, "new@example.kg")
    assert await waiting(log) == 1
    await _apply(log, clients=[_client(user) | {"email": "old@example.kg"}])
    await forget(log)
    await rpc(log, "evpower_changes", after=None, limit=10)
    assert await email_of(log, user) == "new@example.kg"
    assert await waiting(log) == 0
    assert await logged(log) == [("clients", "update", str(user))], "EvPower must hear of it"


async def test_a_locked_row_gets_it_when_it_is_free(log: Connection, other: Connection) -> None:
    user, phone = await make_user(log), digits()
    await make_row(log, user, email="old@example.kg")
    async with other.transaction():
        await other.execute("select from public.clients where id::text = $1 for update", str(user))
        await as_auth(
            log,
            "update auth.users set email = $2, phone = $3 where id = $1",
            user,
            "new@example.kg",
            phone,
        )
        await rpc(log, "evpower_changes", after=None, limit=10)
        assert await waiting(log) == 2, "asking does not wait for the lock either"
    await rpc(log, "evpower_changes", after=None, limit=10)
    assert await email_of(log, user) == "new@example.kg"
    assert await log.fetchval("select phone from public.clients") == f"+{phone}"
    assert await waiting(log) == 0


async def test_the_newest_of_several_is_carried(log: Connection) -> None:
    user = await make_user(log, email="first@example.kg")
    await change_email(log, user, "second@example.kg")
    await change_email(log, user, "third@example.kg")
    await _apply(log, clients=[_client(user) | {"email": "first@example.kg"}])
    await rpc(log, "evpower_changes", after=None, limit=10)
    assert await email_of(log, user) == "third@example.kg"


async def test_what_a_user_writes_meanwhile_stays(log: Connection) -> None:
    user = await make_user(log, email="old@example.kg")
    await change_email(log, user, "new@example.kg")
    await make_row(log, user, email="typed@example.kg")
    await rpc(log, "evpower_changes", after=None, limit=10)
    assert await email_of(log, user) == "typed@example.kg"
    assert await waiting(log) == 0


async def test_another_users_email_breaks_nothing_and_is_not_tried_for_ever(
    log: Connection,
) -> None:
    await log.execute("create unique index taken on public.clients (email)")
    try:
        holder, user = await make_user(log), await make_user(log, email="old@example.kg")
        await change_email(log, user, "new@example.kg")
        await make_row(log, holder, email="new@example.kg")
        await _apply(log, clients=[_client(user) | {"email": "old@example.kg"}])
        await rpc(log, "evpower_changes", after=None, limit=10)
        assert await email_of(log, user) == "old@example.kg"
        assert await waiting(log) == 0
    finally:
        await log.execute("drop index public.taken")


async def test_what_waits_for_someone_who_was_deleted_is_forgotten(log: Connection) -> None:
    user = await make_user(log, email="old@example.kg")
    await change_email(log, user, "new@example.kg")
    await as_auth(log, "delete from auth.users where id = $1", user)
    await until_visible(log)
    page = await rpc(log, "evpower_changes", after=None, limit=10)
    last = page["changes"][-1]
    assert datetime.fromisoformat(last["at"]) > datetime.now(UTC) - timedelta(minutes=5)
    await rpc(log, "evpower_changes_prune", before={"xid": last["xid"], "seq": last["seq"]})
    assert await waiting(log) == 0
