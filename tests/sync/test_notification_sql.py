"""The signed call Supabase makes, in SQL: HMAC, the call, where the secret is stored."""

import base64
import hashlib
import hmac
import json
import random
import time
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from evpower.devstack.stack import supabase_migrations
from evpower.foundation import standard_webhooks
from evpower.foundation.db import Connection
from tests.conftest import Server
from tests.sync.changes_log import logged, rpc
from tests.sync.projects import bare_project, connected, file
from tests.sync.test_supabase_schema import _apply, _client

URL = "https://api.example.kg/api/v1/webhooks/supabase"
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
# Vault, without its encryption: the same functions and view.
VAULT = """
create schema vault;
create table vault.secrets (
  id uuid primary key default gen_random_uuid(), name text unique, description text not null,
  secret text not null);
create view vault.decrypted_secrets as select s.*, reverse(s.secret) as decrypted_secret
  from vault.secrets s;
create function vault.create_secret(
  new_secret text, new_name text = null, new_description text = '', new_key_id uuid = null)
returns uuid language sql as $$
  insert into vault.secrets (name, description, secret)
  values (new_name, new_description, reverse(new_secret)) returning id $$;
create function vault.update_secret(
  secret_id uuid, new_secret text = null, new_name text = null, new_description text = null,
  new_key_id uuid = null)
returns void language sql as $$
  update vault.secrets set secret = reverse(new_secret) where id = secret_id $$;
"""


@pytest.fixture(scope="module")
async def project(server: Server) -> str:
    """Yields the dsn of a project with a pg_net whose queue no worker empties."""
    dsn = await bare_project(server, "supabase_webhook", more=[file("pg_net.sql")])
    connection: Connection = await asyncpg.connect(dsn)
    try:
        for path in sorted(supabase_migrations().glob("*.sql")):
            await connection.execute(path.read_text())
    finally:
        await connection.close()
    return dsn


@pytest.fixture
async def superuser(server: Server, project: str) -> AsyncGenerator[Connection]:
    """For what becomes of pg_net, which is not the owner's."""
    async with connected(server.dsn(project.rsplit("/", 1)[1])) as connection:
        yield connection


@pytest.fixture
async def there(project: str) -> AsyncGenerator[Connection]:
    """The owner's connection, to a webhook that has made no call yet."""
    connection: Connection = await asyncpg.connect(project)
    await connection.execute(
        "update evpower.webhook set url = null, kept_in = null; delete from evpower.secrets;"
        "drop schema if exists vault cascade; delete from public.clients; delete from auth.users;"
        "delete from evpower.changes; truncate net.http_request_queue"
    )
    await rpc(connection, "evpower_webhook_configure", url=URL, secret=SECRET)
    yield connection
    await connection.close()


async def _change(there: Connection) -> str:
    key = str(uuid4())
    await there.execute(f"insert into public.clients (id) values ('{key}')")
    return key


async def _queue(there: Connection) -> list[dict[str, Any]]:
    rows = await there.fetch("select * from net.http_request_queue order by id")
    return [
        {**dict(row), "headers": json.loads(row["headers"]), "json": json.loads(row["body"])}
        for row in rows
    ]


class TestHmac:
    """evpower.hmac_sha256 on the core's sha256()."""

    @pytest.mark.parametrize(
        ("key", "message", "expected"),
        [  # RFC 4231, 4.2 to 4.8; the fifth is given there to 128 bits
            (
                b"\x0b" * 20,
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                b"\xaa" * 20,
                b"\xdd" * 50,
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                bytes(range(1, 26)),
                b"\xcd" * 50,
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
            (b"\x0c" * 20, b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
            (
                b"\xaa" * 131,
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                b"\xaa" * 131,
                (
                    b"This is a test using a larger than block-size key and a larger than"
                    b" block-size data. The key needs to be hashed before being used by the HMAC"
                    b" algorithm."
                ),
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ],
    )
    async def test_vectors_of_rfc_4231(
        self, there: Connection, key: bytes, message: bytes, expected: str
    ) -> None:
        digest: bytes = await there.fetchval("select evpower.hmac_sha256($1, $2)", key, message)
        assert digest.hex()[: len(expected)] == expected

    async def test_same_as_pythons_for_every_length_of_key(self, there: Connection) -> None:
        choose = random.Random(4231)
        pairs = [(choose.randbytes(n), choose.randbytes(n * 7 % 190)) for n in range(1, 140)]
        rows = await there.fetch(
            "select evpower.hmac_sha256(k, m) as digest"
            " from unnest($1::bytea[], $2::bytea[]) with ordinality as p (k, m, nr) order by nr",
            [key for key, _ in pairs],
            [message for _, message in pairs],
        )
        ours = [row["digest"] for row in rows]
        assert ours == [hmac.digest(key, message, hashlib.sha256) for key, message in pairs]


class TestCall:
    """What is put into pg_net's queue."""

    async def test_call_says_what_changed_and_nothing_of_the_row(self, there: Connection) -> None:
        key = await _change(there)
        (call,) = await _queue(there)
        seq: int = await there.fetchval("select seq from evpower.changes")
        assert (call["method"], call["url"]) == ("POST", URL)
        assert call["json"] == {
            "type": "INSERT",
            "table": "clients",
            "schema": "public",
            "record": {"id": key},
            "old_record": None,
            "seq": seq,
        }
        headers = call["headers"]
        assert headers["Content-Type"] == "application/json"
        assert headers["X-Supabase-Signature"] == headers["webhook-signature"]
        assert "." not in headers["webhook-id"]
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
        assert 0 < call["timeout_milliseconds"] <= 5000

    async def test_users_and_other_operations_are_named(self, there: Connection) -> None:
        key = uuid4()
        for sql in (
            f"insert into auth.users (id) values ('{key}')",
            "update auth.users set email = 'a@x.kg'",
            "delete from auth.users",
        ):
            await there.execute(sql)
        calls = [call["json"] for call in await _queue(there)]
        assert [call["type"] for call in calls] == ["INSERT", "UPDATE", "DELETE"]
        assert {(call["schema"], call["table"]) for call in calls} == {("auth", "users")}
        assert [call["old_record"] for call in calls] == [None, {"id": str(key)}, {"id": str(key)}]
        assert {call["record"]["id"] for call in calls} == {str(key)}

    async def test_block_from_before_is_an_update(self, there: Connection) -> None:
        key = uuid4()
        await there.execute(f"insert into clients (id, status) values ('{key}', 'blocked')")
        await _apply(there, clients=[_client(key)])
        assert [call["json"]["type"] for call in await _queue(there)] == ["INSERT", "UPDATE"]

    async def test_signature_is_what_the_specification_says(self, there: Connection) -> None:
        await _change(there)
        (call,) = await _queue(there)
        headers: Mapping[str, str] = call["headers"]
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + call["body"]
        expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        # By the rules of the specification: a list split on spaces, each "version,base64".
        versions = dict(
            signature.split(",", 1) for signature in headers["webhook-signature"].split(" ")
        )
        assert versions == {"v1": expected}

    async def test_receiver_takes_it_and_refuses_a_changed_one(self, there: Connection) -> None:
        await _change(there)
        (call,) = await _queue(there)
        now = datetime.now(UTC)
        verified = standard_webhooks.verify([KEY], call["headers"], call["body"], now)
        assert verified == call["headers"]["webhook-id"]
        for keys, body in (([KEY], call["body"] + b" "), ([KEY[::-1]], call["body"])):
            with pytest.raises(standard_webhooks.Unauthenticated):
                standard_webhooks.verify(keys, call["headers"], body, now)

    async def test_a_transaction_notifies_once(self, there: Connection) -> None:
        async with there.transaction():
            first = await _change(there)
            for _ in range(4):
                await _change(there)
            await there.execute("update public.clients set name = 'x'")
        assert len(await logged(there)) == 10
        assert [call["json"]["record"]["id"] for call in await _queue(there)] == [first]
        await _change(there)
        assert len({call["headers"]["webhook-id"] for call in await _queue(there)}) == 2

    async def test_a_rolled_back_part_leaves_the_rest_to_notify(self, there: Connection) -> None:
        async with there.transaction():
            part = there.transaction()
            await part.start()
            await _change(there)
            await part.rollback()
            status = await _change(there)
        assert [call["json"]["record"]["id"] for call in await _queue(there)] == [status]

    async def test_evpowers_own_writes_do_not_notify(self, there: Connection) -> None:
        await _apply(there, clients=[_client(uuid4())])
        assert await _queue(there) == []

    async def test_auths_own_role_notifies(self, there: Connection) -> None:
        async with there.transaction():
            await there.execute("set local role supabase_auth_admin")
            await there.execute(f"insert into auth.users (id) values ('{uuid4()}')")
        assert len(await _queue(there)) == 1


class TestDisabled:
    """No call, and no harm."""

    async def test_no_url_no_call(self, there: Connection) -> None:
        answer = await rpc(there, "evpower_webhook_configure", url=None)
        assert answer["url"] is None
        await _change(there)
        assert await _queue(there) == []
        assert len(await logged(there)) == 1
        # The secret stays: switching it on again needs no new one.
        assert (await rpc(there, "evpower_webhook_configure", url=URL))["url"] == URL

    async def test_a_project_without_pg_net_logs_changes_and_notifies_once_it_is_installed(
        self, there: Connection, superuser: Connection
    ) -> None:
        await superuser.execute("alter schema net rename to net_away")
        try:
            assert (await rpc(there, "evpower_webhook_status"))["pg_net"] is False
            await _change(there)
        finally:
            await superuser.execute("alter schema net_away rename to net")
        assert len(await logged(there)) == 1
        assert (await rpc(there, "evpower_webhook_status"))["pg_net"] is True
        await _change(there)
        assert len(await _queue(there)) == 1

    async def test_pg_net_that_fails_fails_no_one(
        self, there: Connection, superuser: Connection
    ) -> None:
        queue = "alter table net.http_request_queue"
        await superuser.execute(f"{queue} add constraint down check (false)")
        try:
            async with there.transaction():
                keys = [await _change(there) for _ in range(3)]
        finally:
            await superuser.execute(f"{queue} drop constraint down")
        assert [key for _, _, key in await logged(there)] == keys
        assert await there.fetchval("select count(*) from public.clients") == 3

    async def test_lost_secret_makes_no_unsigned_call(self, there: Connection) -> None:
        await there.execute("delete from evpower.secrets")
        await _change(there)
        assert await _queue(there) == []
        assert (await rpc(there, "evpower_webhook_status"))["secret_sha256"] is None


class TestSecret:
    """Where it is stored, and which roles can read it."""

    async def test_without_vault_it_is_in_a_table_of_the_owner(self, there: Connection) -> None:
        status = await rpc(there, "evpower_webhook_status")
        assert status["kept_in"] == "table"
        assert status["secret_sha256"] == hashlib.sha256(SECRET.encode()).hexdigest()
        assert SECRET not in json.dumps(status)
        for role in ("anon", "authenticated", "service_role", "supabase_auth_admin"):
            for table in ("secrets", "webhook", "changes"):
                right = "select has_table_privilege($1, $2, 'select, insert, update, delete')"
                assert not await there.fetchval(right, role, f"evpower.{table}")
            for function in ("webhook_secret()", "store_secret(text)"):
                right = (
                    "select has_schema_privilege($1, 'evpower', 'usage')"
                    " and has_function_privilege($1, $2, 'execute')"
                )
                assert not await there.fetchval(right, role, f"evpower.{function}")

    async def test_vault_keeps_it_where_it_is(self, there: Connection) -> None:
        await there.execute(VAULT)
        for key in (KEY[::-1], bytes(24)):  # made, then changed
            secret = "whsec_" + base64.b64encode(key).decode()
            answer = await rpc(there, "evpower_webhook_configure", secret=secret)
            assert answer["kept_in"] == "vault"
            assert answer["secret_sha256"] == hashlib.sha256(secret.encode()).hexdigest()
            await there.execute("truncate net.http_request_queue")
            await _change(there)
            (call,) = await _queue(there)
            now = datetime.now(UTC)
            assert standard_webhooks.verify([key], call["headers"], call["body"], now)
        assert await there.fetchval("select count(*) from evpower.secrets") == 0
        assert await there.fetchval("select count(*) from vault.secrets") == 1

    async def test_vault_that_fails_leaves_the_table(self, there: Connection) -> None:
        await there.execute(VAULT)
        await there.execute("drop function vault.create_secret")
        answer = await rpc(there, "evpower_webhook_configure", secret=SECRET)
        assert answer["kept_in"] == "table"

    @pytest.mark.parametrize(
        "payload",
        [
            {"secret": "whsec_" + base64.b64encode(bytes(23)).decode()},
            {"secret": "whsec_" + base64.b64encode(bytes(65)).decode()},
            {"secret": base64.b64encode(bytes(32)).decode()},
            {"secret": "whsec_not base64"},
            {"secret": ""},
            {"url": "ftp://x"},
            {"url": "http://x y"},
            {"url": ""},
        ],
    )
    async def test_what_is_no_secret_or_address_changes_nothing(
        self, there: Connection, payload: dict[str, str]
    ) -> None:
        before = await rpc(there, "evpower_webhook_status")
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await rpc(there, "evpower_webhook_configure", **payload)
        assert await rpc(there, "evpower_webhook_status") == before

    async def test_address_without_a_secret_is_refused(self, there: Connection) -> None:
        await there.execute("delete from evpower.secrets; update evpower.webhook set url = null")
        with pytest.raises(asyncpg.InvalidParameterValueError, match="not be signed"):
            await rpc(there, "evpower_webhook_configure", url=URL)

    async def test_nothing_given_changes_nothing(self, there: Connection) -> None:
        before = await rpc(there, "evpower_webhook_status")
        answer = await rpc(there, "evpower_webhook_configure")
        assert answer.items() <= before.items()
        assert await rpc(there, "evpower_webhook_status") == before
