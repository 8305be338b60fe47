"""Supabase Auth answers one byte at a time, or never: what waited is answered once it is well."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import jwt
import pytest
from pydantic import SecretStr

from evpower.devstack.supabase.server import LocalSupabase
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.http import HttpClient, HttpResponse
from evpower.identity import SupabaseAdmin
from evpower.identity.jobs import converge_registrations
from evpower.identity.register import register
from evpower.identity.tokens import TokenVerifier
from tests.faults.hostile_server import NEVER_ENDING as NEVER_ENDING_ANSWERS
from tests.faults.hostile_server import HostileServer, closes_after, whole
from tests.faults.proxy import GIVE_UP_S, NEVER_ENDING, Fault, FaultProxy, HttpThrough
from tests.identity.conftest import Clock
from tests.identity.test_register import a_registration
from tests.identity.test_tokens import EC_JWK, EC_KEY, ISSUER, SUB
from tests.waiting import WAIT_LIMIT_S


class Impatient(HttpClient):
    """Gives up soon until the other side is well."""

    is_well = False

    async def fetch(self, *args: Any, timeout_s: float, **options: Any) -> HttpResponse:
        del timeout_s
        total_s = WAIT_LIMIT_S if self.is_well else GIVE_UP_S
        return await super().fetch(*args, timeout_s=total_s, **options)


def new_token(clock: Clock) -> str:
    now = int(clock().timestamp())
    claims = {
        "iss": ISSUER, "sub": str(SUB), "aud": "authenticated", "role": "authenticated",
        "iat": now, "exp": now + 3600, "jti": str(uuid4()),
    }  # fmt: skip
    return jwt.encode(claims, EC_KEY, "ES256", headers={"kid": "ec-1"})


@pytest.mark.parametrize("how", NEVER_ENDING_ANSWERS)
async def test_new_tokens_are_accepted_after_keys_that_never_arrived(
    how: str, clock: Clock
) -> None:
    async with HostileServer(NEVER_ENDING_ANSWERS[how]) as server, Impatient() as http:
        verifier = TokenVerifier(issuer_url=ISSUER, jwks_url=server.url, http=http, clock=clock)

        async def verify() -> object:
            return await verifier.verify(new_token(clock))

        async with asyncio.timeout(WAIT_LIMIT_S):
            ended = await asyncio.gather(*(verify() for _ in range(20)), return_exceptions=True)
        assert all(isinstance(result, Unavailable) for result in ended), ended
        assert server.requests <= 1
        server.answer = closes_after(whole(json.dumps({"keys": [EC_JWK]}).encode()))
        http.is_well = True
        clock.forward(seconds=15)
        assert len(await asyncio.gather(*(verify() for _ in range(20)))) == 20


@pytest.mark.parametrize("how", NEVER_ENDING_ANSWERS)
async def test_known_keys_serve_while_newer_ones_never_arrive(how: str, clock: Clock) -> None:
    right = closes_after(whole(json.dumps({"keys": [EC_JWK]}).encode()))
    async with HostileServer(right) as server, Impatient() as http:
        verifier = TokenVerifier(issuer_url=ISSUER, jwks_url=server.url, http=http, clock=clock)
        http.is_well = True
        await verifier.verify(new_token(clock))
        server.answer, http.is_well = NEVER_ENDING_ANSWERS[how], False
        for minutes in (11, 30, 60):
            clock.forward(minutes=minutes)
            async with asyncio.timeout(WAIT_LIMIT_S):
                assert (await verifier.verify(new_token(clock))).sub == SUB


@pytest.mark.parametrize("silent", [1, 2, 3])
@pytest.mark.parametrize("fault", sorted(NEVER_ENDING, key=lambda fault: fault.value))
async def test_a_registration_ends_and_begins_again_under_one_id(
    fault: Fault, silent: int, db: Database, supabase: LocalSupabase, clock: Clock,
    owner: Connection,
) -> None:  # fmt: skip
    async with FaultProxy(supabase.url) as proxy, HttpThrough(proxy) as http:
        admin = SupabaseAdmin(
            http=http,
            url=proxy.url,
            secret_key=SecretStr(supabase.secret_key),
            publishable_key=supabase.publishable_key,
        )
        registration = a_registration()
        proxy.plan = [fault] * silent
        try:
            async with asyncio.timeout(WAIT_LIMIT_S):
                await register(db, admin, registration, confirm="auto", clock=clock)
        except Unavailable:
            proxy.plan = []
            client, _ = await register(db, admin, registration, confirm="auto", clock=clock)
            assert client.email == registration.email
        proxy.plan = []
        clock.forward(minutes=20)
        await converge_registrations(db, admin, clock)
        ids = await owner.fetch("select client_id, state from identity.registrations")
        assert [row["state"] for row in ids] == ["done"]
        assert await owner.fetchval("select id from identity.clients") == ids[0]["client_id"]
        assert (await admin.get_user(ids[0]["client_id"])) is not None
