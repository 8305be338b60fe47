"""The change log Supabase keeps for EvPower: what is logged, what never breaks, what is read."""

from collections.abc import AsyncGenerator
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from evpower.foundation.db import Connection
from tests.sync.changes_log import (
    PASSWORD,
    as_auth,
    digits,
    forget,
    logged,
    make_row,
    make_user,
    rpc,
    sign_up,
)
from tests.sync.scenario import Target
from tests.sync.test_supabase_schema import _apply, _client
from tests.waiting import WAIT_LIMIT_S

DENIED = {401, 403, 404}


@pytest.fixture
async def log(there: Connection) -> Connection:
    """The owner's connection, with nothing logged yet."""
    await forget(there)
    return there


@pytest.fixture
async def app(target: Target) -> AsyncGenerator[httpx.AsyncClient]:
    headers = {"apikey": target.local.publishable_key}
    async with httpx.AsyncClient(
        base_url=target.local.url, headers=headers, timeout=WAIT_LIMIT_S
    ) as client:
        yield client


@pytest.fixture
async def server_app(target: Target) -> AsyncGenerator[httpx.AsyncClient]:
    headers = {"apikey": target.local.secret_key}
    async with httpx.AsyncClient(
        base_url=target.local.url, headers=headers, timeout=WAIT_LIMIT_S
    ) as client:
        yield client


class TestUsers:
    """What Auth does is logged; a sign-in is not."""

    async def test_sign_up_is_logged_and_sign_in_is_not(
        self, log: Connection, app: httpx.AsyncClient
    ) -> None:
        me, email, token = await sign_up(app)
        assert await logged(log) == [("users", "insert", me)]
        body = {"email": email, "password": PASSWORD}
        answer = await app.post("/auth/v1/token?grant_type=password", json=body)
        assert answer.status_code == 200
        await app.post(
            "/auth/v1/token?grant_type=refresh_token",
            json={"refresh_token": answer.json()["refresh_token"]},
        )
        assert (await app.get("/auth/v1/user", headers=token)).status_code == 200
        assert len(await logged(log)) == 1

    @pytest.mark.parametrize(
        "change",
        [
            "email = id || '@other.kg'",
            "phone = '996' || (random() * 1e9)::bigint",
            "email_confirmed_at = now()",
            "phone_confirmed_at = now()",
            """raw_user_meta_data = '{"name": "Aida"}'""",
            """raw_app_meta_data = '{"evpower_email_unverified": true}'""",
            "deleted_at = now()",
        ],
    )
    async def test_what_matters_of_a_user_is_logged(self, log: Connection, change: str) -> None:
        key = await make_user(log)
        await forget(log)
        await as_auth(log, f"update auth.users set {change} where id = $1", key)
        assert await logged(log) == [("users", "update", str(key))]

    @pytest.mark.parametrize(
        "change",
        [
            "last_sign_in_at = now(), updated_at = now()",
            "encrypted_password = 'x'",
            """raw_app_meta_data = '{"provider": "email"}'""",
            "email = email",
        ],
    )
    async def test_what_does_not_matter_is_not_logged(self, log: Connection, change: str) -> None:
        key = await make_user(log)
        await forget(log)
        await as_auth(log, f"update auth.users set {change} where id = $1", key)
        assert await logged(log) == []

    async def test_sign_ins_go_on_where_auth_lacks_a_column(self, log: Connection) -> None:
        """An older Auth has no deleted_at; a trigger that names it would refuse every sign-in."""
        key = await make_user(log)
        transaction = log.transaction()
        await transaction.start()
        try:
            await log.execute("set local role supabase_auth_admin")
            await log.execute("alter table auth.users rename deleted_at to gone_at")
            await log.execute(
                "update auth.users set last_sign_in_at = now(), email = 'n@x.kg' where id = $1", key
            )
        finally:
            await transaction.rollback()

    async def test_deleted_user_is_logged(self, log: Connection) -> None:
        key = await make_user(log)
        await forget(log)
        await as_auth(log, "delete from auth.users where id = $1", key)
        assert await logged(log) == [("users", "delete", str(key))]

    async def test_truncated_users_are_to_be_looked_at_and_none_counts_as_deleted(
        self, log: Connection
    ) -> None:
        key = await make_user(log)
        await forget(log)
        transaction = log.transaction()
        await transaction.start()
        try:
            await log.execute("truncate auth.users cascade")
            notes = await logged(log)
        finally:
            await transaction.rollback()
        assert ("users", "update", str(key)) in notes
        assert {op for _, op, _ in notes} == {"update"}

    async def test_auth_may_change_the_type_of_its_columns(self, log: Connection) -> None:
        transaction = log.transaction()
        await transaction.start()
        try:
            await log.execute("set local role supabase_auth_admin")
            await log.execute(
                "alter table auth.users alter column phone type varchar(40),"
                " alter column raw_user_meta_data type json using raw_user_meta_data::json"
            )
        finally:
            await transaction.rollback()


class TestClients:
    """The profile the apps read."""

    @pytest.mark.parametrize(
        "change",
        ["email = 'new@example.kg'", "phone = '+996555'", "name = 'New'", "status = 'inactive'"],
    )
    async def test_what_matters_of_a_row_is_logged(self, log: Connection, change: str) -> None:
        key = await make_row(log, uuid4(), name="Old")
        await log.execute(f"update public.clients set {change}")
        await log.execute("delete from public.clients")
        assert await logged(log) == [("clients", op, key) for op in ("insert", "update", "delete")]

    @pytest.mark.parametrize("change", ["name = name", "updated_at = now()", "currency = 'USD'"])
    async def test_what_does_not_matter_is_not_logged(self, log: Connection, change: str) -> None:
        await make_row(log, uuid4())
        await forget(log)
        await log.execute(f"update public.clients set {change}")
        assert await logged(log) == []

    async def test_request_to_be_deleted_is_logged_also_in_a_column_added_later(
        self, log: Connection
    ) -> None:
        key = await make_row(log, uuid4())
        await forget(log)
        transaction = log.transaction()
        await transaction.start()
        try:
            await log.execute(
                "alter table public.clients"
                " add column if not exists delete_requested_at timestamptz"
            )
            await log.execute("update public.clients set delete_requested_at = '2026-11-23 10:00Z'")
            assert await logged(log) == [("clients", "update", key)]
            people = (await rpc(log, "evpower_people", ids=[key]))["people"]
            assert people[0]["client"]["delete_requested_at"] == "2026-11-23T10:00:00+00:00"
        finally:
            await transaction.rollback()

    async def test_changed_id_is_one_that_went_and_one_that_came(self, log: Connection) -> None:
        old, new = await make_row(log, uuid4()), uuid4()
        await forget(log)
        await log.execute(f"update public.clients set id = '{new}'")
        assert await logged(log) == [("clients", "delete", old), ("clients", "insert", str(new))]

    async def test_truncated_rows_are_logged_as_deleted(self, log: Connection) -> None:
        keys = {await make_row(log, uuid4()) for _ in range(3)}
        await forget(log)
        await log.execute("truncate public.clients cascade")
        notes = await logged(log)
        assert {op for _, op, _ in notes} == {"delete"}
        assert {key for _, _, key in notes} == keys

    async def test_what_evpower_writes_does_not_come_back(self, log: Connection) -> None:
        new, known = uuid4(), uuid4()
        await make_row(log, known, name="Known")
        await forget(log)
        await _apply(log, clients=[_client(new), _client(known, status="blocked")])
        await _apply(
            log,
            clients=[_client(new, revision=2, status="blocked"), _client(known, balance="a lot")],
        )
        assert await log.fetchval("select count(*) from public.clients where status = 'blocked'")
        assert await logged(log) == []

    async def test_a_user_is_logged_again_after_evpower_wrote_in_the_same_transaction(
        self, log: Connection
    ) -> None:
        async with log.transaction():
            await _apply(log, clients=[_client(key := uuid4())])
            await log.execute("update public.clients set name = 'By hand'")
        assert await logged(log) == [("clients", "update", str(key))]

    async def test_app_that_writes_its_own_row_is_logged(
        self, log: Connection, app: httpx.AsyncClient
    ) -> None:
        me, _, token = await sign_up(app)
        await app.post("/rest/v1/clients", json={"id": me, "balance": 0}, headers=token)
        own_row = f"/rest/v1/clients?id=eq.{me}"
        assert (await app.patch(own_row, json={"name": "Me"}, headers=token)).status_code < 300
        assert await logged(log) == [
            ("users", "insert", me),
            ("clients", "insert", me),
            ("clients", "update", me),
        ]


class TestNoOneIsRefused:
    """Signing up and in works whatever has become of EvPower's schema."""

    async def _everything_a_driver_does(self, app: httpx.AsyncClient) -> None:
        me, email, token = await sign_up(app)
        body = {"email": email, "password": PASSWORD}
        signed_in = await app.post("/auth/v1/token?grant_type=password", json=body)
        assert signed_in.status_code == 200
        row = {"id": me, "balance": 0}
        made = await app.post("/rest/v1/clients", json=row, headers=token)
        assert made.status_code < 300, made.text
        own_row = f"/rest/v1/clients?id=eq.{me}"
        assert (await app.patch(own_row, json={"name": "Me"}, headers=token)).status_code < 300
        response = await app.put("/auth/v1/user", json={"data": {"name": "Me"}}, headers=token)
        assert response.status_code == 200, response.text

    async def test_without_the_log(self, log: Connection, app: httpx.AsyncClient) -> None:
        await log.execute("alter table evpower.changes rename to changes_away")
        try:
            await self._everything_a_driver_does(app)
        finally:
            await log.execute("alter table evpower.changes_away rename to changes")
        assert await logged(log) == []

    async def test_with_a_log_someone_keeps_locked(
        self, log: Connection, target: Target, app: httpx.AsyncClient
    ) -> None:
        async with target.psql() as other, other.transaction():
            await other.execute("lock table evpower.changes in access exclusive mode")
            await sign_up(app)
        assert await logged(log) == []

    async def test_with_a_log_that_takes_no_rows(
        self, log: Connection, app: httpx.AsyncClient
    ) -> None:
        await log.execute("alter table evpower.changes add constraint full_up check (false)")
        try:
            await self._everything_a_driver_does(app)
        finally:
            await log.execute("alter table evpower.changes drop constraint full_up")

    async def test_auth_has_no_rights_in_the_schema_and_needs_none(self, log: Connection) -> None:
        key = await make_user(log)
        assert await logged(log) == [("users", "insert", str(key))]
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await as_auth(log, "select * from evpower.changes")


class TestCarriedContact:
    """Email and phone of the login become the profile's."""

    async def _profile(self, there: Connection, key: UUID) -> tuple[str | None, str | None]:
        row = await there.fetchrow(
            "select email, phone from public.clients where id::text = $1", str(key)
        )
        assert row is not None
        return row["email"], row["phone"]

    async def test_new_email_and_phone_of_a_login_reach_the_row(self, log: Connection) -> None:
        key = await make_user(log, phone=digits())
        await make_row(log, key, email="old@example.kg", phone="+996700000001", name="Aida")
        await forget(log)
        phone = digits()
        await as_auth(
            log, "update auth.users set email = $2, phone = $3 where id = $1", key, "n@x.kg", phone
        )
        assert await self._profile(log, key) == ("n@x.kg", f"+{phone}")
        assert {table for table, _, _ in await logged(log)} == {"users", "clients"}

    async def test_change_through_auths_api_is_carried(
        self, log: Connection, app: httpx.AsyncClient, server_app: httpx.AsyncClient
    ) -> None:
        me, email, _ = await sign_up(app)
        await make_row(log, me, email=email)
        other, phone = f"{uuid4().hex}@example.kg", digits()
        body = {"email": other, "phone": f"+{phone}", "user_metadata": {"name": "Typed"}}
        answer = await server_app.put(f"/auth/v1/admin/users/{me}", json=body)
        assert answer.status_code == 200
        assert await self._profile(log, UUID(me)) == (other, f"+{phone}")
        assert await log.fetchval("select name from public.clients") is None

    async def test_phone_with_the_same_digits_keeps_the_apps_form(self, log: Connection) -> None:
        phone = digits()
        key = await make_user(log)
        written = f"+{phone[:3]} {phone[3:]}"
        await make_row(log, key, phone=written)
        await forget(log)
        await as_auth(log, "update auth.users set phone = $2 where id = $1", key, phone)
        assert (await self._profile(log, key))[1] == written
        assert await logged(log) == [("users", "update", str(key))]

    async def test_emptied_contact_empties_only_the_same_one(self, log: Connection) -> None:
        phone = digits()
        same, other = await make_user(log, phone=phone), await make_user(log, phone=digits())
        await make_row(log, same, email=f"{same.hex}@example.kg", phone=f"+{phone}")
        await make_row(log, other, email="own@example.kg", phone="+996700000002")
        for key in (same, other):
            await as_auth(
                log, "update auth.users set email = null, phone = null where id = $1", key
            )
        assert await self._profile(log, same) == (None, None)
        assert await self._profile(log, other) == ("own@example.kg", "+996700000002")

    async def test_hashes_of_a_deleted_login_are_not_carried(
        self, log: Connection, app: httpx.AsyncClient, server_app: httpx.AsyncClient
    ) -> None:
        me, email, _ = await sign_up(app)
        await make_row(log, me, email=email)
        await forget(log)
        answer = await server_app.request(
            "DELETE", f"/auth/v1/admin/users/{me}", json={"should_soft_delete": True}
        )
        assert answer.status_code == 200
        assert await self._profile(log, UUID(me)) == (email, None)
        assert await logged(log) == [("users", "update", me)]
        assert (await rpc(log, "evpower_people", ids=[me]))["people"][0]["user"]["deleted"] is True

    async def test_contact_someone_else_has_breaks_nothing(self, log: Connection) -> None:
        await log.execute("create unique index taken on public.clients (email)")
        try:
            key, phone = await make_user(log), digits()
            await make_row(log, key, email="mine@example.kg")
            await make_row(log, uuid4(), email="taken@example.kg")
            await as_auth(
                log,
                "update auth.users set email = 'taken@example.kg', phone = $2 where id = $1",
                key,
                phone,
            )
        finally:
            await log.execute("drop index public.taken")
        assert await self._profile(log, key) == ("mine@example.kg", f"+{phone}")
        assert ("users", "update", str(key)) in await logged(log)
        await as_auth(log, "delete from auth.users where id = $1", key)


class TestBlockedBefore:
    """A client this project blocked stays blocked when EvPower first writes its row."""

    async def test_a_block_stays_and_is_logged(self, log: Connection) -> None:
        key = uuid4()
        await make_row(log, key, status="blocked")
        await forget(log)
        await _apply(log, clients=[_client(key)])
        row = await log.fetchrow("select status::text, balance_version from public.clients")
        assert row is not None
        assert tuple(row) == ("blocked", 1)
        assert await logged(log) == [("clients", "blocked_before", str(key))]
        person = (await rpc(log, "evpower_people", ids=[str(key)]))["people"][0]
        assert (person["client"]["status"], person["client"]["written"]) == ("blocked", True)

    async def test_only_at_the_first_contact(self, log: Connection) -> None:
        key = uuid4()
        await _apply(log, clients=[_client(key)])
        await log.execute("update public.clients set status = 'blocked'")
        await forget(log)
        await _apply(log, clients=[_client(key, revision=2)])
        assert await log.fetchval("select status::text from public.clients") == "active"
        assert await logged(log) == []

    async def test_block_of_both_needs_no_word(self, log: Connection) -> None:
        key = uuid4()
        await make_row(log, key, status="blocked")
        await forget(log)
        await _apply(log, clients=[_client(key, status="blocked")])
        assert await logged(log) == []


async def test_functions_are_for_the_secret_key_alone(
    log: Connection, app: httpx.AsyncClient, server_app: httpx.AsyncClient
) -> None:
    _, _, token = await sign_up(app)
    calls: dict[str, dict[str, object]] = {
        "evpower_changes": {"limit": 1},
        "evpower_people": {"limit": 1},
        "evpower_changes_prune": {},
        "evpower_webhook_configure": {},
        "evpower_webhook_status": {},
    }
    for name, payload in calls.items():
        path, body = f"/rest/v1/rpc/{name}", {"payload": payload}
        assert (await app.post(path, json=body)).status_code in DENIED
        assert (await app.post(path, json=body, headers=token)).status_code in DENIED
        allowed = await server_app.post(path, json=body)
        assert allowed.status_code == 200, allowed.text
        for role in ("anon", "authenticated"):
            right = "select has_function_privilege($1, $2, 'execute')"
            assert not await log.fetchval(right, role, f"public.{name}(jsonb)")
    inside = (
        "select array_agg(proname::text) from pg_proc where pronamespace = 'evpower'::regnamespace"
        " and has_function_privilege('authenticated', oid, 'execute')"
    )
    # Triggers ask it for whoever writes; it answers nothing but yes or no.
    assert await log.fetchval(inside) == ["is_guarded"]
