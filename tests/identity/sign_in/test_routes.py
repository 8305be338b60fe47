"""The shipped app signs in, refreshes at each start, and signs out, over the old paths."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from evpower import payments
from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection, Database
from evpower.identity.operators import add_operator
from evpower.identity.sign_in.keys import rotate_signing_key
from evpower.identity.sign_in.operate import set_operator_phone
from tests.api.scenario import bearer
from tests.charging.money import top_up
from tests.identity.sign_in.app import Phone, running_phone
from tests.identity.sign_in.conftest import OLD_SECRET, SECRET, new_phone


@pytest.fixture
async def app(db: Database, supabase: LocalSupabase) -> AsyncIterator[Phone]:
    async with running_phone(db, supabase) as phone:
        yield phone


async def test_the_app_signs_in_and_sees_its_money(app: Phone, owner: Connection) -> None:
    phone = new_phone()
    sent = (await app.post("auth/send-otp", {"phone": phone})).json()
    message = sent.pop("message")
    assert sent == {
        "success": True,
        "phone": phone,
        "expires_in_seconds": 300,
        "resend_available_in_seconds": 60,
    }
    assert message == "Код отправлен по SMS."
    answer = (await app.post("auth/verify-otp", {"phone": phone, "code": app.code(phone)})).json()
    user = answer["user"]
    assert {name: type(value).__name__ for name, value in answer.items()} == {
        "success": "bool", "access_token": "str", "refresh_token": "str", "token_type": "str",
        "expires_in": "int", "user": "dict", "user_type": "str", "is_new_user": "bool",
    }  # fmt: skip
    assert (answer["user_type"], answer["is_new_user"], answer["expires_in"]) == (
        "client", True, 900,
    )  # fmt: skip
    assert (user["phone"], user["name"], user["status"]) == (phone, "", "active")
    await top_up(owner, UUID(user["id"]), 12_345)
    me = (await app.get("auth/me", answer["access_token"])).json()
    assert (me["success"], me["user"]["balance"], me["user"]["id"]) == (True, 123.45, user["id"])
    balance = await app.get(f"balance/{user['id']}", answer["access_token"])
    assert balance.json()["balance"] == 123.45


async def test_the_older_paths_answer_the_same(app: Phone) -> None:
    phone = new_phone()
    assert (await app.post("auth/otp/send", {"phone": phone})).status_code == 200
    answer = await app.post("auth/otp/verify", {"phone": phone, "code": app.code(phone)})
    assert answer.json()["user"]["phone"] == phone


async def test_twenty_cold_starts_of_the_shipped_app(app: Phone) -> None:
    signed_in = await app.sign_in(new_phone())
    for _ in range(20):
        refreshed = await app.post("auth/refresh", {"refresh_token": signed_in["refresh_token"]})
        assert refreshed.status_code == 200
        assert sorted(refreshed.json()) == ["access_token", "expires_in", "success", "token_type"]
        me = await app.get("auth/me", refreshed.json()["access_token"])
        assert me.json()["user"]["id"] == signed_in["user"]["id"]


async def test_a_newer_app_rotates(app: Phone) -> None:
    first = (await app.sign_in(new_phone()))["refresh_token"]
    body: dict[str, Any] = {"refresh_token": first, "rotation": True}
    second = (await app.post("auth/refresh", body)).json()["refresh_token"]
    assert second != first
    assert (await app.post("auth/refresh", {"refresh_token": second})).status_code == 200


async def test_signing_out_ends_the_refresh_token(app: Phone) -> None:
    token = (await app.sign_in(new_phone()))["refresh_token"]
    for _ in range(2):
        assert (await app.post("auth/logout", {"refresh_token": token})).json()["success"] is True
    refused = await app.post("auth/refresh", {"refresh_token": token})
    assert refused.status_code == 401
    assert refused.json()["error_code"] == "invalid_token"


async def test_a_wrong_code_is_said_in_the_drivers_language(app: Phone) -> None:
    refused = await app.post("auth/verify-otp", {"phone": new_phone(), "code": "000000"})
    assert refused.status_code == 401
    assert refused.json()["error"] == "Код неверен или истёк. Запросите новый."
    assert refused.json()["error_code"] == "invalid_code"


async def test_a_code_asked_for_too_soon_says_when(app: Phone) -> None:
    phone = new_phone()
    await app.post("auth/send-otp", {"phone": phone})
    refused = await app.post("auth/send-otp", {"phone": phone})
    assert refused.status_code == 429
    assert 20 <= refused.json()["retry_after_seconds"] <= 60
    assert refused.headers["retry-after"] == str(refused.json()["retry_after_seconds"])


async def test_the_addresses_own_limit_says_when_too(app: Phone) -> None:
    wrong = {"phone": new_phone(), "code": "000000"}
    for _ in range(200):
        refused = await app.post("auth/verify-otp", wrong)
        if refused.status_code == 429:
            break
    assert refused.json()["retry_after_seconds"] == int(refused.headers["retry-after"]) >= 1


async def test_another_system_verifies_a_token_with_the_published_keys(
    app: Phone, db: Database
) -> None:
    path = "/.well-known/jwks.json"
    assert (await app.http.get(path)).json() == {"keys": []}

    async def verified(token: str) -> str:
        """Verifies as a stranger does, who knows the address of the keys alone."""
        answer = await app.http.get(path)
        assert answer.headers["cache-control"] == "public, max-age=60"
        assert "private" not in answer.text
        assert '"d"' not in answer.text
        kid = jwt.get_unverified_header(token)["kid"]
        key = next(key for key in jwt.PyJWKSet.from_json(answer.text).keys if key.key_id == kid)
        claims = jwt.decode(
            token, key.key, algorithms=["ES256"], audience="evpower-app", issuer="evpower"
        )
        return claims["sub"]

    first = await app.sign_in(new_phone())
    assert await verified(first["access_token"]) == first["user"]["id"]
    async with db.transaction() as connection:
        await rotate_signing_key(connection, SECRET, actor="cli", now=app.clock())
    second = await app.sign_in(new_phone())
    for signed_in in (first, second):
        assert await verified(signed_in["access_token"]) == signed_in["user"]["id"]
    async with db.transaction() as connection:
        await rotate_signing_key(
            connection, SECRET, actor="cli", now=app.clock(), revoke_older=True
        )
    [newest] = (await app.http.get(path)).json()["keys"]
    assert newest["kid"] not in {jwt.get_unverified_header(s["access_token"])["kid"]
                                 for s in (first, second)}  # fmt: skip


async def test_known_and_unknown_phones_get_the_same_answer(app: Phone) -> None:
    known, unknown = new_phone(), new_phone()
    await app.sign_in(known)
    app.address = "198.51.100.20"
    app.clock.ahead += timedelta(seconds=61)
    answers = [
        (await app.post("auth/send-otp", {"phone": phone})).json() for phone in (known, unknown)
    ]
    assert [answer.pop("phone") for answer in answers] == [known, unknown]
    assert answers[0] == answers[1]
    wrong = [
        (await app.post("auth/verify-otp", {"phone": phone, "code": "99999"})).json()
        for phone in (known, unknown)
    ]
    assert wrong[0] == wrong[1]


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"phone": None}, {"phone": 996555123456}, {"phone": "12"}, {"phone": "x" * 65},
     {"phone": "+15005550006"}],
)  # fmt: skip
async def test_what_is_no_phone_is_refused(app: Phone, body: Any) -> None:
    assert (await app.post("auth/send-otp", body)).status_code == 422
    assert app.carrier.messages == []


@pytest.mark.parametrize("code", [None, 123456, "", "1" * 17, ["123456"]])
async def test_what_is_no_code_signs_no_one_in(app: Phone, code: Any) -> None:
    refused = await app.post("auth/verify-otp", {"phone": new_phone(), "code": code})
    assert refused.status_code in {401, 422}
    assert str(code) not in refused.text or code in (None, "")


async def test_extra_members_are_passed_over(app: Phone) -> None:
    phone = new_phone()
    sent = await app.post("auth/send-otp", {"phone": phone, "client_id": "x", "purpose": "login"})
    assert sent.status_code == 200


async def test_an_outage_of_the_carrier_is_503_and_costs_no_waiting(app: Phone) -> None:
    app.carrier.fault.times, app.carrier.fault.status = 1, 4
    phone = new_phone()
    refused = await app.post("auth/send-otp", {"phone": phone})
    assert (refused.status_code, refused.json()["error_code"]) == (503, "sms_unavailable")
    await app.sign_in(phone)


async def test_no_token_is_stored_for_a_repeated_request(app: Phone, owner: Connection) -> None:
    signed_in = await app.sign_in(new_phone())
    answer = await app.http.post(
        "/api/v1/auth/refresh",
        json={"refresh_token": signed_in["refresh_token"]},
        headers={"Idempotency-Key": "a-key-of-the-app"},
    )
    assert answer.status_code == 200
    assert await owner.fetchval("select count(*) from foundation.idempotency_keys") == 0


async def test_an_operator_signs_in_with_the_role(app: Phone, db: Database) -> None:
    phone, user = new_phone(), uuid4()
    async with db.transaction() as connection:
        await add_operator(connection, user_id=user, name="Aida", role="support", actor="cli")
        await set_operator_phone(connection, user, phone, actor="cli")
    signed_in = await app.sign_in(phone)
    assert signed_in["user_type"] == "admin"
    assert {"id", "phone", "email", "role", "is_active", "created_at"} <= signed_in["user"].keys()
    assert signed_in["user"]["role"] == "support"
    me = await app.get("auth/me", signed_in["access_token"])
    assert (me.json()["user"]["id"], me.json()["user_type"]) == (str(user), "admin")
    listed = await app.get("operator/clients?q=a@example.kg", signed_in["access_token"])
    assert listed.status_code == 200


async def test_a_claim_with_money_is_answered_clearly(app: Phone, owner: Connection) -> None:
    phone, claimant = new_phone(), uuid4()
    await owner.execute(
        "insert into identity.clients (id, phone, origin, phone_since)"
        " values ($1, $2, 'import', now() - interval '8 days')",
        claimant,
        phone,
    )
    await top_up(owner, claimant, 100)
    await app.post("auth/send-otp", {"phone": phone})
    refused = await app.post("auth/verify-otp", {"phone": phone, "code": app.code(phone)})
    assert (refused.status_code, refused.json()["error_code"]) == (409, "phone_needs_review")


@pytest.mark.parametrize(("receipt", "status"), [("opening:{client}", 409), ("RX-1", 200)])
async def test_a_young_claim_counts_only_beside_an_imported_balance(
    app: Phone, owner: Connection, db: Database, receipt: str, status: int
) -> None:
    phone, claimant = new_phone(), uuid4()
    await owner.execute(
        "insert into identity.clients (id, phone, origin) values ($1, $2, 'supabase')",
        claimant,
        phone,
    )
    async with db.transaction() as connection:
        await payments.cash(
            connection, client_id=claimant, amount_minor=1000, operator="aida", reason="of before",
            receipt=receipt.format(client=claimant), now=app.clock(),
        )  # fmt: skip
    await app.post("auth/send-otp", {"phone": phone})
    answer = await app.post("auth/verify-otp", {"phone": phone, "code": app.code(phone)})
    assert answer.status_code == status


async def test_an_operator_for_money_decides_whose_a_phone_is(
    app: Phone, owner: Connection, db: Database, supabase: LocalSupabase
) -> None:
    phone, claimant = new_phone(), uuid4()
    await owner.execute(
        "insert into identity.clients (id, phone, origin, phone_since)"
        " values ($1, $2, 'import', now() - interval '8 days')",
        claimant,
        phone,
    )
    await top_up(owner, claimant, 100)
    await app.post("auth/send-otp", {"phone": phone})
    code = {"phone": phone, "code": app.code(phone)}
    await app.post("auth/verify-otp", code)
    tokens: dict[str, str] = {}
    for role in ("support", "finance"):
        user, number = uuid4(), new_phone()
        async with db.transaction() as connection:
            await add_operator(connection, user_id=user, name="A", role=role, actor="cli")
            await set_operator_phone(connection, user, number, actor="cli")
        tokens[role] = (await app.sign_in(number))["access_token"]
    listed = (await app.get("operator/phone-reviews", tokens["support"])).json()
    assert [(row["phone"], row["claimants"]) for row in listed] == [(phone, [str(claimant)])]
    decision = {"phone": phone, "owner": None, "reason": "another person"}
    path = "operator/phone-reviews/decide"
    assert (await app.post(path, decision, tokens["support"])).status_code == 403
    assert (await app.post(path, decision, tokens["finance"])).status_code == 200
    assert (await app.post(path, decision, tokens["finance"])).status_code == 404
    assert (await app.post("auth/verify-otp", code)).json()["is_new_user"] is True
    del supabase


async def test_the_old_backends_tokens_go_on(
    app: Phone, client_id: UUID, supabase: LocalSupabase
) -> None:
    now = int(app.clock().timestamp())
    claims = {"sub": str(client_id), "type": "client", "iat": now, "exp": now + 600}
    access = jwt.encode(claims, OLD_SECRET, algorithm="HS256")
    assert (await app.get("auth/me", access)).json()["user"]["id"] == str(client_id)
    old = jwt.encode({**claims, "type": "refresh"}, OLD_SECRET, algorithm="HS256")
    assert (await app.get("auth/me", old)).status_code == 401
    refreshed = (await app.post("auth/refresh", {"refresh_token": old})).json()
    assert (await app.get("auth/me", refreshed["access_token"])).status_code == 200
    del supabase


async def test_a_banned_user_gets_no_new_token(app: Phone, owner: Connection) -> None:
    token = {"refresh_token": (await app.sign_in(new_phone()))["refresh_token"]}
    await owner.execute("update identity.clients set banned_until = now() + interval '1 day'")
    refused = await app.post("auth/refresh", token)
    assert (refused.status_code, refused.json()["error_code"]) == (403, "client_blocked")
    await owner.execute("update identity.clients set banned_until = null")
    assert (await app.post("auth/refresh", token)).status_code == 200


async def test_me_without_a_token_is_401(app: Phone) -> None:
    assert (await app.get("auth/me")).status_code == 401
    assert (await app.get("auth/me", "evp_" + "x" * 40)).status_code == 401
    assert (await app.get("auth/me", bearer(uuid4())["Authorization"][7:])).status_code == 401


async def test_where_it_is_off_it_says_so(db: Database, supabase: LocalSupabase) -> None:
    async with running_phone(db, supabase, sign_in_sender="", sign_in_secret="") as app:
        for path, body in (
            ("auth/send-otp", {"phone": new_phone()}),
            ("auth/verify-otp", {"phone": new_phone(), "code": "123456"}),
            ("auth/refresh", {"refresh_token": "evpr_x"}),
        ):
            refused = await app.post(path, body)
            assert (refused.status_code, refused.json()["error_code"]) == (404, "phone_sign_in_off")
        assert (await app.post("auth/logout", {"refresh_token": "x"})).status_code == 200
