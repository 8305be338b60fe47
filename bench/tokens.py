"""Checking access tokens here, beside asking Supabase Auth about each."""

import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from pydantic import SecretStr

from bench.baseline_server import sign_in_users
from bench.harness import Row, in_turn
from bench.rig import Rig
from evpower.foundation.http import HttpClient
from evpower.identity.tokens import TokenVerifier

_SECONDS = 0.8
_TOKENS = 1000
_KID = "bench"
_ISSUER = "https://bench.supabase.test/auth/v1"
_BASELINE = "get_user, one after another"


async def tokens(rig: Rig) -> list[Row]:
    """Checks a second of CPU, of tokens never seen and of tokens seen before."""
    supabase = await rig.supabase()
    user = (await sign_in_users(supabase, "tokens", 1))[0]
    key = ec.generate_private_key(ec.SECP256R1())
    jwk: dict[str, Any] = {
        **ECAlgorithm.to_jwk(key.public_key(), as_dict=True),
        "kid": _KID,
    }
    secret = "s" * 48
    signed = {
        "hs256": [_token(secret, "HS256") for _ in range(_TOKENS)],
        "es256": [_token(key, "ES256") for _ in range(_TOKENS)],
    }
    rows: list[Row] = []
    async with (
        HttpClient(
            transport=httpx.MockTransport(lambda _: httpx.Response(200, json={"keys": [jwk]}))
        ) as keys,
        httpx.AsyncClient(base_url=supabase.url, trust_env=False) as http,
    ):
        headers = {"apikey": supabase.publishable_key, "Authorization": f"Bearer {user.token}"}

        async def get_user() -> float:
            return await _rate_of_get_user(http, headers)

        def verifier(cache_size: int) -> TokenVerifier:
            return TokenVerifier(
                issuer_url=_ISSUER, http=keys, hs256_secret=SecretStr(secret), cache_size=cache_size
            )

        for name, ready in signed.items():
            fresh, cached = (
                verifier(1),
                verifier(_TOKENS),
            )  # one remembered token never helps the next

            async def unseen(fresh: TokenVerifier = fresh, ready: list[str] = ready) -> float:
                return await _checks_per_core_second(fresh, ready)

            async def seen(cached: TokenVerifier = cached, ready: list[str] = ready) -> float:
                return await _checks_per_core_second(cached, ready)

            await seen()  # fills it
            ours, again, theirs = await in_turn(unseen, seen, get_user, rounds=3)
            rows.append(Row(f"tokens_{name}", ours, "checks/core-s", _BASELINE, theirs))
            rows.append(Row(f"tokens_{name}_cached", again, "checks/core-s", _BASELINE, theirs))
    return rows


def _token(key: str | ec.EllipticCurvePrivateKey, algorithm: str) -> str:
    now, user = int(time.time()), str(uuid4())
    claims = {
        "iss": _ISSUER, "sub": user, "aud": "authenticated", "exp": now + 3600, "iat": now,
        "email": f"{user}@bench.test", "phone": "", "role": "authenticated", "aal": "aal1",
        "app_metadata": {"provider": "email", "providers": ["email"]},
        "user_metadata": {"email_verified": True, "phone": "+996700000000"},
        "amr": [{"method": "password", "timestamp": now}],
        "session_id": str(uuid4()), "is_anonymous": False,
    }  # fmt: skip
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": _KID})


async def _checks_per_core_second(verifier: TokenVerifier, ready: Sequence[str]) -> float:
    done, began = 0, time.process_time()
    while (spent := time.process_time() - began) < _SECONDS:
        for token in ready:
            await verifier.verify(token)
            done += 1
    return done / spent


async def _rate_of_get_user(http: httpx.AsyncClient, headers: dict[str, str]) -> float:
    done, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < _SECONDS:
        (await http.get("/auth/v1/user", headers=headers)).raise_for_status()
        done += 1
    return done / spent
