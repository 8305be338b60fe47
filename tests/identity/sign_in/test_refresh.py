"""Refresh tokens last, end when they must, and never sign anyone out by mistake."""

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.identity.operators import add_operator, remove_operator
from evpower.identity.sign_in.operate import set_operator_phone
from evpower.identity.sign_in.refresh import log_out, refresh, revoke_user
from tests.conftest import patient_database
from tests.identity.sign_in.conftest import OLD_SECRET, Phones, new_phone, refusal_of


def old_token(phones: Phones, sub: str, **claims: Any) -> str:
    now = int(phones.clock().timestamp())
    payload = {"sub": sub, "typ": "refresh", "iat": now, "exp": now + 604_800, **claims}
    return jwt.encode(payload, OLD_SECRET, algorithm="HS256")


async def test_twenty_cold_starts_of_the_shipped_app_stay_signed_in(phones: Phones) -> None:
    signed_in = await phones.sign_in(new_phone())
    token = signed_in.tokens.refresh
    for _ in range(20):
        phones.clock.forward(days=30)
        tokens = await refresh(phones.refreshes, token)
        assert tokens.refresh == ""  # the app goes on with the one it has
        claims = await phones.refreshes.verifier.verify(tokens.access)
        assert claims.sub == signed_in.account.user_id


async def test_a_refresh_token_ends_90_days_after_its_last_use(phones: Phones) -> None:
    token = (await phones.sign_in(new_phone())).tokens.refresh
    phones.clock.forward(days=89)
    await refresh(phones.refreshes, token)
    phones.clock.forward(days=90)
    refused = await refusal_of(refresh(phones.refreshes, token))
    assert (refused.code, refused.http_status) == ("token_expired", 401)


async def test_a_caller_that_asks_for_rotation_gets_a_new_token(phones: Phones) -> None:
    first = (await phones.sign_in(new_phone())).tokens.refresh
    second = (await refresh(phones.refreshes, first, rotation=True)).refresh
    assert second not in ("", first)
    await refresh(phones.refreshes, second)


async def test_the_use_of_a_rotated_token_revokes_the_family(phones: Phones) -> None:
    first = (await phones.sign_in(new_phone())).tokens.refresh
    second = (await refresh(phones.refreshes, first, rotation=True)).refresh
    third = (await refresh(phones.refreshes, second, rotation=True)).refresh
    for token in (first, second, third):
        assert (await refusal_of(refresh(phones.refreshes, token))).http_status == 401


async def test_a_rotation_whose_answer_was_lost_may_be_repeated_at_once(phones: Phones) -> None:
    first = (await phones.sign_in(new_phone())).tokens.refresh
    lost = (await refresh(phones.refreshes, first, rotation=True)).refresh
    phones.clock.forward(seconds=20)
    second = (await refresh(phones.refreshes, first, rotation=True)).refresh
    await refresh(phones.refreshes, second)
    # Whoever has the lost one shows that two parties rotated: both are signed out by the next.
    assert (await refusal_of(refresh(phones.refreshes, lost))).http_status == 401


async def test_a_rotated_token_later_than_that_revokes_the_family(phones: Phones) -> None:
    first = (await phones.sign_in(new_phone())).tokens.refresh
    second = (await refresh(phones.refreshes, first, rotation=True)).refresh
    phones.clock.forward(seconds=31)
    assert (await refusal_of(refresh(phones.refreshes, first))).http_status == 401
    assert (await refusal_of(refresh(phones.refreshes, second))).http_status == 401


async def test_logging_out_ends_this_sign_in_only(phones: Phones) -> None:
    phone = new_phone()
    first, second = [(await phones.sign_in(phone)).tokens.refresh for _ in range(2)]
    await log_out(phones.refreshes, first)
    assert (await refusal_of(refresh(phones.refreshes, first))).http_status == 401
    await refresh(phones.refreshes, second)


async def test_revoking_a_user_ends_every_sign_in(phones: Phones, db: Database) -> None:
    phone = new_phone()
    signed_in = [await phones.sign_in(phone) for _ in range(2)]
    async with db.transaction() as connection:
        await revoke_user(connection, signed_in[0].account.user_id, phones.clock(), "operator")
    for one_of_them in signed_in:
        refused = await refusal_of(refresh(phones.refreshes, one_of_them.tokens.refresh))
        assert refused.http_status == 401


@pytest.mark.parametrize("token", ["", "evpr_x", "a.b.c", "evp_service", "x" * 5000, "токен"])
async def test_what_is_no_refresh_token_is_401(phones: Phones, token: str) -> None:
    assert (await refusal_of(refresh(phones.refreshes, token))).http_status == 401
    await log_out(phones.refreshes, token)


async def test_while_the_database_is_away_no_token_is_called_bad(phones: Phones) -> None:
    token = (await phones.sign_in(new_phone())).tokens.refresh
    away = patient_database("postgresql://evpower@127.0.0.1:9/evpower", wait_limit_s=1)
    with pytest.raises(Unavailable):
        await refresh(replace(phones.refreshes, db=away), token)
    await refresh(phones.refreshes, token)


async def test_a_closed_client_is_refused(phones: Phones, owner: Connection) -> None:
    signed_in = await phones.sign_in(new_phone())
    await owner.execute("update identity.clients set status = 'closed'")
    assert (await refusal_of(refresh(phones.refreshes, signed_in.tokens.refresh))).code == (
        "invalid_token"
    )


async def test_a_blocked_client_stays_signed_in(phones: Phones, owner: Connection) -> None:
    signed_in = await phones.sign_in(new_phone())
    await owner.execute("update identity.clients set status = 'blocked'")
    await refresh(phones.refreshes, signed_in.tokens.refresh)


async def test_a_user_banned_in_auth_is_refused_as_at_the_sign_in(
    phones: Phones, client_id: UUID, owner: Connection
) -> None:
    signed_in = await phones.sign_in(new_phone())
    until = phones.clock() + timedelta(days=1)
    await owner.execute("update identity.clients set banned_until = $1", until)
    for token in (signed_in.tokens.refresh, old_token(phones, str(client_id))):
        for rotation in (False, True):
            refused = await refusal_of(refresh(phones.refreshes, token, rotation=rotation))
            assert (refused.code, refused.http_status) == ("client_blocked", 403)
    phones.clock.forward(days=1)
    for token in (signed_in.tokens.refresh, old_token(phones, str(client_id))):
        await refresh(phones.refreshes, token)


async def test_an_operator_whose_role_ended_is_refused(phones: Phones, db: Database) -> None:
    phone, user = new_phone(), uuid4()
    async with db.transaction() as connection:
        await add_operator(connection, user_id=user, name="Aida", role="support", actor="cli")
        await set_operator_phone(connection, user, phone, actor="cli")
    token = (await phones.sign_in(phone)).tokens.refresh
    tokens = await refresh(phones.refreshes, token)
    assert (tokens.subject.kind, tokens.subject.role) == ("admin", "support")
    async with db.transaction() as connection:
        await remove_operator(connection, user_id=user, actor="cli")
    assert (await refusal_of(refresh(phones.refreshes, token))).http_status == 401


async def test_the_old_backends_refresh_token_goes_on_until_it_ends(
    phones: Phones, client_id: UUID
) -> None:
    token = old_token(phones, str(client_id))
    for _ in range(20):
        tokens = await refresh(phones.refreshes, token)
        assert (await phones.refreshes.verifier.verify(tokens.access)).sub == client_id
    phones.clock.forward(days=8)
    assert (await refusal_of(refresh(phones.refreshes, token))).code == "token_expired"


async def test_an_id_from_before_is_the_clients(
    phones: Phones, client_id: UUID, owner: Connection
) -> None:
    await owner.execute(
        "insert into identity.aliases (kind, alias, client_id) values ('client_id', 'old-7', $1)",
        client_id,
    )
    tokens = await refresh(phones.refreshes, old_token(phones, "old-7"))
    assert tokens.subject.user_id == client_id


async def test_a_logged_out_old_token_is_refused(phones: Phones, client_id: UUID) -> None:
    token = old_token(phones, str(client_id))
    await log_out(phones.refreshes, token)
    assert (await refusal_of(refresh(phones.refreshes, token))).http_status == 401


async def test_old_tokens_of_other_kinds_and_keys_are_refused(
    phones: Phones, client_id: UUID
) -> None:
    now = int(time.time())
    forged = jwt.encode({"sub": str(client_id), "exp": now + 60}, "x" * 32, algorithm="HS256")
    unsigned = jwt.encode({"sub": str(client_id), "exp": now + 60}, "", algorithm="none")
    longer = jwt.encode({"sub": str(client_id), "exp": now + 60}, OLD_SECRET, algorithm="HS384")
    access = old_token(phones, str(client_id), typ="access")
    of_a_client = old_token(phones, str(client_id), typ=None, type="client")
    short = old_token(phones, str(client_id), typ=None, exp=now + 600)
    endless = jwt.encode({"sub": str(client_id)}, OLD_SECRET, algorithm="HS256")
    stranger = old_token(phones, str(uuid4()))
    for token in (forged, unsigned, longer, access, of_a_client, short, endless, stranger):
        assert (await refusal_of(refresh(phones.refreshes, token))).http_status == 401


@pytest.mark.parametrize(
    "claims",
    [{"typ": None, "type": "Refresh"}, {"typ": None, "token_type": "refresh_token"},
     {"type": "client"}, {"typ": None}],
)  # fmt: skip
async def test_an_old_refresh_token_is_known_by_what_it_says_or_by_its_life(
    phones: Phones, client_id: UUID, claims: dict[str, str | None]
) -> None:
    token = old_token(phones, str(client_id), **claims)
    assert (await refresh(phones.refreshes, token)).subject.user_id == client_id
    refused = await refusal_of(phones.refreshes.verifier.verify(token))
    assert refused.code == "invalid_token"


async def test_no_refresh_token_stands_in_the_database(phones: Phones, owner: Connection) -> None:
    token = (await phones.sign_in(new_phone())).tokens.refresh
    rows = await owner.fetch("select t::text from identity.refresh_tokens t")
    assert token not in str(rows)
    assert token.removeprefix("evpr_") not in str(rows)
