"""One reader each for phones, emails, money, times and texts: the same table at every entrance."""

import asyncio
import csv
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import orjson
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from evpower.api.legacy.top_up_request import parse_top_up
from evpower.charging.estimate_endpoint import EstimateBody
from evpower.cli.app import app
from evpower.client_migration import CsvSource, PostgresSource, import_opening_balances
from evpower.client_migration.model import SourceRow
from evpower.foundation import standard_webhooks
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import read_time, utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Invalid
from evpower.foundation.money import amount_from_json, read_som, to_minor
from evpower.identity import Principal, add_operator, find_clients, find_verified
from evpower.identity.contact import normal_email, phone_as_typed, phone_from_auth
from evpower.identity.endpoints import router
from evpower.identity.profile import profile_of
from evpower.identity.register import RegistrationRequest, register
from evpower.identity.sign_in.operate import set_operator_phone
from evpower.identity.supabase_admin import SupabaseAdmin
from evpower.payments.errors import ProviderError
from evpower.payments.providers.odengi.answers import read_amount
from evpower.payments.providers.protocol import NoticeRequest
from evpower.payments.providers.sandbox import SandboxProvider
from evpower.sync import SupabaseRpc
from evpower.sync.inbound.remote_users import RemoteUser, parse_all
from tests.api.scenario import Api, running_api
from tests.conftest import as_owner
from tests.hard_inputs import (
    AMOUNTS,
    AUTH_PHONES,
    BROKEN_TEXTS,
    EMAILS,
    HOME,
    INEXACT,
    JSON_AMOUNTS,
    NO_ZONE,
    NOON,
    ROUNDED_AMOUNTS,
    TIMES,
    TYPED_PHONES,
)
from tests.identity.conftest import Answer, Edge, Request
from tests.identity.moving import Moving
from tests.payments.conftest import SECRET
from tests.waiting import PatientHttp

REGISTER = "/api/v1/auth/register"
OPERATOR = UUID(int=7)


def in_row(text: str) -> bool:
    """Whether a column of text can hold it: PostgreSQL holds no half of a character."""
    return text.isprintable() or not any("\ud800" <= c <= "\udfff" for c in text)


@pytest.fixture
async def registering(db: Database, admin: SupabaseAdmin) -> AsyncIterator[Api]:
    routes = router(db, admin, LocalBus(), confirm="auto")
    async with running_api(
        db, [routes], rate_register_per_hour=100_000, rate_per_minute=1_000_000
    ) as api:
        yield api


async def try_register(api: Api, **changes: str) -> httpx.Response:
    body = {
        "email": f"{uuid4().hex}@example.kg",
        "password": "correct-horse-7",
        "phone": f"0700{uuid4().int % 1_000_000:06}",
        **changes,
    }
    headers = {"Content-Type": "application/json"}
    return await api.post(REGISTER, headers, content=json.dumps(body))


def csv_rows(folder: Path, column: str, texts: Sequence[str]) -> Path:
    path = folder / f"{uuid4().hex}.csv"
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("old_id", column))
        writer.writerows((str(nr), text) for nr, text in enumerate(texts))
    return path


async def read_csv(folder: Path, column: str, texts: Sequence[str]) -> list[SourceRow]:
    source = CsvSource(csv_rows(folder, column, texts))
    return [row async for row in source.rows()]


async def read_table(
    owner: Connection, dsn: str, column: str, kind: str, texts: Sequence[str]
) -> list[SourceRow]:
    """The same through a column of this type in another PostgreSQL."""
    await owner.execute(
        f"drop table if exists public.old; create table public.old (id int, {column} {kind})"
    )
    values = [(nr, text) for nr, text in enumerate(texts)]
    await owner.executemany(f"insert into public.old values ($1, $2::text::{kind})", values)
    source = PostgresSource(as_owner(dsn), query="select * from public.old order by id")
    return [row async for row in source.rows()]


async def people(moving: Moving) -> dict[UUID, RemoteUser]:
    """Everyone in the Supabase project, by EvPower's own function there."""
    http = cast("PatientHttp", moving.http)
    rpc = SupabaseRpc(http, moving.supabase.url, moving.supabase.secret_key)
    raw = await rpc.call("evpower_people", orjson.dumps({"payload": {"limit": 5000}}))
    return {user.id: user for user in parse_all(cast("Mapping[str, object]", raw)["people"])}


class TestPhones:
    @pytest.mark.parametrize(("text", "phone"), TYPED_PHONES.items())
    def test_reader(self, text: str, phone: str | None) -> None:
        assert phone_as_typed(text) == phone

    @pytest.mark.parametrize(("text", "phone"), AUTH_PHONES.items())
    def test_reader_of_auth(self, text: str, phone: str | None) -> None:
        assert phone_from_auth(text) == phone

    async def test_register(self, registering: Api) -> None:
        for text, phone in TYPED_PHONES.items():
            answer = await try_register(registering, phone=text)
            refused = answer.status_code == 422
            assert refused == (phone is None), (text, answer.text)
            if answer.status_code == 201:
                assert answer.json()["phone"] == phone, text
            elif refused:
                assert answer.json()["error"] in {"invalid_phone", "invalid_request"}, text

    async def test_csv(self, tmp_path: Path) -> None:
        texts = list(TYPED_PHONES)
        rows = await read_csv(tmp_path, "phone", texts)
        assert [row.phone for row in rows] == list(TYPED_PHONES.values())
        assert all(bool(row.invalid) == (row.phone is None) for row in rows)

    async def test_another_postgresql(self, owner: Connection, dsn: str) -> None:
        texts = [text for text in TYPED_PHONES if in_row(text)]
        rows = await read_table(owner, dsn, "phone", "text", texts)
        assert [row.phone for row in rows] == [TYPED_PHONES[text] for text in texts]

    async def test_another_postgresql_that_has_numbers(self, owner: Connection, dsn: str) -> None:
        rows = await read_table(owner, dsn, "phone", "bigint", ["996555123456", "508849985"])
        assert [row.phone for row in rows] == [HOME, "+996508849985"]
        [row] = await read_table(owner, dsn, "phone", "numeric(14,1)", ["996555123456"])
        assert (row.phone, row.invalid) == (None, "phone_invalid")

    async def test_rows_of_supabase(self, moving: Moving) -> None:
        ids = {uuid4(): text for text in TYPED_PHONES if in_row(text)}
        await moving.there.executemany(
            "insert into public.clients (id, phone) values ($1::text::uuid, $2)",
            [(str(client_id), text) for client_id, text in ids.items()],
        )
        users = await people(moving)
        for client_id, text in ids.items():
            assert users[client_id].profile.phone == TYPED_PHONES[text], text
            assert bool(users[client_id].unusable) == (TYPED_PHONES[text] is None), text

    async def test_logins_of_supabase(self, moving: Moving) -> None:
        ids = {uuid4(): text for text in AUTH_PHONES}
        for user_id, text in ids.items():
            await moving.there.execute(
                "insert into auth.users (id, phone) values ($1, $2)", user_id, text
            )
        users = await people(moving)
        for user_id, text in ids.items():
            user = users[user_id].user
            assert user is not None
            assert user.profile.phone == AUTH_PHONES[text], text
            assert profile_of({"phone": text}).phone == AUTH_PHONES[text], text  # as a token says
            await moving.there.execute("delete from auth.users where id = $1", user_id)

    async def test_a_search(self, db: Database, owner: Connection) -> None:
        ids = {phone: uuid4() for phone in TYPED_PHONES.values() if phone}
        await owner.executemany(
            "insert into identity.clients (id, phone, phone_verified, origin)"
            " values ($1, $2, true, 'token')",
            [(client_id, phone) for phone, client_id in ids.items()],
        )
        async with db.connection() as connection:
            for text, phone in TYPED_PHONES.items():
                if phone is None:
                    for find in (find_clients, find_verified):
                        with pytest.raises(Invalid):
                            await find(connection, text)
                else:
                    [client] = await find_clients(connection, text)
                    verified = await find_verified(connection, text)
                    assert verified is not None
                    assert client.id == verified.id == ids[phone], text

    async def test_an_operators_phone(self, db: Database, owner: Connection) -> None:
        async with db.connection() as connection:
            await add_operator(
                connection, user_id=OPERATOR, name="Aida", role="viewer", actor="test"
            )
            for text, phone in TYPED_PHONES.items():
                if phone is None:
                    with pytest.raises(Invalid) as refused:
                        await set_operator_phone(connection, OPERATOR, text, actor="test")
                    assert refused.value.code == "invalid_phone"
                else:
                    await set_operator_phone(connection, OPERATOR, text, actor="test")
                    stored = await owner.fetchval("select phone from identity.operators")
                    assert stored == phone, text

    async def test_a_row_that_copied_the_logins_digits_has_the_logins_phone(
        self, moving: Moving
    ) -> None:
        both, row_alone = uuid4(), uuid4()
        await moving.there.execute(
            "insert into auth.users (id, phone) values ($1, '4791234567')", both
        )
        await moving.there.executemany(
            "insert into public.clients (id, phone) values ($1, '4791234567')"
            " on conflict (id) do update set phone = excluded.phone",
            [(both,), (row_alone,)],
        )
        users = await people(moving)
        assert users[both].profile.phone == "+4791234567"
        assert users[row_alone].profile.phone is None


class TestEmails:
    @pytest.mark.parametrize(("text", "email"), EMAILS.items())
    def test_reader(self, text: str, email: str | None) -> None:
        assert normal_email(text) == email

    async def test_register(self, registering: Api) -> None:
        for text, email in EMAILS.items():
            answer = await try_register(registering, email=text)
            assert (answer.status_code == 422) == (email is None), (text, answer.text)
            if answer.status_code == 201:
                assert answer.json()["email"] == email, text

    async def test_csv(self, tmp_path: Path) -> None:
        rows = await read_csv(tmp_path, "email", list(EMAILS))
        assert [None if row.invalid else row.email for row in rows] == list(EMAILS.values())

    async def test_another_postgresql(self, owner: Connection, dsn: str) -> None:
        texts = [text for text in EMAILS if in_row(text)]
        rows = await read_table(owner, dsn, "email", "text", texts)
        assert [row.email for row in rows] == [EMAILS[text] for text in texts]

    async def test_rows_and_logins_of_supabase(self, moving: Moving) -> None:
        ids = {uuid4(): text for text in EMAILS if in_row(text) and len(text) <= 255}
        await moving.there.executemany(
            "insert into auth.users (id, email) values ($1, $2)", list(ids.items())
        )
        await moving.there.executemany(
            "insert into public.clients (id, email) values ($1, $2)"
            " on conflict (id) do update set email = excluded.email",
            list(ids.items()),
        )
        users = await people(moving)
        for client_id, text in ids.items():
            user = users[client_id].user
            assert user is not None
            assert (users[client_id].profile.email, user.profile.email) == (
                EMAILS[text],
                EMAILS[text],
            )


class TestMoney:
    @pytest.mark.parametrize(("text", "minor"), AMOUNTS.items())
    def test_reader(self, text: str, minor: int | None) -> None:
        if minor is None:
            with pytest.raises(Invalid) as refused:
                to_minor(read_som(text))
            assert refused.value.code == "invalid_amount"
        else:
            assert to_minor(read_som(text)) == to_minor(text) == minor

    @pytest.mark.parametrize("text", sorted(INEXACT))
    def test_nothing_is_rounded(self, text: str) -> None:
        with pytest.raises(Invalid, match=r"decimals|too small"):
            to_minor(read_som(text))

    @pytest.mark.parametrize(("text", "minor"), JSON_AMOUNTS.items())
    async def test_sync_history(self, api: Api, text: str, minor: int | None) -> None:
        client = await api.new_client()
        body = json.dumps(report(client)).replace('"AMOUNT"', text)
        answer = await send_report(api, body)
        accepted = minor is not None and not text.startswith('"')
        assert (answer.status_code == 201) == accepted, answer.text

    @pytest.mark.parametrize(
        ("text", "minor"),
        [*JSON_AMOUNTS.items(), *((text, None) for text in ROUNDED_AMOUNTS)],
    )
    def test_top_up(self, text: str, minor: int | None) -> None:
        body = f'{{"amount": {text}}}'.encode()
        if minor is None:
            with pytest.raises(Invalid) as refused:
                parse_top_up(body, 1, 10**12)
            assert refused.value.code == "invalid_amount"
        else:
            assert parse_top_up(body, 1, 10**12).amount_minor == minor

    async def test_cash_at_the_command_line(
        self, dsn: str, owner: Connection, client_id: UUID
    ) -> None:
        for nr, (text, minor) in enumerate([*AMOUNTS.items(), ("0", None), ("-5", None)]):
            code, output = await cash(dsn, client_id, text, receipt=str(nr))
            assert (code == 0) == (minor is not None), (text, output)
            assert code == 0 or "amount" in output, text
        balance = await owner.fetchval(
            "select balance_minor from wallet.wallets where client_id = $1", client_id
        )
        assert balance == sum(minor for minor in AMOUNTS.values() if minor)

    async def test_cash_is_credited_to_a_verified_contact_alone(
        self, dsn: str, owner: Connection
    ) -> None:
        claimant, holder = uuid4(), uuid4()
        await owner.execute(
            "insert into identity.clients (id, phone, origin) values ($1, $2, 'token')",
            claimant,
            HOME,
        )
        code, output = await cash(dsn, "0555 123456", "5")
        assert (code, str(claimant) in output, "verified no" in output) == (1, True, True)
        await owner.execute(
            "insert into identity.clients (id, phone, phone_verified, origin)"
            " values ($1, $2, true, 'token')",
            holder,
            HOME,
        )
        assert (await cash(dsn, "0555 123456", "5"))[0] == 0
        assert (await cash(dsn, "0700 123456", "5", receipt="2"))[0] == 1
        assert (await cash(dsn, str(uuid4()), "5", receipt="3"))[0] == 1
        rows = await owner.fetch("select client_id, amount_minor from payments.payments")
        assert [tuple(row) for row in rows] == [(holder, 500)]

    async def test_csv(self, tmp_path: Path) -> None:
        rows = await read_csv(tmp_path, "balance", list(AMOUNTS))
        for row, (text, minor) in zip(rows, AMOUNTS.items(), strict=True):
            assert (row.invalid is None) == (minor is not None), text
            assert row.balance_minor == (minor or 0), text

    async def test_another_postgresql(self, owner: Connection, dsn: str) -> None:
        texts = [text for text in AMOUNTS if in_row(text)]
        rows = await read_table(owner, dsn, "balance", "text", texts)
        assert [row.balance_minor for row in rows] == [AMOUNTS[text] or 0 for text in texts]

    @pytest.mark.parametrize(
        ("kind", "texts", "minors"),
        [
            (
                "double precision",
                ["12.5", "0.1", "1.4210854715202004e-14", "2.675"],
                [1250, 10, 0, 268],
            ),
            ("real", ["12.5", "1e-7"], [1250, 0]),
            (
                "numeric",
                ["12.50", "0.005", "0.00499999999999999999999999999999999999"],
                [1250, 1, 0],
            ),
            ("bigint", ["7"], [700]),
        ],
    )
    async def test_numbers_of_another_postgresql(
        self, owner: Connection, dsn: str, kind: str, texts: list[str], minors: list[int]
    ) -> None:
        rows = await read_table(owner, dsn, "balance", kind, texts)
        assert [(row.balance_minor, row.invalid) for row in rows] == [
            (minor, None) for minor in minors
        ]

    @pytest.mark.parametrize("kind", ["double precision", "numeric"])
    async def test_what_is_no_amount_in_another_postgresql(
        self, owner: Connection, dsn: str, kind: str
    ) -> None:
        texts = ["NaN", "Infinity", "1e20", "5"]
        rows = await read_table(owner, dsn, "balance", kind, texts)
        assert [row.invalid for row in rows] == ["balance_invalid"] * 3 + [None]

    @pytest.mark.parametrize("balance", [12.5, 12, "12.50", 0.1])
    async def test_openings_of_supabase(self, db: Database, balance: object) -> None:
        client = uuid4()
        done = await import_opening_balances(
            db, Openings(client, balance), operator="Aida", reason="cut-over", clock=utc_now
        )
        assert (done.imported, done.imported_minor) == (1, amount_from_json(balance))

    @pytest.mark.parametrize(
        "balance", ["1_000", "1e2", True, None, "NaN", float("inf"), "\uff11\uff12"]
    )
    async def test_openings_that_are_no_amount_are_left(
        self, db: Database, balance: object
    ) -> None:
        done = await import_opening_balances(
            db, Openings(uuid4(), balance), operator="Aida", reason="cut-over", clock=utc_now
        )
        assert (done.imported, len(done.skipped)) == (0, 1)

    @pytest.mark.parametrize("paid", [100.0, "100", True, -1, 10**12, [], "\uff11\uff10\uff10"])
    def test_webhooks(self, sandbox: SandboxProvider, paid: object) -> None:
        with pytest.raises(Invalid) as refused:
            sandbox.from_unit(paid)
        assert refused.value.code == "invalid_webhook"
        assert sandbox.from_unit(10_000) == 10_000

    @pytest.mark.parametrize("text", AMOUNTS)
    def test_a_bank_whose_unit_is_tyiyn(self, text: str) -> None:
        is_whole = text.isascii() and text.isdigit() and len(text) <= 12
        assert read_amount(text) == (int(text) if is_whole else None)

    @pytest.mark.parametrize(("text", "minor"), JSON_AMOUNTS.items())
    def test_an_estimate(self, text: str, minor: int | None) -> None:
        body = EstimateBody(station_id="S1", connector_id=1, amount_som=json.loads(text))
        caller = Principal("client", uuid4(), "", None)
        if text == "null" or minor is not None:
            assert body.request(caller).amount_minor == minor
        else:
            with pytest.raises(Invalid) as refused:
                body.request(caller)
            assert refused.value.code == "invalid_amount"


class TestTimes:
    @pytest.mark.parametrize(("text", "at"), TIMES.items())
    def test_reader(self, text: str, at: datetime | None) -> None:
        if at is None:
            with pytest.raises(ValueError, match=r"time|second"):
                read_time(text)
        else:
            assert read_time(text) == read_time(text, zone=UTC) == at

    def test_a_time_without_a_zone_has_one_only_where_it_is_known(self) -> None:
        assert read_time(NO_ZONE, zone=UTC) == NOON
        with pytest.raises(ValueError, match="time zone"):
            read_time(NO_ZONE)

    @pytest.mark.parametrize("text", [*TIMES, NO_ZONE])
    async def test_sync_history(self, api: Api, owner: Connection, text: str) -> None:
        body = {**report(await api.new_client()), "total_cost": 0, "end_time": None}
        body |= {"start_time": text, "status": "started"}
        answer = await send_report(api, json.dumps(body))
        at = TIMES.get(text)
        assert (answer.status_code == 201) == (at is not None), answer.text
        if at is None:
            assert (answer.status_code, answer.json()["error"]) == (422, "invalid_time")
            assert "start_time" in answer.json()["detail"]
        else:
            assert at == await owner.fetchval("select started_at from charging.sessions")

    async def test_csv(self, tmp_path: Path) -> None:
        rows = await read_csv(tmp_path, "email_confirmed_at", [*TIMES, NO_ZONE, "2025-09-25"])
        read = [row.invalid is None for row in rows]
        # What is 1 to 10 digits is neither yes, no nor a time.
        assert read == [*(at is not None for at in TIMES.values()), True, True]

    async def test_another_postgresql(self, owner: Connection, dsn: str) -> None:
        odd = ["275760-09-13 00:00:00+00", "0044-03-15 00:00:00+00 BC", "infinity", "-infinity"]
        good = "2025-09-25 12:00:00.5+06"
        for kind in ("timestamptz", "timestamp", "date", "timestamptz[]"):
            texts = [f'{{"{moment}"}}' if kind.endswith("]") else moment for moment in (*odd, good)]
            rows = await read_table(owner, dsn, "email_confirmed_at", kind, texts)
            assert [row.invalid for row in rows] == ["flag_invalid"] * 4 + [None], kind
            assert all(row.detail for row in rows[:4])

    async def test_rows_of_supabase(self, moving: Moving) -> None:
        await moving.there.execute(
            "alter table public.clients add column if not exists delete_requested_at timestamptz"
        )
        for text in ("275760-09-13", "0044-03-15 BC", "infinity", "2025-09-25T12:00:00Z"):
            client_id = uuid4()
            await moving.there.execute(
                "insert into public.clients (id, delete_requested_at)"
                " values ($1, $2::text::timestamptz)",
                client_id,
                text,
            )
            row = (await people(moving))[client_id].row
            assert row is not None
            assert row.delete_requested, text
            assert row.delete_requested_at == TIMES.get(text), text

    @pytest.mark.parametrize("text", [*TIMES, NO_ZONE])
    def test_webhooks(self, sandbox: SandboxProvider, text: str) -> None:
        body = {
            "order_id": "o", "ref": "r", "currency": "KGS", "status": "approved", "paid": 1,
            "occurred_at": text,
        }  # fmt: skip
        raw, now = orjson.dumps(body), int(NOON.timestamp())
        key = standard_webhooks.key_bytes(SECRET)
        headers = {
            "webhook-id": "e",
            "webhook-timestamp": str(now),
            "webhook-signature": standard_webhooks.sign(key, "e", now, raw),
        }
        request = NoticeRequest("POST", "/", "evpower.test", "", headers, raw, "192.0.2.1")
        assert sandbox.read_notice(request, NOON).occurred_at == TIMES.get(text)


class TestTexts:
    """What no other system can hold is a clear 422, and nothing is half done."""

    @pytest.mark.parametrize("broken", BROKEN_TEXTS)
    async def test_a_password(self, registering: Api, owner: Connection, broken: str) -> None:
        phone, email = f"0555{uuid4().int % 1_000_000:06}", f"{uuid4().hex}@example.kg"
        again = {"phone": phone, "email": email}
        answer = await try_register(registering, password=f"correct-{broken}-7", **again)
        assert answer.status_code == 422
        assert answer.json()["error"] == (
            "invalid_request" if "\0" in broken else "invalid_password"
        )
        assert await owner.fetchval("select count(*) from identity.registrations") == 0
        other = {**again, "email": f"{uuid4().hex}@example.kg"}
        assert (await try_register(registering, **other)).status_code == 201

    @pytest.mark.parametrize("broken", ["\ud83d" * 3, "\0" * 3])
    async def test_a_password_of_nothing_else(self, registering: Api, broken: str) -> None:
        assert (await try_register(registering, password=broken * 4)).status_code == 422

    @pytest.mark.parametrize("broken", BROKEN_TEXTS)
    @pytest.mark.parametrize("field", ["email", "phone"])
    async def test_a_contact(self, registering: Api, broken: str, field: str) -> None:
        answer = await try_register(registering, **{field: broken})
        assert answer.status_code == 422

    async def test_a_name_is_cleaned(self, registering: Api, owner: Connection) -> None:
        for broken in BROKEN_TEXTS:
            answer = await try_register(registering, name=f"Aida {broken}")
            assert answer.status_code in {201, 422}, answer.text
        names = await owner.fetch("select name from identity.clients where name is not null")
        assert all(row["name"].isprintable() for row in names)

    async def test_a_password_that_reaches_auth_all_the_same_leaves_no_intent_open(
        self, db: Database, owner: Connection, admin: SupabaseAdmin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = sys.modules["evpower.identity.register"]

        def no_flaw(*_: object, **__: object) -> None:
            return None

        monkeypatch.setattr(module, "flaw", no_flaw)
        password = SecretStr("correct-\ud83d-7")
        someone = RegistrationRequest(f"{uuid4().hex}@example.kg", password, "0555123456")
        with pytest.raises(Invalid):
            await register(db, admin, someone, confirm="auto", clock=utc_now)
        states = await owner.fetch("select state from identity.registrations")
        assert [row["state"] for row in states] == ["refused"]

    @pytest.mark.parametrize("broken", BROKEN_TEXTS)
    @pytest.mark.parametrize("field", ["station_id", "client_id"])
    async def test_sync_history(self, api: Api, broken: str, field: str) -> None:
        body = {**report(await api.new_client()), "total_cost": 1, field: broken}
        assert (await send_report(api, json.dumps(body))).status_code == 422

    @pytest.mark.parametrize("broken", BROKEN_TEXTS)
    async def test_words_at_the_command_line(
        self, dsn: str, owner: Connection, client_id: UUID, broken: str
    ) -> None:
        done = [
            await cash(dsn, client_id, "5", **{name: broken})
            for name in ("reason", "receipt", "operator")
        ]
        done.append(await command(dsn, "keys", "create", broken))
        done.append(await command(dsn, "keys", "create", "partner", f"--reason={broken}"))
        assert all(code != 0 for code, _ in done), done
        assert await owner.fetchval("select count(*) from payments.payments") == 0
        assert await owner.fetchval("select count(*) from identity.service_keys") == 0

    @pytest.mark.parametrize("broken", ["\0", "\ud83d"])
    async def test_a_banks_answer(self, sandbox: SandboxProvider, edge: Edge, broken: str) -> None:
        async def answer(_: Request) -> Answer:
            body = {"ref": f"r{broken}", "qr_code": "q", "qr_code_url": "u", "app_link": "l"}
            return 200, json.dumps(body).encode()

        edge.respond = answer
        with pytest.raises(ProviderError):
            await sandbox.create_invoice(
                order_id="o", amount_minor=1, currency="KGS", description="d", expires_at=NOON
            )


class TestOldIds:
    @pytest.mark.parametrize(
        "old_id",
        [
            "a/b",
            "/",
            "a%2Fb",
            "\u0438\u0441\u0442\u043e\u0440\u0438\u044f 1/2",
            "a?b#c",
            "..",
            "a//b/",
        ],
    )
    async def test_every_old_id_can_be_asked_for(
        self, api: Api, owner: Connection, old_id: str
    ) -> None:
        client = await api.new_client()
        await owner.execute(
            "insert into identity.aliases (kind, alias, client_id) values ('client_id', $1, $2)",
            old_id,
            client,
        )
        name = "".join(f"%{byte:02X}" for byte in old_id.encode())
        for path in ("balance/", "balance/history/", "charging/history/"):
            answer = await api.get(f"/api/v1/{path}{name}", api.service)
            assert answer.status_code == 200, (path, answer.text)
        balance = await api.get(f"/api/v1/balance/{name}", api.service)
        assert balance.json()["client_id"] == str(client)

    async def test_a_slash_that_is_one_still_parts_a_path(self, api: Api) -> None:
        answer = await api.get("/api/v1/balance/a/b", api.service)
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


class Openings:
    """A project with one balance EvPower never wrote, in any JSON."""

    def __init__(self, client: UUID, balance: object) -> None:
        self._row = {"id": str(client), "balance": balance, "status": "active", "email": None}

    async def call(self, function: str, body: bytes) -> object:
        del function, body
        return {"rows": [{**self._row, "phone": None, "name": None}], "next": None, "total": 1}


@pytest.fixture
def sandbox(http: PatientHttp, edge: Edge) -> SandboxProvider:
    return SandboxProvider(edge.url, [SECRET], http)


def report(client: UUID) -> dict[str, Any]:
    return {
        "session_id": str(uuid4()), "client_id": str(client), "station_id": "EVI-0080",
        "connector_id": 1, "start_time": "2025-09-25T10:00:00Z",
        "end_time": "2025-09-25T10:45:00Z", "energy_consumed": 1, "total_cost": "AMOUNT",
        "status": "stopped",
    }  # fmt: skip


async def send_report(api: Api, body: str) -> httpx.Response:
    headers = {**api.service, "Content-Type": "application/json"}
    return await api.post("/api/v1/charging/sync-history", headers, content=body)


async def command(dsn: str, *words: str) -> tuple[int, str]:
    """Run a command in this process; answers its exit code and what it printed."""

    def run() -> tuple[int, str]:
        done = CliRunner().invoke(app, list(words), env={"EVPOWER_DATABASE_URL": dsn})
        crashed = done.exception is not None and not isinstance(done.exception, SystemExit)
        assert not crashed, repr(done.exception)
        return done.exit_code, done.output

    return await asyncio.to_thread(run)


async def cash(dsn: str, client: UUID | str, amount: str, **changes: str) -> tuple[int, str]:
    named = {"client": str(client), "amount": amount, "receipt": "1", "reason": "desk", **changes}
    return await command(dsn, "payments", "cash", *(f"--{k}={v}" for k, v in named.items()))
