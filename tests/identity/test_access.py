"""Who calls is what the token or key says, and nothing else."""

import asyncio
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from fastapi import Depends, FastAPI, Request, Response
from pydantic import SecretStr

from evpower.foundation.db import Connection, Database
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


def asking(*headers: tuple[str, str], path: str = "/") -> Request:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "method": "GET", "path": path, "headers": raw, "state": {}})


def with_token(token: str) -> Request:
    return asking(("authorization", f"Bearer {token}"))


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
    found = await asyncio.gather(*(access.principal(with_token(token)) for token in tokens))
    assert set(found) == {Principal("client", sub, "", clock() + timedelta(hours=1), sub)}
    rows = await owner.fetch("select id, email, origin from identity.clients")
    assert [tuple(row) for row in rows] == [(sub, f"{sub.hex}@example.kg", "token")]


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
async def test_who_is_no_one_is_refused(
    access: Access, headers: list[tuple[str, str]], code: str
) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await access.principal(asking(*headers))
    assert caught.value.code == code


async def test_bad_service_key_is_not_saved_by_a_good_token(access: Access, clock: Clock) -> None:
    good = ("authorization", f"Bearer {token_of(clock, uuid4())}")
    with pytest.raises(Unauthenticated):
        await access.principal(asking(good, ("x-service-key", "evp_" + "x" * 43)))


async def test_service_key_names_its_system_in_both_headers(access: Access, key: str) -> None:
    for header in (("authorization", f"bearer {key}"), ("X-Service-Key".lower(), key)):
        request = asking(header)
        assert await access.require_service(request) == Principal("service", None, "csms", None)
        with pytest.raises(Forbidden) as caught:
            await access.require_client(request)
        assert caught.value.code == "forbidden"


async def test_client_is_no_service(access: Access, clock: Clock) -> None:
    with pytest.raises(Forbidden):
        await access.require_service(with_token(token_of(clock, uuid4())))


async def test_revoked_key_is_refused_at_once(access: Access, key: str, db: Database) -> None:
    await access.require_service(asking(("x-service-key", key)))
    async with db.transaction() as connection:
        await service_keys.revoke_service_key(connection, name="csms", actor="bek", reason="leak")
    with pytest.raises(Unauthenticated) as caught:
        await access.require_service(asking(("x-service-key", key)))
    assert caught.value.code == "invalid_token"


async def test_use_of_a_key_is_noted_once_a_minute(
    access: Access, key: str, owner: Connection
) -> None:
    async def used() -> Any:
        await access.require_service(asking(("x-service-key", key)))
        return await owner.fetchval("select last_used_at from identity.service_keys")

    first = await used()
    assert first is not None
    assert await used() == first
    await owner.execute(
        "update identity.service_keys set last_used_at = last_used_at - interval '61 seconds'"
    )
    assert await used() > first


async def test_key_is_kept_as_a_hash_and_its_life_is_audited(
    db: Database, key: str, owner: Connection
) -> None:
    assert key.startswith("evp_")
    assert len(key) >= 4 + 43
    kept = await owner.fetchval("select k::text from identity.service_keys k")
    assert key not in kept
    assert key[8:] not in kept
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


async def test_operator_reads_every_client_and_is_none(
    access: Access, clock: Clock, db: Database, owner: Connection
) -> None:
    user = uuid4()
    async with db.transaction() as connection:
        await operators.add_operator(connection, user_id=user, name="Bek", actor="root")
    found = await access.principal(with_token(token_of(clock, user)))
    assert (found.kind, found.client_id, found.name, found.user_id) == (
        "operator",
        None,
        "Bek",
        user,
    )
    may_read(found, uuid4())
    assert await owner.fetchval("select count(*) from identity.clients") == 0
    async with db.transaction() as connection:
        assert [o.name for o in await operators.list_operators(connection)] == ["Bek"]
        await operators.remove_operator(connection, user_id=user, actor="root", reason="left")
        with pytest.raises(NotFound):
            await operators.remove_operator(connection, user_id=user, actor="root")
        assert await operators.list_operators(connection) == []
    clock.forward(seconds=30)
    found = await access.principal(with_token(token_of(clock, user)))
    assert (found.kind, found.client_id) == ("client", user)
    with pytest.raises(Forbidden):
        may_read(found, uuid4())


def test_client_reads_its_own_alone() -> None:
    mine = uuid4()
    may_read(Principal("client", mine, "", None), mine)
    may_read(Principal("service", None, "csms", None), mine)
    with pytest.raises(Forbidden) as caught:
        may_read(Principal("client", mine, "", None), uuid4())
    assert caught.value.code == "forbidden"


async def test_path_and_body_name_no_one(access: Access, clock: Clock) -> None:
    """The dependencies work in FastAPI; the principal is found once and kept for the edge."""
    app = FastAPI()
    mine, other = uuid4(), uuid4()

    @app.exception_handler(EvPowerError)
    async def render(_: Request, error: Any) -> Response:
        return Response(error.code, error.http_status)

    @app.post("/{client_id}")
    async def who(
        client_id: UUID,
        request: Request,
        principal: Annotated[Principal, Depends(access.require_client)],
    ) -> str:
        assert request.state.principal is principal
        may_read(principal, client_id)
        return str(principal.client_id)

    transport = httpx.ASGITransport(app)
    headers = {"Authorization": f"Bearer {token_of(clock, mine)}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        body = {"client_id": str(other)}
        own = await client.post(f"/{mine}", headers=headers, json=body)
        others = await client.post(f"/{other}", headers=headers, json=body)
        no_one = await client.post(f"/{mine}", json=body)
    assert (own.status_code, own.json()) == (200, str(mine))
    assert (others.status_code, others.text) == (403, "forbidden")
    assert (no_one.status_code, no_one.text) == (401, "missing_token")


async def test_known_client_needs_no_round_trip(access: Access, clock: Clock, db: Database) -> None:
    token = token_of(clock, uuid4())
    await access.principal(with_token(token))
    await db.close()
    assert (await access.principal(with_token(token))).kind == "client"


async def test_money_asks_supabase_where_that_is_wanted(
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
    said: list[tuple[Answer, str]] = [
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
    for answer, code in said:

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
    asked = len(edge.requests)
    await without.require_client_for_money(request)
    assert len(edge.requests) == asked


async def test_real_session_passes_until_the_user_is_gone(
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
    found = await access.require_client_for_money(request)
    assert str(found.client_id) == signed.json()["user"]["id"]
    await http.delete(
        f"{supabase.url}/auth/v1/admin/users/{found.client_id}",
        headers={"apikey": supabase.secret_key},
    )
    with pytest.raises(Unauthenticated):
        await access.require_client_for_money(request)
