"""EvPower's own access tokens, and the old backend's, are accepted beside Supabase's."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.identity import Access
from evpower.identity.issued_tokens import VERIFIES_AFTER, OwnKeys
from evpower.identity.sign_in import store_keys
from evpower.identity.sign_in.issuer import ACCESS_LIFETIME, KeyBox, sign
from evpower.identity.sign_in.keys import TokenIssuer, rotate_signing_key
from evpower.identity.sign_in.signing_keys import Subject
from evpower.identity.tokens import TokenVerifier
from tests.conftest import patient_database
from tests.identity.sign_in.conftest import OLD_SECRET, SECRET, Phones, new_phone, refusal_of


async def a_token(phones: Phones, db: Database, **changes: Any) -> str:
    async with db.transaction() as connection:
        subject = Subject(uuid4(), "client", "+996555123456")
        return await phones.calls.issuer.access_token(connection, replace(subject, **changes))


async def signed_by(db: Database, phones: Phones, key: Any, kid: str, **changes: Any) -> str:
    token = await a_token(phones, db)
    claims = jwt.decode(token, options={"verify_signature": False}) | changes
    claims = {name: value for name, value in claims.items() if value is not ...}
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": kid})


async def rotate(db: Database, phones: Phones, *, revoke_older: bool = False) -> str:
    async with db.transaction() as connection:
        key = await rotate_signing_key(
            connection, SECRET, actor="cli", now=phones.clock(), revoke_older=revoke_older
        )
    return key.kid


async def test_a_token_has_the_claims_that_the_app_reads(phones: Phones) -> None:
    phone = new_phone()
    signed_in = await phones.sign_in(phone)
    claims = jwt.decode(signed_in.tokens.access, options={"verify_signature": False})
    assert claims["sub"] == str(signed_in.account.user_id)
    assert (claims["type"], claims["phone"]) == ("client", phone)
    assert claims["exp"] - claims["iat"] == 900
    assert (claims["iss"], claims["aud"]) == ("evpower", "evpower-app")


async def test_a_token_is_accepted_until_it_ends(phones: Phones, db: Database) -> None:
    user = uuid4()
    token = await a_token(phones, db, user_id=user)
    claims = await phones.refreshes.verifier.verify(token)
    assert (claims.sub, claims.issuer, claims.is_admin) == (user, "evpower", False)
    phones.clock.forward(minutes=16)
    assert (await refusal_of(phones.refreshes.verifier.verify(token))).code == "token_expired"


async def test_only_tokens_for_evpowers_apps_are_accepted(phones: Phones, db: Database) -> None:
    await a_token(phones, db)
    async with db.connection() as connection:
        (stored,) = await store_keys.usable_keys(connection)
    signer = KeyBox(SECRET).open(stored)
    assert signer is not None
    for changes in (
        {"iss": "other"}, {"aud": "other"}, {"type": "refresh"}, {"sub": "x"}, {"exp": ...},
        {"exp": 0}, {"iat": 4_000_000_000},
    ):  # fmt: skip
        token = await signed_by(db, phones, signer.key, signer.kid, **changes)
        assert (await refusal_of(phones.refreshes.verifier.verify(token))).http_status == 401


async def test_a_foreign_key_under_our_id_is_refused(phones: Phones, db: Database) -> None:
    await a_token(phones, db)
    async with db.connection() as connection:
        (stored,) = await store_keys.usable_keys(connection)
    foreign = ec.generate_private_key(ec.SECP256R1())
    token = await signed_by(db, phones, foreign, stored.kid)
    assert (await refusal_of(phones.refreshes.verifier.verify(token))).code == "invalid_token"


async def test_an_unknown_key_is_401_only_after_the_keys_were_read(
    phones: Phones, db: Database, http: httpx.AsyncClient
) -> None:
    foreign = ec.generate_private_key(ec.SECP256R1())
    token = await signed_by(db, phones, foreign, "evpower-aaaaaaaaaaaa")
    assert (await refusal_of(phones.refreshes.verifier.verify(token))).http_status == 401
    away = patient_database("postgresql://evpower@127.0.0.1:9/evpower", wait_limit_s=1)
    verifier = TokenVerifier(
        issuer_url="https://project.supabase.co/auth/v1",
        http=http,
        own=OwnKeys(away, phones.clock),
    )
    with pytest.raises(Unavailable):
        await verifier.verify(await a_token(phones, db))


async def test_a_new_key_is_found_at_once_and_the_old_one_verifies_for_an_hour(
    phones: Phones, db: Database
) -> None:
    verifier = phones.refreshes.verifier
    before = await a_token(phones, db)
    await verifier.verify(before)
    phones.clock.forward(seconds=2)
    kid = await rotate(db, phones)
    after = await a_token(phones, db)
    assert jwt.get_unverified_header(after)["kid"] == kid
    await verifier.verify(after)
    verifier.flush()
    await verifier.verify(before)
    phones.clock.forward(hours=2)
    late = await a_token(phones, db)
    await verifier.verify(late)
    async with db.connection() as connection:
        stored = {key.kid: key for key in await store_keys.usable_keys(connection)}
    old = KeyBox(SECRET).open(stored[jwt.get_unverified_header(before)["kid"]])
    assert old is not None
    phones.clock.forward(seconds=2)
    forged = sign(old, Subject(uuid4(), "client", ""), phones.clock())  # with a key that leaked
    assert (await refusal_of(verifier.verify(forged))).http_status == 401


async def test_tokens_of_a_revoked_key_are_refused_within_a_minute(
    phones: Phones, db: Database
) -> None:
    verifier = phones.refreshes.verifier
    token = await a_token(phones, db)
    await verifier.verify(token)
    await rotate(db, phones, revoke_older=True)
    phones.clock.forward(seconds=61)
    await verifier.verify(await a_token(phones, db))  # reads the keys
    phones.clock.forward(seconds=2)
    assert (await refusal_of(verifier.verify(token))).http_status == 401


async def test_two_processes_make_one_first_key(phones: Phones, db: Database) -> None:
    async def first(issuer: TokenIssuer) -> str:
        async with db.transaction() as connection:
            token = await issuer.access_token(connection, Subject(uuid4(), "client", ""))
        return jwt.get_unverified_header(token)["kid"]

    kids = await asyncio.gather(*(first(TokenIssuer(SECRET, phones.clock)) for _ in range(4)))
    assert len(set(kids)) == 1


async def test_another_secret_signs_nothing_and_says_so(phones: Phones, db: Database) -> None:
    await a_token(phones, db)
    other = TokenIssuer("another secret of the tests, long enough too", phones.clock)
    async with db.transaction() as connection:
        refused = await refusal_of(other.access_token(connection, Subject(uuid4(), "client", "")))
    assert (refused.http_status, refused.code) == (503, "sign_in_unavailable")
    assert "rotate" in refused.cause


async def test_no_private_key_stands_in_the_database(
    phones: Phones, db: Database, owner: Connection
) -> None:
    await a_token(phones, db)
    stored = await owner.fetchrow("select kid, private_key from identity.signing_keys")
    assert stored is not None
    assert b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01" not in stored["private_key"]  # ecPublicKey


def old_access(phones: Phones, sub: str, **claims: Any) -> str:
    now = int(phones.clock().timestamp())
    payload = {"sub": sub, "type": "client", "iat": now, "exp": now + 600, **claims}
    return jwt.encode(payload, OLD_SECRET, algorithm="HS256")


async def test_the_old_backends_access_token_is_the_clients_until_it_ends(
    phones: Phones, client_id: UUID
) -> None:
    access = Access(phones.calls.db, phones.refreshes.verifier, clock=phones.clock)
    token = old_access(phones, str(client_id))
    assert (await access.client_of_token(token)).sub == client_id
    phones.clock.forward(minutes=11)
    assert (await refusal_of(access.client_of_token(token))).code == "token_expired"


async def test_the_old_backends_refresh_token_opens_nothing_by_itself(
    phones: Phones, client_id: UUID
) -> None:
    access = Access(phones.calls.db, phones.refreshes.verifier, clock=phones.clock)
    for claims in ({"typ": "refresh"}, {"type": "refresh"}):
        token = old_access(phones, str(client_id), **claims)
        assert (await refusal_of(access.client_of_token(token))).code == "invalid_token"


async def test_an_old_token_of_a_client_that_was_not_imported_is_refused(phones: Phones) -> None:
    access = Access(phones.calls.db, phones.refreshes.verifier, clock=phones.clock)
    refused = await refusal_of(access.client_of_token(old_access(phones, str(uuid4()))))
    assert refused.code == "invalid_token"


async def test_a_secret_that_both_sign_with_tells_them_apart_by_the_issuer(
    phones: Phones, client_id: UUID, http: httpx.AsyncClient
) -> None:
    verifier = TokenVerifier(
        issuer_url="https://project.supabase.co/auth/v1",
        http=http,
        hs256_secret=SecretStr(OLD_SECRET),
        old_secret=SecretStr(OLD_SECRET),
        clock=phones.clock,
    )
    assert (await verifier.verify(old_access(phones, str(client_id)))).issuer == "old"
    supabase = old_access(
        phones,
        str(client_id),
        iss="https://project.supabase.co/auth/v1",
        aud="authenticated",
        role="authenticated",
    )
    assert (await verifier.verify(supabase)).issuer == "supabase"


def test_a_short_old_secret_is_refused(http: httpx.AsyncClient) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        TokenVerifier(issuer_url="https://x", http=http, old_secret=SecretStr("short"))


async def test_a_key_verifies_no_longer_than_its_tokens_need(phones: Phones, db: Database) -> None:
    assert ACCESS_LIFETIME + timedelta(minutes=2) < VERIFIES_AFTER
    await a_token(phones, db)
