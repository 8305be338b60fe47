"""Each line of `evpower doctor` about Supabase against its own fault, and against its neighbours'.

A fault makes its own line bad and no other; what can't be examined because of it is said so.
"""

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from evpower.cli import doctor_notification, doctor_tokens
from evpower.cli.doctor_calls import STATUS_PAGE
from evpower.cli.doctor_supabase import examine_supabase
from evpower.cli.finding import Finding
from evpower.config import Settings
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.http import HttpClient
from evpower.identity import DOCTOR_USER_ID
from evpower.sync import SupabaseRpc, map_word, rotate_secret
from evpower.sync.webhook.endpoints import webhook_router
from evpower.sync.webhook.receive import SupabaseWebhooks
from tests.api.scenario import on_a_socket, running_api
from tests.sync.gateway import HANG, JSON, Answer, Gateway, running_gateway
from tests.sync.scenario import Target, by_hand

NOTIFICATION = "change notification"
ROTATE = "evpower supabase secret rotate"
KEYS = "/auth/v1/.well-known/jwks.json"
Look = Callable[..., Awaitable[dict[str, Finding]]]


@pytest.fixture
async def gateway(
    fresh_project: Target, there_fresh: Connection, http: httpx.AsyncClient
) -> AsyncIterator[Gateway]:
    async with running_gateway(fresh_project, http) as gateway:
        yield gateway
    await there_fresh.execute("update evpower.webhook set url = null")


@pytest.fixture
def look(gateway: Gateway, dsn: str) -> Look:
    """What doctor finds of the project behind the gateway, by name; settings may be others."""
    local = gateway.target.local

    async def looked(*, may_write: bool = True, **changes: Any) -> dict[str, Finding]:
        values: dict[str, Any] = {
            "database_url": SecretStr(dsn),
            "supabase_url": gateway.url,
            "supabase_secret_key": SecretStr(local.secret_key),
            "supabase_publishable_key": local.publishable_key,
            "supabase_jwt_secret": SecretStr(local.jwt_secret),
            **changes,
        }
        settings = Settings(_env_file=None, **values)
        async with HttpClient() as http:
            findings = await examine_supabase(settings, http, may_write=may_write)
        return {finding.name: finding for finding in findings}

    return looked


def bad(findings: dict[str, Finding]) -> list[str]:
    return [name for name, finding in findings.items() if finding.ok is False]


async def test_nothing_is_bad_where_nothing_is_wrong(look: Look) -> None:
    findings = await look()
    assert bad(findings) == []
    assert findings["access token"].ok is True


async def test_tokens_that_name_another_issuer(look: Look, gateway: Gateway) -> None:
    gateway.issuer = "https://auth.example.kg/auth/v1"
    findings = await look()
    assert bad(findings) == ["access token"]
    assert "its iss must be EVPOWER_SUPABASE_URL/auth/v1" in findings["access token"].fix


async def test_a_real_token_is_accepted(look: Look, gateway: Gateway) -> None:
    findings = await look(supabase_url=gateway.target.local.url)
    assert bad(findings) == []
    assert findings["access token"].ok is True


async def test_the_user_of_doctor_is_deleted(
    look: Look, gateway: Gateway, there_fresh: Connection
) -> None:
    await look(supabase_url=gateway.target.local.url)
    count = "select count(*) from auth.users where id = $1"
    assert await there_fresh.fetchval(count, DOCTOR_USER_ID) == 0


async def test_a_word_that_no_operator_mapped_is_named(
    look: Look, there_fresh: Connection, db: Database
) -> None:
    async with by_hand(there_fresh):
        await there_fresh.execute(
            "insert into public.clients (id, status) values (gen_random_uuid(), 'suspended')"
        )
    try:
        findings = await look()
        assert bad(findings) == ["status words"]
        assert findings["status words"].detail == "not mapped: 'suspended' (1)"
        async with db.transaction() as connection:
            await map_word(connection, "suspended", "blocked", operator="aida", reason="as before")
        assert (await look(may_write=False))["status words"].ok is True
    finally:
        await there_fresh.execute("delete from public.clients")


async def test_reading_only_creates_no_user(look: Look, gateway: Gateway) -> None:
    findings = await look(may_write=False)
    assert findings["access token"].ok is None
    assert not [path for path in gateway.paths if "admin" in path or "webhook_test" in path]


async def test_a_slash_at_the_end_of_the_address_is_no_fault(look: Look, gateway: Gateway) -> None:
    assert bad(await look(supabase_url=gateway.target.local.url + "/ ")) == []


class TestAddress:
    async def test_nothing_listens(self, look: Look) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            findings = await look(supabase_url=url)
        assert list(findings) == ["Supabase address"]
        assert bad(findings) == ["Supabase address"]
        assert "EVPOWER_SUPABASE_URL" in findings["Supabase address"].fix

    async def test_an_unknown_host(self, look: Look) -> None:
        findings = await look(supabase_url="http://no-such-project.invalid")
        assert bad(findings) == ["Supabase address"]

    @pytest.mark.parametrize(
        "page", [(200, "text/html", "<html>hi</html>"), (404, "text/plain", "not found")]
    )
    async def test_another_site(self, look: Look, gateway: Gateway, page: Answer) -> None:
        gateway.faults.append((".*", page))
        findings = await look()
        assert list(findings) == ["Supabase address"]
        assert "no Supabase" in findings["Supabase address"].detail


class TestKeys:
    async def test_a_wrong_publishable_key(self, look: Look) -> None:
        findings = await look(supabase_publishable_key="sb_publishable_other")
        assert bad(findings) == ["Supabase publishable key"]

    async def test_a_wrong_secret_key(self, look: Look) -> None:
        findings = await look(supabase_secret_key=SecretStr("sb_secret_other"))
        assert "mend the above first" in findings["access token"].detail
        assert bad(findings) == ["Supabase secret key"]
        assert findings["Supabase migrations"].ok is None
        assert findings["change notification"].ok is None

    async def test_the_publishable_key_in_place_of_the_secret(
        self, look: Look, gateway: Gateway
    ) -> None:
        key = SecretStr(gateway.target.local.publishable_key)
        findings = await look(supabase_secret_key=key)
        assert bad(findings) == ["Supabase secret key"]
        assert "not a secret key" in findings["Supabase secret key"].detail

    async def test_a_wrong_jwt_secret(self, look: Look, gateway: Gateway) -> None:
        findings = await look(
            supabase_url=gateway.target.local.url,
            supabase_jwt_secret=SecretStr("another secret of more than 32 characters"),
        )
        assert bad(findings) == ["access token"]
        assert "HS256" in findings["access token"].detail
        assert "EVPOWER_SUPABASE_JWT_SECRET" in findings["access token"].fix


async def test_a_function_that_postgrest_has_not_read_yet(look: Look, gateway: Gateway) -> None:
    gateway.faults.append(
        ("/rest/v1/rpc/evpower_digest", (404, JSON, '{"code":"PGRST202","message":"no function"}'))
    )
    findings = await look()
    assert bad(findings) == ["Supabase function evpower_digest"]
    assert "notify pgrst" in findings["Supabase function evpower_digest"].fix


class TestOutages:
    @pytest.mark.parametrize(
        "answer",
        [
            (503, JSON, '{"code":"PGRST002","message":"Could not query the database"}'),
            (503, JSON, '{"code":"PGRST001","message":"Database client error"}'),
            (500, JSON, '{"code":"57P03","message":"the database system is starting up"}'),
            (502, "text/html", "<html>bad gateway</html>"),
        ],
    )
    async def test_the_database_is_down(self, look: Look, gateway: Gateway, answer: Answer) -> None:
        gateway.faults.append(("/rest/", answer))
        findings = await look()
        assert bad(findings) == ["Supabase database"]
        assert "key" not in findings["Supabase database"].fix
        assert findings["Supabase migrations"].ok is None

    @pytest.mark.parametrize(
        "answer", [(503, JSON, '{"message":"name resolution failed"}'), (502, "text/html", "<p>")]
    )
    async def test_auth_is_down(self, look: Look, gateway: Gateway, answer: Answer) -> None:
        gateway.faults.append(("/auth/", answer))
        findings = await look()
        assert bad(findings) == ["Supabase Auth"]
        assert "key" not in findings["Supabase Auth"].fix
        assert findings["Supabase secret key"].ok is True
        assert findings["token signing keys"].ok is None
        assert findings["access token"].ok is None


async def test_a_clock_that_is_an_hour_off(look: Look, gateway: Gateway) -> None:
    gateway.date = format_datetime(utc_now() - timedelta(hours=1), usegmt=True)
    findings = await look()
    assert bad(findings) == ["Supabase clock"]
    assert "NTP" in findings["Supabase clock"].fix


async def test_a_backend_that_is_not_guarded_against(look: Look, there_fresh: Connection) -> None:
    await there_fresh.execute("""select public.evpower_guard('{"enable": false}')""")
    try:
        findings = await look()
    finally:
        await there_fresh.execute("""select public.evpower_guard('{"enable": true}')""")
    assert bad(findings) == ["Supabase guard"]
    assert "evpower supabase guard enable" in findings["Supabase guard"].fix


class TestSigningKeys:
    @pytest.mark.parametrize("secret", [True, False], ids=["secret set", "no secret"])
    @pytest.mark.parametrize(
        "answer",
        [(503, JSON, "{}"), (429, JSON, "{}"), (200, "text/html", "<html>"), HANG],
        ids=["503", "429", "html", "hang"],
    )
    async def test_an_outage_is_no_wrong_setting(
        self,
        look: Look,
        gateway: Gateway,
        monkeypatch: pytest.MonkeyPatch,
        answer: Answer,
        *,
        secret: bool,
    ) -> None:
        monkeypatch.setattr(doctor_tokens, "_TIMEOUT_S", 0.3)
        gateway.faults.append((KEYS, answer))
        findings = await look(**({} if secret else {"supabase_jwt_secret": SecretStr("")}))
        # A secret verifies the token of the local project; without one nothing can.
        assert bad(findings) == ([] if secret else ["token signing keys"])
        assert findings["token signing keys"].ok is (None if secret else False)
        assert findings["token signing keys"].fix == STATUS_PAGE
        assert "can't be read" in findings["token signing keys"].detail
        assert findings["access token"].ok is (True if secret else None)

    async def test_without_a_real_token_a_secret_may_be_all_that_is_needed(
        self, look: Look, gateway: Gateway
    ) -> None:
        gateway.faults.append((KEYS, (503, JSON, "{}")))
        findings = await look(may_write=False)
        assert bad(findings) == []
        assert "only tokens of the HS256 secret" in findings["token signing keys"].detail

    async def test_a_token_whose_key_can_not_be_read_is_not_judged(
        self, look: Look, gateway: Gateway
    ) -> None:
        token = jwt.encode({}, ec.generate_private_key(ec.SECP256R1()), "ES256", {"kid": "a"})
        body = json.dumps({"access_token": token})
        gateway.faults += [(KEYS, (503, JSON, "{}")), ("/auth/v1/token", (200, JSON, body))]
        findings = await look()
        assert bad(findings) == ["token signing keys"]
        assert "the signing keys of Supabase can't be read" in findings["access token"].detail

    @pytest.mark.parametrize("answer", [(200, JSON, '{"keys":[]}'), (404, JSON, "{}")])
    async def test_neither_public_keys_nor_a_secret(
        self, look: Look, gateway: Gateway, answer: Answer
    ) -> None:
        gateway.faults.append((KEYS, answer))
        findings = await look(supabase_jwt_secret=SecretStr(""))
        assert bad(findings) == ["token signing keys"]
        assert "EVPOWER_SUPABASE_JWT_SECRET" in findings["token signing keys"].fix
        assert findings["access token"].ok is None


class TestNotification:
    @pytest.fixture
    async def evpower(self, db: Database) -> AsyncIterator[str]:
        """An EvPower on a socket that takes webhooks."""
        webhooks = SupabaseWebhooks(db, LocalBus())
        async with (
            running_api(db, [webhook_router(webhooks)]) as api,
            on_a_socket(api.app) as url,
        ):
            yield url + "/api/v1/webhooks/supabase"
        await webhooks.close()

    @pytest.fixture
    def configure(self, db: Database, gateway: Gateway) -> Callable[[str], Awaitable[None]]:
        async def work(url: str) -> None:
            async with HttpClient() as http:
                rpc = SupabaseRpc(http, gateway.url, gateway.target.local.secret_key)
                await rotate_secret(db, rpc, url)

        return work

    async def test_one_that_arrives(self, look: Look, evpower: str, configure: Any) -> None:
        await configure(evpower)
        finding = (await look())["change notification"]
        assert (finding.ok, "arrived at" in finding.detail) == (True, True)

    async def test_none_is_configured(self, look: Look) -> None:
        assert (await look())["change notification"].ok is True

    async def test_an_address_where_nothing_listens(self, look: Look, configure: Any) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            await configure(f"http://127.0.0.1:{unused.getsockname()[1]}/hook")
            findings = await look()
        assert bad(findings) == [NOTIFICATION]
        assert "failed" in findings[NOTIFICATION].detail
        assert "EVPOWER_PUBLIC_URL" in findings[NOTIFICATION].fix

    async def test_another_path(self, look: Look, evpower: str, configure: Any) -> None:
        await configure(evpower + "/elsewhere")
        findings = await look()
        assert bad(findings) == [NOTIFICATION]
        assert "404" in findings[NOTIFICATION].detail

    async def test_another_site_that_says_200(
        self, look: Look, gateway: Gateway, configure: Any
    ) -> None:
        gateway.faults.append(("/hook", (200, "text/html", "<html>welcome</html>")))
        await configure(gateway.url + "/hook")
        findings = await look()
        assert bad(findings) == [NOTIFICATION]
        assert "not as EvPower does" in findings[NOTIFICATION].detail

    async def test_a_secret_evpower_does_not_have(
        self, look: Look, evpower: str, configure: Any, owner: Connection
    ) -> None:
        await configure(evpower)
        await owner.execute("delete from sync.webhook_secrets")
        findings = await look()
        assert bad(findings) == [NOTIFICATION]
        assert "does not accept" in findings[NOTIFICATION].detail
        assert findings[NOTIFICATION].fix == ROTATE

    async def test_a_secret_that_supabase_has_lost(
        self, look: Look, evpower: str, configure: Any, there_fresh: Connection
    ) -> None:
        await configure(evpower)
        await there_fresh.execute("delete from evpower.secrets")
        findings = await look()
        assert bad(findings) == [NOTIFICATION]
        assert "lost its secret" in findings[NOTIFICATION].detail
        assert findings[NOTIFICATION].fix == ROTATE

    async def test_pg_net_is_not_there(
        self, look: Look, gateway: Gateway, evpower: str, configure: Any
    ) -> None:
        await configure(evpower)
        post = "function net.http_post(text, jsonb, jsonb, jsonb, int) rename to"
        back = "function net.http_post_gone(text, jsonb, jsonb, jsonb, int) rename to"
        async with gateway.target.superuser() as superuser:
            await superuser.execute(f"alter {post} http_post_gone")
            try:
                findings = await look()
            finally:
                await superuser.execute(f"alter {back} http_post")
        assert bad(findings) == [NOTIFICATION]
        assert "pg_net is not installed" in findings[NOTIFICATION].detail
        assert findings[NOTIFICATION].fix == "switch pg_net on under Database > Extensions"

    async def test_the_worker_of_pg_net_does_not_run(
        self,
        look: Look,
        gateway: Gateway,
        evpower: str,
        configure: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await configure(evpower)
        monkeypatch.setattr(doctor_notification, "WAIT_S", 0.2)
        # As no worker does, this lets a request have no response.
        async with gateway.target.superuser() as superuser:
            await superuser.execute(
                "create function net.no_worker() returns trigger language plpgsql"
                " set search_path = '' as $$ begin return null; end $$;"
                " create trigger no_worker before insert on net._http_response"
                " for each row execute function net.no_worker()"
            )
            try:
                findings = await look()
            finally:
                await superuser.execute("drop function net.no_worker() cascade")
        assert bad(findings) == [NOTIFICATION]
        assert "its worker does not run" in findings[NOTIFICATION].detail
        assert "net.worker_restart()" in findings[NOTIFICATION].fix

    async def test_a_signature_that_evpower_refuses(
        self, look: Look, gateway: Gateway, configure: Any
    ) -> None:
        gateway.faults.append(("/hook", (401, JSON, "{}")))
        await configure(gateway.url + "/hook")
        findings = await look()
        assert bad(findings) == [NOTIFICATION]
        assert "refused the signature" in findings[NOTIFICATION].detail
        assert findings[NOTIFICATION].fix == ROTATE
