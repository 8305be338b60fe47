"""The local Supabase behaves like the hosted one where EvPower and its apps touch it."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import jwt
import pytest

from evpower.devstack import children
from evpower.devstack.errors import DevstackError
from evpower.devstack.postgres.server import EmbeddedPostgres
from evpower.devstack.supabase.server import SERVER_DIR, LocalSupabase, node_binary
from tests.waiting import COMMAND_S, WAIT_LIMIT_S

HERE = Path(__file__).parent
PASSWORD = "secret12"
PASSWORD_BCRYPT = "$2b$04$0jNLIKxL83cHtNGve0yKsO42fToXVZnPwfIBGi.tLdkAzs56O7ICC"
USERS = "/auth/v1/admin/users"


@pytest.fixture
async def service(supabase: LocalSupabase) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client with the secret key."""
    headers = {"apikey": supabase.secret_key}
    async with httpx.AsyncClient(
        base_url=supabase.url, headers=headers, timeout=WAIT_LIMIT_S
    ) as client:
        yield client


@pytest.fixture
async def app(supabase: LocalSupabase) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client with the publishable key, as an app has it."""
    headers = {"apikey": supabase.publishable_key}
    async with httpx.AsyncClient(
        base_url=supabase.url, headers=headers, timeout=WAIT_LIMIT_S
    ) as client:
        yield client


def _email() -> str:
    return f"{uuid.uuid4().hex}@example.kg"


async def _create(service: httpx.AsyncClient, **fields: object) -> httpx.Response:
    body: dict[str, object] = {"password": PASSWORD, "email_confirm": True, **fields}
    return await service.post(USERS, json=body)


async def _sign_in(app: httpx.AsyncClient, **fields: str) -> httpx.Response:
    body = {"password": PASSWORD, **fields}
    return await app.post("/auth/v1/token?grant_type=password", json=body)


async def test_user_made_with_our_id_signs_in_and_is_found(
    service: httpx.AsyncClient, app: httpx.AsyncClient
) -> None:
    chosen, email = str(uuid.uuid4()), _email()
    made = await _create(service, id=chosen, email=email.upper(), user_metadata={"name": "Ai"})
    assert made.status_code == 200
    assert (made.json()["id"], made.json()["email"]) == (chosen, email)
    session = (await _sign_in(app, email=email)).json()
    headers = {"Authorization": f"Bearer {session['access_token']}"}
    user = (await app.get("/auth/v1/user", headers=headers)).json()
    assert user["id"] == chosen
    assert user["user_metadata"]["name"] == "Ai"
    seen = (await service.get(f"/rest/v1/seen?id=eq.{chosen}")).json()
    assert seen == [{"id": chosen, "name": "Ai"}]  # the trigger on auth.users ran


async def test_access_token_has_the_claims_of_hosted_supabase(
    supabase: LocalSupabase, app: httpx.AsyncClient
) -> None:
    answer = await app.post("/auth/v1/signup", json={"email": _email(), "password": PASSWORD})
    refreshed = await app.post(
        "/auth/v1/token?grant_type=refresh_token",
        json={"refresh_token": answer.json()["refresh_token"]},
    )
    for token in (answer.json()["access_token"], refreshed.json()["access_token"]):
        claims = jwt.decode(
            token,
            supabase.jwt_secret,
            algorithms=["HS256"],
            audience="authenticated",
            issuer=f"{supabase.url}/auth/v1",
        )
        assert claims["role"] == "authenticated"
        assert {"sub", "exp", "iat", "email", "phone", "session_id", "app_metadata"} <= set(claims)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({}, 400, "validation_failed"),
        ({"email": "not an address"}, 400, "validation_failed"),
        ({"phone": "12ab"}, 400, "validation_failed"),
        ({"email": "a@example.kg", "password": "short"}, 422, "weak_password"),
        ({"email": "a@example.kg", "id": "7"}, 400, "validation_failed"),
        ({"email": "a@example.kg", "password_hash": PASSWORD_BCRYPT}, 400, "validation_failed"),
        ({"email": "a@example.kg", "ban_duration": "ever"}, 400, "validation_failed"),
    ],
)
async def test_bad_user_is_refused_in_gotrue_words(
    service: httpx.AsyncClient, fields: dict[str, str], status: int, code: str
) -> None:
    answer = await _create(service, **fields)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert answer.json()["code"] == status
    assert answer.json()["msg"]


async def test_address_can_be_registered_once(service: httpx.AsyncClient) -> None:
    email, phone = _email(), f"+996{uuid.uuid4().int % 10**9:09}"
    made = await _create(service, email=email, phone=phone)
    assert made.json()["phone"] == phone.removeprefix("+")
    twice = await asyncio.gather(
        _create(service, email=email), _create(service, phone=phone), _create(service, phone=phone)
    )
    codes = [(answer.status_code, answer.json()["error_code"]) for answer in twice]
    assert codes == [(422, "email_exists"), (422, "phone_exists"), (422, "phone_exists")]


async def test_same_address_at_the_same_moment_makes_one_user(service: httpx.AsyncClient) -> None:
    email = _email()
    answers = await asyncio.gather(*(_create(service, email=email) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 422, 422, 422]


async def test_taken_id_is_a_server_error_as_in_gotrue(service: httpx.AsyncClient) -> None:
    chosen = str(uuid.uuid4())
    await _create(service, id=chosen, email=_email())
    again = await _create(service, id=chosen, email=_email())
    assert (again.status_code, again.json()["error_code"]) == (500, "unexpected_failure")


async def test_phone_and_bcrypt_hash_sign_in(
    service: httpx.AsyncClient, app: httpx.AsyncClient
) -> None:
    phone = f"996{uuid.uuid4().int % 10**9:09}"
    hashed = {"phone": f"+{phone}", "password": None, "password_hash": PASSWORD_BCRYPT}
    made = (await _create(service, **hashed)).json()
    refused = await _sign_in(app, phone=phone)
    assert refused.json()["error_code"] == "phone_not_confirmed"
    await service.put(f"{USERS}/{made['id']}", json={"phone_confirm": True})
    assert (await _sign_in(app, phone=f"+{phone}")).json()["user"]["id"] == made["id"]


async def test_update_ban_and_delete(service: httpx.AsyncClient, app: httpx.AsyncClient) -> None:
    email, other = _email(), _email()
    data = {"keep": 1, "drop": 2}
    made = (await _create(service, email=email, user_metadata=data)).json()
    path = f"{USERS}/{made['id']}"
    changes = {"email": other, "user_metadata": {"drop": None}, "ban_duration": "1h30m"}
    changed = (await service.put(path, json=changes)).json()
    assert changed["email"] == other
    assert changed["user_metadata"]["keep"] == 1
    assert "drop" not in changed["user_metadata"]
    assert (await _sign_in(app, email=other)).json()["error_code"] == "user_banned"
    await service.put(path, json={"ban_duration": "none", "password": "another1"})
    session = await _sign_in(app, email=other, password="another1")
    assert session.status_code == 200
    assert (await service.delete(path)).json() == {}
    assert (await service.get(path)).json()["error_code"] == "user_not_found"
    bearer = {"Authorization": f"Bearer {session.json()['access_token']}"}
    assert (await app.get("/auth/v1/user", headers=bearer)).status_code == 403


async def test_users_are_listed_in_pages(service: httpx.AsyncClient) -> None:
    made = [(await _create(service, email=_email())).json()["id"] for _ in range(3)]
    first = await service.get(USERS, params={"page": 1, "per_page": 2})
    second = await service.get(USERS, params={"page": 2, "per_page": 2})
    ids = [user["id"] for page in (first, second) for user in page.json()["users"]]
    assert ids[:3] == made[::-1]
    assert int(first.headers["x-total-count"]) >= 3
    assert 'rel="next"' in first.headers["link"]


async def test_admin_api_wants_the_secret_key(
    supabase: LocalSupabase, app: httpx.AsyncClient
) -> None:
    assert (await app.get(USERS)).status_code == 403
    async with httpx.AsyncClient(base_url=supabase.url, timeout=WAIT_LIMIT_S) as bare:
        assert (await bare.get(USERS)).status_code == 401
        bearer = {"Authorization": f"Bearer {supabase.secret_key}"}
        assert (await bare.get(USERS, headers=bearer)).status_code == 200
        assert (await bare.get("/_system/info")).status_code == 404


async def test_supabase_js_signs_up_reads_its_rows_and_no_others(supabase: LocalSupabase) -> None:
    script = [node_binary(), HERE / "client.mjs", supabase.url, supabase.publishable_key]
    done = await children.run([*script, SERVER_DIR], timeout_s=COMMAND_S)
    assert done.returncode == 0, done.stdout
    output = json.loads(done.stdout.splitlines()[-1])
    note = {"body": "mine", "amount": 100.1, "at": "2026-01-02T03:04:05.678901+00:00"}
    assert output["own"] == [note]
    assert output["others"] == []
    assert (output["same"], output["whoami"], output["name"]) == (True, True, "Aida")
    assert (output["money"], output["service"]) == ("42501", "42501")


async def test_rpc_takes_megabytes_as_service_role(service: httpx.AsyncClient) -> None:
    batch = [{"n": n, "text": "x" * 100} for n in range(16_000)]
    answer = await service.post("/rest/v1/rpc/measure", json={"batch": batch})
    assert answer.json() == {"type": "array", "rows": 16_000, "role": "service_role"}


async def test_restart_keeps_keys_and_sessions(
    postgres: EmbeddedPostgres, folder: Path, app: httpx.AsyncClient
) -> None:
    await postgres.create_database("restarted")

    def local() -> LocalSupabase:
        return LocalSupabase(
            postgres.dsn("restarted"),
            port=None,
            state_dir=folder,
            migrations_dir=HERE / "migrations",
        )

    first = local()
    await first.start()
    try:
        headers = {"apikey": first.publishable_key}
        body = {"email": _email(), "password": PASSWORD}
        url = f"{first.url}/auth/v1/signup"
        session = (await app.post(url, json=body, headers=headers)).json()
        first.kill()
        second = local()
        await second.start()
        try:
            assert second.secret_key == first.secret_key
            headers["Authorization"] = f"Bearer {session['access_token']}"
            user = await app.get(f"{second.url}/auth/v1/user", headers=headers)
            assert user.json()["id"] == session["user"]["id"]
        finally:
            await second.stop()
    finally:
        await first.stop()
    for name in ("supabase-keys.json", "supabase-server.json"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600


async def test_failing_migration_is_named_with_its_line(
    postgres: EmbeddedPostgres, folder: Path
) -> None:
    await postgres.create_database("failing")
    (folder / "20260101000000_bad.sql").write_text("create table half (id int);\nselect * from no;")
    local = LocalSupabase(
        postgres.dsn("failing"), port=None, state_dir=folder, migrations_dir=folder
    )
    with pytest.raises(DevstackError, match=r"20260101000000_bad\.sql line 2.*\"no\""):
        await local.start()
    assert not local.running
