"""The caller is identified by the token or key alone."""

import asyncio
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from fastapi import Depends, FastAPI, Request, Response
from pydantic import SecretStr

from evpower.foundation.db import Borrowed, Connection, Database
from evpower.foundation.errors import (
    Conflict,
    EvPowerError,
    Forbidden,
    Invalid,
    NotFound,
    Unauthenticated,
)
from evpower.identity import operators, service_keys
from evpower.identity.access import Access, may_read
from evpower.identity.model import Principal
from evpower.identity.supabase_admin import SupabaseAdmin
from evpower.identity.tokens import TokenVerifier
from tests.identity.conftest import Answer, Clock, Edge
from tests.identity.conftest import Request as Seen

SECRET = "a-legacy-secret-of-more-than-32-bytes"
ISSUER = "https://project.supabase.co/auth/v1"


def request_with(*headers: tuple[str, str], path: str = "/") -> Request:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "method": "GET", "path": path, "headers": raw, "state": {}})


def with_token(token: str) -> Request:
    return request_with(("authorization", f"Bearer {token}"))


def token_of(clock: Clock, sub: UUID, **changes: Any) -> str:
    now = int(clock().timestamp())
    claims = {
        "iss": ISSUER,
        "sub": str(sub),
        "aud": "authenticated",
        "role": "authenticated",
        "iat": now,
        "exp": now + 3600,
        "email": f"{sub.hex}@example.kg",
    }
    return jwt.encode(claims | changes, SECRET, "HS256")


@pytest.fixture
def verifier(http: httpx.AsyncClient, clock: Clock) -> TokenVerifier:
    return TokenVerifier(issuer_url=ISSUER, http=http, hs256_secret=SecretStr(SECRET), clock=clock)


@pytest.fixture
def access(db: Database, verifier: TokenVerifier, clock: Clock) -> Access:
    return Access(db, verifier, clock=clock)


@pytest.fixture
async def key(db: Database) -> str:
    async with db.transaction() as connection:
        created = await service_keys.create_service_key(connection, name="csms", actor="bek")
    return created.key


async def test_first_request_of_a_client_creates_it(
    access: Access, clock: Clock, owner: Connection
) -> None:
    sub = uuid4()
    tokens = [token_of(clock, sub, n=n) for n in range(20)]
    principals = await asyncio.gather(*(access.principal(with_token(token)) for token in tokens))
    assert set(principals) == {Principal("client", sub, "", clock() + timedelta(hours=1), sub)}
    rows = await owner.fetch("select id, email, origin from identity.clients")
    assert [tuple(row) for row in rows] == [(sub, f"{sub.hex}@example.kg", "token")]


async def test_clients_that_come_at_once_are_looked_up_together(
    access: Access, clock: Clock, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restart, when every app comes back to a process that knows none of them."""
    subs = [uuid4() for _ in range(100)]
    requests = [with_token(token_of(clock, sub)) for sub in subs]
    await asyncio.gather(*(access.principal(request) for request in requests))
    access.flush()
    await access.principal(with_token(token_of(clock, uuid4())))  # the operators are known again
    borrowed = 0
    connection_of = db.connection

    def counted() -> Borrowed:
        nonlocal borrowed
        borrowed += 1
        return connection_of()

    monkeypatch.setattr(db, "connection", counted)
    again = [with_token(token_of(clock, sub)) for sub in subs]
    principals = await asyncio.gather(*(access.principal(request) for request in again))
    assert [principal.client_id for principal in principals] == subs
    assert borrowed <= 10
    borrowed = 0
    await asyncio.gather(*(access.principal(with_token(token_of(clock, sub))) for sub in subs))
    assert borrowed == 0


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([], "missing_token"),
        ([("authorization", "")], "missing_token"),
        ([("authorization", "Bearer ")], "missing_token"),
        ([("authorization", "Bearer")], "missing_token"),
        ([("authorization", "Basic YTpi")], "invalid_token"),
        ([("authorization", "Bearer x y")], "invalid_token"),
        ([("authorization", "Bearer é")], "invalid_token"),
        ([("authorization", "Bearer a.b.c"), ("authorization", "Bearer a.b.c")], "invalid_token"),
        ([("authorization", "Bearer evp_short")], "invalid_token"),
        ([("authorization", "Bearer evp_" + "x" * 43)], "invalid_token"),
        ([("x-service-key", "")], "invalid_token"),
        ([("x-service-key", "evp_é" + "x" * 40)], "invalid_token"),
        ([("x-service-key", "a"), ("x-service-key", "b")], "invalid_token"),
    ],
)
async def test_an_unknown_caller_is_refused(
    access: Access, headers: list[tuple[str, str]], code: str
) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await access.principal(request_with(*headers))
    assert caught.value.code == code


async def test_a_bad_service_key_is_refused_beside_a_good_token(
    access: Access, clock: Clock
) -> None:
    good = ("authorization", f"Bearer {token_of(clock, uuid4())}")
    with pytest.raises(Unauthenticated):
        await access.principal(request_with(good, ("x-service-key", "evp_" + "x" * 43)))


async def test_service_key_names_its_system_in_both_headers(access: Access, key: str) -> None:
    for header in (("authorization", f"bearer {key}"), ("X-Service-Key".lower(), key)):
        request = request_with(header)
        assert await access.require_service(request) == Principal("service", None, "csms", None)
        with pytest.raises(Forbidden) as caught:
            await access.require_client(request)
        assert caught.value.code == "forbidden"


async def test_client_is_no_service(access: Access, clock: Clock) -> None:
    with pytest.raises(Forbidden):
        await access.require_service(with_token(token_of(clock, uuid4())))


async def test_revoked_key_is_refused_at_once(access: Access, key: str, db: Database) -> None:
    await access.require_service(request_with(("x-service-key", key)))
    async with db.transaction() as connection:
        await service_keys.revoke_service_key(connection, name="csms", actor="bek", reason="leak")
    with pytest.raises(Unauthenticated) as caught:
        await access.require_service(request_with(("x-service-key", key)))
    assert caught.value.code == "invalid_token"


async def test_use_of_a_key_is_stored_once_a_minute(
    access: Access, key: str, owner: Connection
) -> None:
    async def used() -> Any:
        await access.require_service(request_with(("x-service-key", key)))
        return await owner.fetchval("select last_used_at from identity.service_keys")

    first = await used()
    assert first is not None
    assert await used() == first
    await owner.execute(
        "update identity.service_keys set last_used_at = last_used_at - interval '61 seconds'"
    )
    assert await used() > first


async def test_a_key_is_stored_as_a_hash_and_audited(
    db: Database, key: str, owner: Connection
) -> None:
    assert key.startswith("evp_")
    assert len(key) >= 4 + 43
    stored = await owner.fetchval("select k::text from identity.service_keys k")
    assert key not in stored
    assert key[8:] not in stored
    async with db.transaction() as connection:
        with pytest.raises(Conflict):
            await service_keys.create_service_key(connection, name="csms", actor="bek")
        with pytest.raises(Invalid):
            await service_keys.create_service_key(connection, name="a\0b", actor="bek")
        with pytest.raises(NotFound):
            await service_keys.revoke_service_key(connection, name="none", actor="bek")
        await service_keys.revoke_service_key(connection, name="csms", actor="bek", reason="old")
        [listed] = await service_keys.list_service_keys(connection)
    assert (listed.name, listed.hint) == ("csms", key[:8])
    assert listed.revoked_at is not None
    rows = await owner.fetch(
        "select a::text as row, action, reason from identity.audit a order by id"
    )
    assert [(row["action"], row["reason"]) for row in rows] == [
        ("service_key.create", None),
        ("service_key.revoke", "old"),
    ]
    assert all(key not in row["row"] for row in rows)


async def test_an_operator_reads_every_client_and_is_no_client(
    access: Access, clock: Clock, db: Database, owner: Connection
) -> None:
    user = uuid4()
    async with db.transaction() as connection:
        await operators.add_operator(connection, user_id=user, name="Bek", actor="root")
    principal = await access.principal(with_token(token_of(clock, user)))
    assert (principal.kind, principal.client_id, principal.name, principal.user_id) == (
        "operator",
        None,
        "Bek",
        user,
    )
    may_read(principal, uuid4())
    assert await owner.fetchval("select count(*) from identity.clients") == 0
    async with db.transaction() as connection:
        assert [o.name for o in await operators.list_operators(connection)] == ["Bek"]
        await operators.remove_operator(connection, user_id=user, actor="root", reason="left")
        with pytest.raises(NotFound):
            await operators.remove_operator(connection, user_id=user, actor="root")
        assert await operators.list_operators(connection) == []
    clock.forward(seconds=30)
    principal = await access.principal(with_token(token_of(clock, user)))
    assert (principal.kind, principal.client_id) == ("client", user)
    with pytest.raises(Forbidden):
        may_read(principal, uuid4())


def test_a_client_reads_only_its_own_data() -> None:
    own = uuid4()
    may_read(Principal("client", own, "", None), own)
    may_read(Principal("service", None, "csms", None), own)
    with pytest.raises(Forbidden) as caught:
        may_read(Principal("client", own, "", None), uuid4())
    assert caught.value.code == "forbidden"


async def test_path_and_body_do_not_identify_the_caller(access: Access, clock: Clock) -> None:
    """The dependencies work in FastAPI; the principal is identified once and stored for the API."""
    app = FastAPI()
    own_id, other = uuid4(), uuid4()

    @app.exception_handler(EvPowerError)
    async def render(_: Request, error: Any) -> Response:
        return Response(error.code, error.http_status)

    @app.post("/{client_id}")
    async def identify(
        client_id: UUID,
        request: Request,
        principal: Annotated[Principal, Depends(access.require_client)],
    ) -> str:
        assert request.state.principal is principal
        may_read(principal, client_id)
        return str(principal.client_id)

    transport = httpx.ASGITransport(app)
    headers = {"Authorization": f"Bearer {token_of(clock, own_id)}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        body = {"client_id": str(other)}
        own = await client.post(f"/{own_id}", headers=headers, json=body)
        foreign = await client.post(f"/{other}", headers=headers, json=body)
        anonymous = await client.post(f"/{own_id}", json=body)
    assert (own.status_code, own.json()) == (200, str(own_id))
    assert (foreign.status_code, foreign.text) == (403, "forbidden")
    assert (anonymous.status_code, anonymous.text) == (401, "missing_token")


async def test_known_client_needs_no_round_trip(access: Access, clock: Clock, db: Database) -> None:
    token = token_of(clock, uuid4())
    await access.principal(with_token(token))
    await db.close()
    assert (await access.principal(with_token(token))).kind == "client"


async def test_money_is_checked_at_supabase_if_the_settings_say_so(
    db: Database, verifier: TokenVerifier, clock: Clock, edge: Edge, http: httpx.AsyncClient
) -> None:
    sub = uuid4()
    request = with_token(token_of(clock, sub))
    admin = SupabaseAdmin(
        http=http,
        url=edge.url,
        secret_key=SecretStr("sb_secret_x"),
        publishable_key="sb_publishable_x",
    )
    access = Access(db, verifier, clock=clock, introspect_with=admin)
    banned = (clock() + timedelta(hours=1)).isoformat()
    lifted = (clock() - timedelta(hours=1)).isoformat()
    responses: list[tuple[Answer, str]] = [
        ((200, b'{"id": "%s"}' % str(sub).encode()), ""),
        ((200, f'{{"id": "{sub}", "banned_until": "{lifted}"}}'.encode()), ""),
        ((200, f'{{"id": "{sub}", "banned_until": "{banned}"}}'.encode()), "client_blocked"),
        ((200, b'{"id": "%s"}' % str(uuid4()).encode()), "invalid_token"),
        ((403, b'{"error_code": "session_not_found"}'), "invalid_token"),
        ((401, b"{}"), "invalid_token"),
        ((429, b"{}"), "auth_unavailable"),
        ((500, b"{}"), "auth_unavailable"),
        ((200, b"nonsense"), "auth_unavailable"),
        (None, "auth_unavailable"),
    ]
    for answer, code in responses:

        async def respond(_: Seen, answer: Answer = answer) -> Answer:
            return answer

        edge.respond = respond
        if not code:
            assert (await access.require_client_for_money(request)).client_id == sub
            continue
        with pytest.raises(EvPowerError) as caught:
            await access.require_client_for_money(request)
        assert caught.value.code == code
    assert edge.requests[0].path == "/auth/v1/user"
    assert edge.requests[0].headers["apikey"] == "sb_publishable_x"
    assert edge.requests[0].headers["authorization"].startswith("Bearer eyJ")
    without = Access(db, verifier, clock=clock)
    count = len(edge.requests)
    await without.require_client_for_money(request)
    assert len(edge.requests) == count


async def test_a_real_session_passes_until_the_user_is_deleted(
    db: Database, supabase: Any, admin: SupabaseAdmin, http: httpx.AsyncClient
) -> None:
    signed = await http.post(
        f"{supabase.url}/auth/v1/signup",
        json={"email": f"{uuid4().hex}@example.kg", "password": "secret-12"},
        headers={"apikey": supabase.publishable_key},
    )
    verifier = TokenVerifier(
        issuer_url=f"{supabase.url}/auth/v1",
        http=http,
        hs256_secret=SecretStr(supabase.jwt_secret),
    )
    access = Access(db, verifier, introspect_with=admin)
    request = with_token(signed.json()["access_token"])
    principal = await access.require_client_for_money(request)
    assert str(principal.client_id) == signed.json()["user"]["id"]
    await http.delete(
        f"{supabase.url}/auth/v1/admin/users/{principal.client_id}",
        headers={"apikey": supabase.secret_key},
    )
    with pytest.raises(Unauthenticated):
        await access.require_client_for_money(request)
