"""Old clients get one id: linked where it is verified, created otherwise, each once."""

import asyncio
import re
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from evpower import client_migration
from evpower.cli.identity import _all_users, _Parts
from evpower.client_migration.model import RowRefused
from evpower.config import Settings
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection, Database
from evpower.identity import SupabaseAdmin, resolve
from evpower.identity.aliases import resolve_id_tag
from evpower.identity.model import ImportedUser
from evpower.sync import SupabaseRpc
from tests.conftest import as_owner
from tests.identity.conftest import Answer, Edge, Request, forward
from tests.identity.moving import CONFIRMED, Moving, everything, someone
from tests.waiting import WAIT_LIMIT_S

BCRYPT = "$2a$04$" + "a" * 53
USERS = "/auth/v1/admin/users"


async def test_a_client_no_one_knows_gets_a_user_a_wallet_and_keeps_the_old_id(
    moving: Moving,
) -> None:
    row = someone("old-7", id_tags="04A1B2C3;+996555000111")
    done = await moving.run(moving.csv(row))
    assert (done.done, done.failed, done.conflicts) == (1, 0, 0)
    client = (await moving.named())["old-7"]
    user = await moving.admin.get_user(client)
    assert user is not None
    assert (user.email, user.profile.phone, user.profile.name) == (
        row["email"], row["phone"], "Aida",
    )  # fmt: skip
    stored = await moving.owner.fetchrow(
        "select email, phone, name, origin, status from identity.clients where id = $1", client
    )
    assert tuple(stored or ()) == (row["email"], row["phone"], "Aida", "import", "active")
    assert await moving.balance(client) == 0
    assert await resolve(moving.owner, "old-7") == client
    assert await resolve_id_tag(moving.owner, " 04a1b2c3 ") == client
    assert await resolve_id_tag(moving.owner, "+996555000111") == client
    assert await resolve_id_tag(moving.owner, "old-7") is None


@pytest.mark.parametrize("by", ["rpc", "admin"])
@pytest.mark.parametrize("contact", ["email", "phone"])
async def test_a_user_with_the_same_confirmed_contact_is_linked(
    moving: Moving, contact: str, by: str
) -> None:
    moving.by = by
    row = someone("old-1")
    known = await moving.user(**{contact: row[contact], f"{contact}_confirm": True})
    await moving.run(moving.csv(row, *(someone() for _ in range(7))))
    assert (await moving.named())["old-1"] == known
    assert await moving.users() == 8
    assert await moving.owner.fetchval("select count(*) from identity.clients") == 8


async def test_an_old_id_that_is_the_users_own_is_linked(moving: Moving) -> None:
    known = await moving.user(email="other@example.kg", **CONFIRMED)
    await moving.run(moving.csv(someone(str(known).upper(), email="", phone="")))
    assert await moving.named() == {str(known): known}
    assert await resolve(moving.owner, str(known)) == known


async def test_an_old_uuid_stays_the_id(moving: Moving) -> None:
    old = uuid4()
    await moving.run(moving.csv(someone(old)))
    assert await moving.named() == {str(old): old}
    user = await moving.admin.get_user(old)
    assert user is not None


async def test_a_driver_of_the_new_app_gets_the_old_history_id(moving: Moving) -> None:
    """The client exists from a sign-up in the app: the old id becomes its alias."""
    row = someone("old-1")
    known = await moving.user(email=row["email"], **CONFIRMED)
    await moving.owner.execute(
        "insert into identity.clients (id, email, origin) values ($1, $2, 'token')",
        known,
        row["email"],
    )
    await moving.run(moving.csv(row))
    assert await moving.named() == {"old-1": known}
    origin = await moving.owner.fetchval("select origin from identity.clients")
    assert origin == "token"


class TestConfirmedOrNot:
    @pytest.mark.parametrize(
        ("flags", "email_confirmed", "unverified", "account_phone"),
        [
            ({"email_confirmed": "true", "phone_confirmed": "t"}, True, None, True),
            ({"email_confirmed": "2024-05-06 07:08:09+00"}, True, None, False),
            ({"email_confirmed": "false", "phone_confirmed": "0"}, True, True, False),
            ({}, True, True, False),
        ],
    )
    async def test_only_what_the_old_system_had_confirmed_is(
        self,
        moving: Moving,
        flags: dict[str, str],
        *,
        email_confirmed: bool,
        unverified: bool | None,
        account_phone: bool,
    ) -> None:
        row = someone("old-1", **flags)
        await moving.run(moving.csv(row))
        user = await moving.admin.get_user((await moving.named())["old-1"])
        assert user is not None
        assert user.email_confirmed is email_confirmed
        assert user.app_metadata.get("evpower_email_unverified") is unverified
        assert (user.phone == row["phone"]) is account_phone
        assert user.has_verified("phone") is account_phone
        assert user.profile.phone == row["phone"]

    async def test_with_confirmation_by_mail_nothing_is_said_to_be_confirmed(
        self, moving: Moving
    ) -> None:
        await moving.run(moving.csv(someone("old-1")), confirm="email")
        user = await moving.admin.get_user((await moving.named())["old-1"])
        assert user is not None
        assert not user.email_confirmed

    async def test_a_phone_alone_makes_an_account_its_owner_confirms_by_code(
        self, moving: Moving
    ) -> None:
        row = someone("old-1", email="")
        await moving.run(moving.csv(row))
        user = await moving.admin.get_user((await moving.named())["old-1"])
        assert user is not None
        assert (user.email, user.phone, user.phone_confirmed) == (None, row["phone"], False)


class TestPasswords:
    async def test_the_old_password_signs_in(self, moving: Moving) -> None:
        hashed = await hash_of(moving, "old-Password-1")
        rows = [someone(f"old-{form}", password_hash=f"$2{form}{hashed[3:]}") for form in "aby"]
        await moving.run(moving.csv(*rows))
        named = await moving.named()
        for row in rows:
            session = await moving.sign_in("old-Password-1", email=str(row["email"]))
            assert UUID(session["user"]["id"]) == named[str(row["id"])]
            wrong = await moving.sign_in("new-Password-1", email=str(row["email"]))
            assert wrong["error_code"] == "invalid_credentials"

    async def test_no_password_and_no_hash_is_ever_kept_here(
        self, moving: Moving, dsn: str
    ) -> None:
        await moving.run(moving.csv(someone(password_hash=BCRYPT)))
        for table in await everything(moving.owner):
            rows = await moving.owner.fetch(f"select t::text from (select * from {table}) t")
            assert not any(BCRYPT[7:] in row["t"] for row in rows), (table, dsn)

    async def test_a_hash_auth_cannot_check_is_reported_and_the_user_made_without(
        self, moving: Moving
    ) -> None:
        md5 = "5f4dcc3b5aa765d61d8327deb882cf99"
        argon = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzYWx0$" + "A" * 43
        rows = [someone("md5", password_hash=md5), someone("argon", password_hash=argon)]
        planned = await moving.plan(moving.csv(*rows), dry_run=True)
        assert (planned.counts.passwords, planned.counts.passwords_unknown) == (1, 1)
        done = await moving.run(moving.csv(*rows))
        assert done.done == 2
        async with moving.db.transaction() as connection:
            [run] = await client_migration.run_statuses(connection)
        # The local Auth reads bcrypt alone: what it refuses is no reason to lose a client.
        assert run.passwords_to_reset == 2

    async def test_argon2_goes_to_auth_as_it_is(
        self, moving: Moving, edge: Edge, http: httpx.AsyncClient
    ) -> None:
        argon = "$argon2i$v=19$m=4096,t=3,p=1$c29tZXNhbHRzYWx0$" + "B" * 43
        sent: list[bytes] = []

        async def respond(request: Request) -> Answer:
            sent.append(request.body)
            body = request.body.replace(argon.encode(), BCRYPT.encode())
            return await forward(
                moving.supabase, http, Request(request.method, request.path, request.headers, body)
            )

        edge.respond = respond
        source = moving.csv(someone("old-1", password_hash=argon))
        run = (await moving.plan(source)).run
        assert run is not None
        await moving.execute(source, run, admin=through(edge, moving))
        assert argon.encode() in sent[0]
        assert len(sent) == 1


class TestAgain:
    async def test_again_there_is_nothing_to_do(self, moving: Moving) -> None:
        rows = [someone(), someone(), someone()]
        await moving.user(email=rows[0]["email"], **CONFIRMED)
        await moving.run(moving.csv(*rows))
        before = (await everything(moving.owner), await everything(moving.there))
        again = await moving.plan(moving.csv(*rows))
        assert (again.counts.skip, again.run) == (3, None)
        assert (await everything(moving.owner), await everything(moving.there)) == before

    async def test_new_rows_of_a_longer_file_are_moved(self, moving: Moving) -> None:
        first, second = someone("a"), someone("b")
        await moving.run(moving.csv(first))
        done = await moving.run(moving.csv(first, second))
        assert (done.moved, done.skipped) == (1, 1)
        assert set(await moving.named()) == {"a", "b"}

    async def test_a_dry_run_changes_nothing_anywhere(self, moving: Moving) -> None:
        known = someone()
        await moving.user(email=known["email"], **CONFIRMED)
        before = (await everything(moving.owner), await everything(moving.there))
        report = moving.folder / "report.csv"
        source = moving.csv(known, someone("=1+1", balance="10"), someone(email="no address"))
        planned = await moving.plan(source, dry_run=True, report=report)
        assert (planned.counts.link, planned.counts.create, planned.counts.invalid) == (1, 1, 1)
        assert (await everything(moving.owner), await everything(moving.there)) == before
        lines = report.read_text().splitlines()
        assert len(lines) == 4
        assert "'=1+1" in lines[2]

    async def test_a_report_that_can_not_be_written_is_told_first(self, moving: Moving) -> None:
        with pytest.raises(RowRefused, match="nowhere") as refused:
            await moving.plan(moving.csv(someone()), report=moving.folder / "nowhere" / "r.csv")
        assert refused.value.code == "report_not_writable"

    async def test_two_at_once_are_one(self, moving: Moving) -> None:
        source = moving.csv(someone(), someone())
        run = (await moving.plan(source)).run
        assert run is not None
        with pytest.raises(RowRefused) as refused:
            await moving.plan(source)
        assert refused.value.code == "migration_open"
        async with moving.db.transaction() as connection:
            await connection.fetch("select pg_advisory_lock(1229210958)")
            with pytest.raises(RowRefused) as busy:
                await moving.execute(source, run)
            assert busy.value.code == "migration_busy"
            await connection.fetch("select pg_advisory_unlock(1229210958)")
        assert (await moving.execute(source, run)).done == 2


class TestBalance:
    async def test_it_is_carried_over_once_as_an_audited_payment(self, moving: Moving) -> None:
        rows = [someone("a", balance="123.45"), someone("b", balance="0"), someone("c", balance="")]
        planned = await moving.plan(moving.csv(*rows), dry_run=True)
        assert (planned.counts.balances, planned.counts.balance_minor) == (1, 12_345)
        await moving.run(moving.csv(*rows))
        await moving.plan(moving.csv(*rows))
        client = (await moving.named())["a"]
        assert await moving.balance(client) == 12_345
        payment = await moving.owner.fetchrow(
            "select provider, provider_ref, amount_minor, status from payments.payments"
        )
        assert tuple(payment or ()) == ("manual", f"opening:{client}", 12_345, "approved")
        audit = await moving.owner.fetchrow(
            "select actor, details->>'receipt' from identity.audit where action = 'payments.cash'"
        )
        assert tuple(audit or ()) == ("Aizada", f"opening:{client}")

    async def test_floats_are_rounded_to_tyiyn(self, moving: Moving) -> None:
        await moving.run(moving.csv(someone("a", balance="99.30000000000001")))
        assert await moving.balance((await moving.named())["a"]) == 9_930

    async def test_the_same_money_imported_by_sync_is_not_doubled(self, moving: Moving) -> None:
        """The old system lived in the Supabase project itself: one record, one balance."""
        known = await moving.user(email="a@example.kg", **CONFIRMED)
        await opened(moving.owner, known, 5_000)
        done = await moving.run(moving.csv(someone(known, email="", phone="", balance="50")))
        assert (done.done, await moving.balance(known)) == (1, 5_000)

    async def test_other_money_of_the_same_amount_is_for_a_person(self, moving: Moving) -> None:
        known = await moving.user(email="a@example.kg", **CONFIRMED)
        await opened(moving.owner, known, 5_000)
        row = someone("old-1", email="a@example.kg", balance="50")
        done = await moving.run(moving.csv(row))
        assert (done.conflicts, await moving.balance(known)) == (1, 5_000)
        assert await moving.named() == {}
        assert await trouble(moving) == "opening_balance_exists"

    async def test_other_money_of_another_amount_is_for_a_person(self, moving: Moving) -> None:
        known = await moving.user(email="a@example.kg", **CONFIRMED)
        await opened(moving.owner, known, 5_000)
        done = await moving.run(moving.csv(someone(known, email="", phone="", balance="70")))
        assert (done.conflicts, await moving.balance(known)) == (1, 5_000)
        assert await trouble(moving) == "receipt_reused"


class TestPostgresSource:
    async def test_a_table_with_the_old_columns_is_read(
        self, moving: Moving, dsn: str, owner: Connection
    ) -> None:
        await owner.execute(
            'create schema "old"; create table old.clients (id text primary key, name text,'
            " phone text, email text, balance double precision, status text, tags text[]);"
            " insert into old.clients values ('7', 'Aida', '0555 112233', 'A@Example.kg', 12.5,"
            " 'active', '{AA,BB}')"
        )
        source = client_migration.PostgresSource(
            as_owner(dsn), table="old.clients", mapped={"id_tags": "tags"}
        )
        done = await moving.run(source)
        assert done.done == 1
        client = (await moving.named())["7"]
        assert await moving.balance(client) == 1_250
        assert await resolve_id_tag(owner, "bb") == client
        stored = await owner.fetchrow("select email, phone from identity.clients")
        assert tuple(stored or ()) == ("a@example.kg", "+996555112233")

    async def test_a_phone_whose_code_the_old_backend_verified_is_verified(
        self, moving: Moving, dsn: str, owner: Connection
    ) -> None:
        """By the query of the page."""
        page = (Path(__file__).parents[2] / "docs" / "migrate-ids.md").read_text("utf-8")
        query = re.search(r'--query "(select c\.\*.* clients c)"', page)
        assert query is not None
        await owner.execute(
            'create schema "old"; create table old.clients (id text primary key, phone text);'
            " create table old.otp_codes (phone text, verified_at timestamptz);"
            " insert into old.clients values ('typed', '+996555000001'), ('asked',"
            " '+996555000002'), ('never', '+996555000003');"
            " insert into old.otp_codes values ('+996555000001', null),"
            " ('+996555000001', '2025-12-11 10:00+00'), ('+996555000002', null)"
        )
        text = re.sub(r" (clients c|otp_codes o)\b", r" old.\1", query[1])
        await moving.run(
            client_migration.PostgresSource(as_owner(dsn), query=f"{text} order by c.id")
        )
        verified = await owner.fetch("select phone from identity.clients where phone_verified")
        assert [row["phone"] for row in verified] == ["+996555000001"]
        named = await moving.named()
        user = await moving.admin.get_user(named["typed"])
        assert user is not None
        assert (user.phone, user.phone_confirmed) == ("+996555000001", True)

    async def test_a_query_can_only_read(self, moving: Moving, dsn: str) -> None:
        source = client_migration.PostgresSource(
            as_owner(dsn),
            query="with gone as (delete from identity.aliases returning 1) select 'x' as id",
        )
        with pytest.raises(client_migration.SourceError):
            await moving.plan(source)

    @pytest.mark.parametrize("table", ["a;drop table x", 'a"b', "a.b.c", "", "1a"])
    async def test_a_table_that_is_none_is_refused(self, dsn: str, table: str) -> None:
        with pytest.raises(client_migration.SourceError):
            client_migration.PostgresSource(as_owner(dsn), table=table)

    async def test_no_password_is_kept(self) -> None:
        source = client_migration.PostgresSource(
            "postgres://me:secret@host.kg:5432/old", table="clients"
        )
        assert source.name == "postgres://host.kg/old clients"

    @pytest.mark.parametrize(
        "dsn",
        [
            "postgres://me:s3cr/et@127.0.0.1:1/old",
            "postgres://me:s3cr#et@127.0.0.1:1/old",
            "postgres://me:s3cr?et@127.0.0.1:1/old",
            "postgres://me:s3c@ret@127.0.0.1:1/old",
            "postgres://127.0.0.1:1/old?password=s3cret",
            "postgresql://me:s3cret",
        ],
    )
    async def test_no_password_is_told_when_the_address_is_wrong(self, dsn: str) -> None:
        source = client_migration.PostgresSource(as_owner(dsn))
        with pytest.raises(client_migration.SourceError) as refused:
            await anext(source.rows())
        for text in (source.name, str(refused.value)):
            assert not any(part in text for part in ("s3c", "ret", "et@"))

    async def test_a_database_that_does_not_answer_is_one_line(self, moving: Moving) -> None:
        source = client_migration.PostgresSource("postgres://stranger@127.0.0.1:1/none")
        with pytest.raises(client_migration.SourceError, match="does not respond"):
            await moving.plan(source)


async def test_a_project_without_our_function_is_read_by_the_list_of_users(
    db: Database, supabase: LocalSupabase, admin: SupabaseAdmin, http: httpx.AsyncClient
) -> None:
    user = (await admin.import_user(moved_user())).id
    rpc = SupabaseRpc(http, supabase.url, supabase.secret_key)
    settings = Settings(_env_file=None)  # pyright: ignore[reportCallIssue]
    pages = [page async for page in _all_users(_Parts(settings, db, admin, rpc))]
    assert user in {person.id for page in pages for person in page}


class TestRoleOfTheProcesses:
    async def test_may_not_name_anybody(self, db: Database, client_id: UUID) -> None:
        async with db.connection() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(
                    "insert into identity.aliases (kind, alias, client_id)"
                    " values ('id_tag', 'aa', $1)",
                    client_id,
                )


class TestTrouble:
    @pytest.mark.parametrize(
        ("status", "retry_after"), [(429, b"200"), (503, b"200"), (429, b"DATE")]
    )
    async def test_auth_is_not_called_before_it_said(
        self, moving: Moving, edge: Edge, http: httpx.AsyncClient, status: int, retry_after: bytes
    ) -> None:
        refusals = iter([status])

        async def respond(request: Request) -> Answer:
            refused = next(refusals, None)
            if refused is None:
                return await forward(moving.supabase, http, request)
            at = formatdate(time.time() + 201, usegmt=True).encode()
            return (
                refused,
                b"{}",
                b"Retry-After: " + (at if retry_after == b"DATE" else retry_after),
            )

        edge.respond = respond
        source = moving.csv(someone())
        run = (await moving.plan(source)).run
        assert run is not None
        done = await moving.execute(source, run, admin=through(edge, moving))
        assert done.done == 1
        # Time goes on until it is waited: far less of it than this.
        assert 200 - WAIT_LIMIT_S < max(moving.calls) <= 201

    async def test_a_busy_auth_is_called_again_later(
        self, moving: Moving, edge: Edge, http: httpx.AsyncClient
    ) -> None:
        refusals = iter([429, 503, 500, 429])

        async def respond(request: Request) -> Answer:
            status = next(refusals, None)
            if status is None or request.method != "POST":
                return await forward(moving.supabase, http, request)
            return status, b"{}"

        edge.respond = respond
        source = moving.csv(someone(), someone())
        run = (await moving.plan(source)).run
        assert run is not None
        done = await moving.execute(source, run, admin=through(edge, moving))
        assert (done.done, await moving.users()) == (2, 2)
        assert sum(moving.calls) > 0

    async def test_an_answer_that_was_lost_does_not_make_two(
        self, moving: Moving, edge: Edge, http: httpx.AsyncClient
    ) -> None:
        lost = 0

        async def respond(request: Request) -> Answer:
            nonlocal lost
            answer = await forward(moving.supabase, http, request)
            if request.method == "POST" and lost < 3:
                lost += 1
                return None
            return answer

        edge.respond = respond
        rows = [someone(), someone(), someone()]
        source = moving.csv(*rows)
        run = (await moving.plan(source)).run
        assert run is not None
        done = await moving.execute(source, run, admin=through(edge, moving))
        assert (done.done, await moving.users()) == (3, 3)

    async def test_a_key_auth_refuses_stops_the_run(self, moving: Moving) -> None:
        source = moving.csv(*(someone() for _ in range(20)))
        run = (await moving.plan(source)).run
        assert run is not None
        bad = SupabaseAdmin(
            http=moving.http, url=moving.supabase.url, secret_key=SecretStr("sb_secret_wrong")
        )
        with pytest.raises(client_migration.RunStopped, match="key"):
            await moving.execute(source, run, admin=bad)
        assert (await moving.run(source)).done == 20

    async def test_one_user_auth_fails_on_does_not_keep_the_others(
        self, moving: Moving, edge: Edge, http: httpx.AsyncClient
    ) -> None:
        rows = [someone("a"), someone("b"), someone("c")]

        async def respond(request: Request) -> Answer:
            if request.method == "POST" and str(rows[1]["email"]).encode() in request.body:
                return 500, b'{"error_code": "unexpected_failure"}'
            return await forward(moving.supabase, http, request)

        edge.respond = respond
        source = moving.csv(*rows)
        run = (await moving.plan(source)).run
        assert run is not None
        done = await moving.execute(source, run, admin=through(edge, moving))
        assert (done.done, done.failed) == (2, 1)
        assert await trouble(moving) == "auth_failed"
        assert (await moving.run(source)).done == 3

    async def test_a_row_that_changed_since_the_plan_is_not_guessed(self, moving: Moving) -> None:
        row = someone("a")
        run = (await moving.plan(moving.csv(row, someone("b")))).run
        assert run is not None
        done = await moving.execute(moving.csv(row | {"email": "other@example.kg"}), run)
        assert (done.done, done.failed) == (0, 2)
        async with moving.db.transaction() as connection:
            reasons = {
                trouble.reason
                for trouble in await client_migration.troubles_of(connection, run.id, 10)
            }
        assert reasons == {"changed_since_the_plan", "gone_from_source"}
        assert await moving.users() == 0

    async def test_stopped_it_can_be_resumed(
        self, moving: Moving, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = [someone(n) for n in range(60)]
        source = moving.csv(*rows)
        run = (await moving.plan(source)).run
        assert run is not None
        stop = asyncio.Event()

        async def credit_balance(*_: Any) -> bool:
            return True

        made = 0
        really = moving.admin.import_user

        async def after_twenty(new_user: ImportedUser) -> Any:
            nonlocal made
            user = await really(new_user)
            made += 1
            if made == 20:
                stop.set()
            return user

        monkeypatch.setattr(moving.admin, "import_user", after_twenty)
        with pytest.raises(client_migration.RunStopped):
            await client_migration.execute(
                moving.db, moving.admin, source, run, credit_balance=credit_balance, actor="Aizada",
                stop=stop,
                options=client_migration.ExecuteOptions(moving.rate_limiter(), 4),
            )  # fmt: skip
        assert 20 <= len(await moving.named()) < 20 + 4  # whose calls were running end first
        assert (await moving.run(source)).done == 60
        assert await moving.users() == 60


def moved_user() -> ImportedUser:
    return ImportedUser(
        id=uuid4(), email=f"{uuid4().hex}@example.kg", email_confirm=True, phone=None,
        phone_confirm=False, claimed_phone=None, name=None, password_hash=None,
    )  # fmt: skip


async def hash_of(moving: Moving, password: str) -> str:
    """What another system that uses bcrypt keeps of a password."""
    other = await moving.user(email="other@system.kg", password=password)
    hashed: str = await moving.there.fetchval(
        "delete from auth.users where id = $1 returning encrypted_password", other
    )
    return hashed


def through(edge: Edge, moving: Moving) -> SupabaseAdmin:
    return SupabaseAdmin(
        http=moving.http, url=edge.url, secret_key=SecretStr(moving.supabase.secret_key)
    )


async def trouble(moving: Moving) -> str | None:
    async with moving.db.transaction() as connection:
        run = await client_migration.newest(connection)
        assert run is not None
        [row] = await client_migration.troubles_of(connection, run, 10)
    return row.reason


async def opened(owner: Connection, client: UUID, amount_minor: int) -> None:
    """What `evpower sync import-balances` does with a balance of the Supabase project."""
    await owner.execute("insert into identity.clients (id, origin) values ($1, 'supabase')", client)
    payment = await owner.fetchval(
        "insert into payments.payments (invoice_id, order_id, client_id, provider, provider_ref,"
        " method, amount_minor, status, paid_minor, confirmed_at, expires_at) values"
        " ('inv-opening', 'ord-opening', $1, 'manual', $3, 'cash', $2,"
        " 'approved', $2, now(), now()) returning id",
        client,
        amount_minor,
        f"opening:{client}",
    )
    await owner.fetch("select wallet.credit($1)", payment)
