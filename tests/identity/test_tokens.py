"""Only tokens of this project's users are accepted, without a call of Supabase for each token."""

import asyncio
import base64
import gc
import json
import sys
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from evpower.foundation.errors import Forbidden, Invalid, Unauthenticated, Unavailable
from evpower.identity.tokens import TokenVerifier
from tests.identity.conftest import Answer, Clock, Edge, Request
from tests.waiting import until

SECRET = "a-legacy-secret-of-more-than-32-bytes"
OLD_SECRET = "the-legacy-secret-before-that-one-....."
ISSUER = "https://project.supabase.co/auth/v1"
SUB = uuid4()
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def public(key: Any, kid: str, alg: str) -> dict[str, Any]:
    algorithm: Any = jwt.get_algorithm_by_name(alg)
    jwk = json.loads(algorithm.to_jwk(key.public_key()))
    return {**jwk, "kid": kid, "alg": alg, "use": "sig", "key_ops": ["verify"]}


EC_JWK = public(EC_KEY, "ec-1", "ES256")
RSA_JWK = public(RSA_KEY, "rsa-1", "RS256")


class Project:
    """A Supabase project's signing keys behind the edge, and a verifier of its tokens."""

    def __init__(self, edge: Edge, http: httpx.AsyncClient, clock: Clock) -> None:
        self.keys: list[dict[str, Any]] = [EC_JWK, RSA_JWK]
        self.down = False
        self.edge = edge
        self.clock = clock
        self.verifier = self.new_verifier(http)
        edge.respond = self._respond

    def new_verifier(self, http: httpx.AsyncClient, **options: Any) -> TokenVerifier:
        return TokenVerifier(
            issuer_url=ISSUER,
            jwks_url=f"{self.edge.url}/jwks.json",
            http=http,
            clock=self.clock,
            **{"hs256_secret": SecretStr(SECRET), **options},
        )

    async def _respond(self, _: Request) -> Answer:
        return (503, b"down") if self.down else (200, json.dumps({"keys": self.keys}).encode())

    @property
    def fetches(self) -> int:
        return len(self.edge.requests)

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(self.clock().timestamp())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": str(SUB),
            "aud": "authenticated",
            "role": "authenticated",
            "iat": now,
            "exp": now + 3600,
            "email": "Driver@Example.KG",
            "phone": "996555123456",
            "app_metadata": {"provider": "email"},
            "user_metadata": {"name": "Aida"},
        }
        claims.update(changes)
        return {name: value for name, value in claims.items() if value is not ...}

    def token(
        self,
        *,
        key: Any = EC_KEY,
        alg: str = "ES256",
        kid: str | None = "ec-1",
        headers: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        all_headers = {**({"kid": kid} if kid else {}), **(headers or {})}
        return jwt.encode(self.claims(**changes), key, alg, headers=all_headers)

    def hs256(self, secret: str = SECRET, **changes: Any) -> str:
        return self.token(key=secret, alg="HS256", kid=None, **changes)

    async def refusal(self, token: str) -> str:
        with pytest.raises(Unauthenticated) as caught:
            await self.verifier.verify(token)
        return caught.value.code


@pytest.fixture
def project(edge: Edge, http: httpx.AsyncClient, clock: Clock) -> Project:
    return Project(edge, http, clock)


async def test_es256_rs256_and_hs256_tokens_are_good(project: Project) -> None:
    tokens = [
        project.token(),
        project.token(key=RSA_KEY, alg="RS256", kid="rsa-1"),
        project.hs256(),
        project.token(aud=["other", "authenticated"]),
    ]
    for token in tokens:
        claims = await project.verifier.verify(token)
        assert claims.sub == SUB
        assert (claims.profile.email, claims.profile.phone) == (
            "driver@example.kg",
            "+996555123456",
        )
        assert claims.profile.name == "Aida"
        assert claims.app_metadata == {"provider": "email"}
        assert claims.expires_at.timestamp() == project.clock().timestamp() + 3600
    assert project.fetches == 1


async def test_hs256_needs_no_jwks_and_the_previous_secret_is_accepted(
    project: Project, http: httpx.AsyncClient
) -> None:
    project.down = True
    verifier = project.new_verifier(http, previous_hs256_secrets=[SecretStr(OLD_SECRET)])
    for secret in (SECRET, OLD_SECRET):
        assert (await verifier.verify(project.hs256(secret))).sub == SUB
    assert project.fetches == 0


async def test_hs256_is_refused_without_a_secret(project: Project, http: httpx.AsyncClient) -> None:
    project.verifier = project.new_verifier(http, hs256_secret=SecretStr(""))
    assert await project.refusal(project.hs256()) == "invalid_token"
    assert await project.refusal(project.hs256("x" * 40)) == "invalid_token"


def test_short_secret_is_refused(project: Project, http: httpx.AsyncClient) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        project.new_verifier(http, hs256_secret=SecretStr("short"))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://other.supabase.co/auth/v1"},
        {"iss": ...},
        {"aud": "anon"},
        {"aud": ["anon"]},
        {"aud": ...},
        {"role": "service_role"},
        {"role": "anon"},
        {"role": ...},
        {"sub": "driver-7"},
        {"sub": "00000000-0000-0000-0000-000000000000"},
        {"sub": "{" + str(SUB) + "}"},
        {"sub": SUB.hex},
        {"sub": ...},
        {"exp": ...},
        {"exp": True},
        {"exp": 10**15},
        {"iat": -1},
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused(
    project: Project, changes: dict[str, Any]
) -> None:
    # jwt.encode refuses some of these itself, so the payload is signed as bytes.
    payload = json.dumps(project.claims(**changes)).encode()
    token = jwt.PyJWS().encode(payload, EC_KEY, "ES256", headers={"kid": "ec-1"})
    assert await project.refusal(token) == "invalid_token"


async def test_expiry_and_beginning_have_30_seconds_of_leeway(project: Project) -> None:
    now = int(project.clock().timestamp())
    assert await project.verifier.verify(project.token(exp=now - 29))
    assert await project.refusal(project.token(exp=now - 30)) == "token_expired"
    for name in ("iat", "nbf"):
        assert await project.verifier.verify(project.token(**{name: now + 30}))
        assert await project.refusal(project.token(**{name: now + 31})) == "invalid_token"


async def test_expired_token_of_another_project_is_just_invalid(project: Project) -> None:
    token = project.token(exp=1, iat=0, iss="https://other.supabase.co/auth/v1")
    assert await project.refusal(token) == "invalid_token"


async def test_wrong_key_is_refused(project: Project) -> None:
    assert await project.refusal(project.token(key=OTHER_EC_KEY)) == "invalid_token"
    assert (
        await project.refusal(project.hs256("another-secret-of-more-than-32-bytes!"))
        == "invalid_token"
    )


async def test_algorithm_is_the_keys_and_not_the_tokens(project: Project) -> None:
    pem = EC_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for secret in (pem, json.dumps(EC_JWK).encode(), EC_JWK["x"].encode()):
        assert await project.refusal(hmac_token(project, secret, kid="ec-1")) == "invalid_token"
    for alg, kid in (("ES256", "rsa-1"), ("RS256", "ec-1")):
        key = EC_KEY if alg == "ES256" else RSA_KEY
        assert await project.refusal(project.token(key=key, alg=alg, kid=kid)) == "invalid_token"
    for alg, key in (("PS256", RSA_KEY), ("RS512", RSA_KEY)):
        assert (
            await project.refusal(project.token(key=key, alg=alg, kid="rsa-1")) == "invalid_token"
        )


def hmac_token(project: Project, secret: bytes, kid: str) -> str:
    """Sign as an attacker would; PyJWT itself refuses public keys as secrets."""
    algorithm: Any = jwt.get_algorithm_by_name("HS256")
    head = part({"alg": "HS256", "typ": "JWT", "kid": kid})
    signed = f"{head}.{part(project.claims())}"
    signature = algorithm.sign(signed.encode(), secret)
    return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


async def test_unsigned_token_is_refused(project: Project) -> None:
    body = part(project.claims())
    for alg in ("none", "None", "NONE", "", None, 7, ["ES256"], {"a": 1}):
        for kid in ("ec-1", None):
            head = part({"alg": alg, "typ": "JWT", "kid": kid})
            assert await project.refusal(f"{head}.{body}.") == "invalid_token"
            assert await project.refusal(f"{head}.{body}.AA") == "invalid_token"


async def test_critical_extension_is_refused(project: Project) -> None:
    for crit in (["b64"], ["exp"], [], "b64", None):
        head = part({"alg": "ES256", "kid": "ec-1", "crit": crit, "b64": False})
        assert await project.refusal(f"{head}.{part(project.claims())}.AA") == "invalid_token"


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "..",
        "é.é.é",
        "a b.c.d",
        "eyJhbGciOiJFUzI1NiJ9.!!!.???",
        "W10.W10.W10",
        "eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjLTEifQ.bm90IGpzb24.AAAA",
        "null",
        "a.b.c\n",
        "' or 1=1 --",
        "A" * 8192,
    ],
)
async def test_garbage_is_refused(project: Project, token: str) -> None:
    assert await project.refusal(token) == "invalid_token"
    assert project.fetches <= 1


async def test_no_token_is_missing(project: Project) -> None:
    assert await project.refusal("") == "missing_token"


async def test_payload_that_is_no_object_is_refused(project: Project) -> None:
    for payload in (b"[]", b"7", b'"text"', b"{", b"\xff", b"{}"):
        token = jwt.PyJWS().encode(payload, EC_KEY, "ES256", headers={"kid": "ec-1"})
        assert await project.refusal(token) == "invalid_token"


async def outcome(project: Project, token: str) -> str:
    try:
        await project.verifier.verify(token)
    except (Unauthenticated, Unavailable) as error:
        return f"{error.http_status} {error.code} {error.retry_after_s}"
    return "good"


async def test_right_after_a_rotation_good_tokens_are_never_401(project: Project) -> None:
    await project.verifier.verify(project.token())
    project.clock.forward(seconds=2)
    project.keys.append(public(OTHER_EC_KEY, "ec-2", "ES256"))
    token = project.token(key=OTHER_EC_KEY, kid="ec-2")
    assert await outcome(project, token) == "503 auth_unavailable 3"
    project.clock.forward(seconds=1)
    assert await outcome(project, token) == "503 auth_unavailable 2"
    assert project.fetches == 1
    project.clock.forward(seconds=2)
    assert await outcome(project, token) == "good"
    assert project.fetches == 2


async def test_a_kid_that_is_missing_in_a_later_set_is_401(project: Project) -> None:
    await project.verifier.verify(project.token())
    made_up = project.token(kid="made-up")
    assert await outcome(project, made_up) == "503 auth_unavailable 5"
    project.clock.forward(seconds=5)
    assert await outcome(project, made_up) == "401 invalid_token None"
    for second in range(4):
        project.clock.forward(seconds=1)
        assert await outcome(project, made_up) == "401 invalid_token None", second
    assert project.fetches == 2


async def test_after_a_while_a_first_token_of_a_new_key_is_good_at_once(project: Project) -> None:
    await project.verifier.verify(project.token())
    project.keys.append(public(OTHER_EC_KEY, "ec-2", "ES256"))
    project.clock.forward(seconds=5)
    assert await outcome(project, project.token(key=OTHER_EC_KEY, kid="ec-2")) == "good"
    assert project.fetches == 2


async def test_a_flood_of_made_up_kids_causes_one_read_per_5_s_and_affects_no_driver(
    project: Project,
) -> None:
    await project.verifier.verify(project.token())
    project.keys.append(public(OTHER_EC_KEY, "ec-2", "ES256"))
    rotated = 0
    for second in range(60):
        flood = [outcome(project, project.token(kid=f"no-{second}-{n}")) for n in range(20)]
        drivers = [outcome(project, project.token(session_id=f"{second}-{n}")) for n in range(3)]
        flooded, served = await asyncio.gather(asyncio.gather(*flood), asyncio.gather(*drivers))
        assert set(served) == {"good"}
        assert {result[:3] for result in flooded} <= {"401", "503"}
        newest = await outcome(
            project, project.token(key=OTHER_EC_KEY, kid="ec-2", session_id=str(second))
        )
        assert newest[:3] != "401"
        rotated += newest == "good"
        project.clock.forward(seconds=1)
    assert rotated >= 55
    assert project.fetches == 1 + 12 - 1
    unknown = project.verifier._jwks._unknown
    assert all(unknown.get(kid) is not None for kid in ("ec-2", "no-0-0", "no-59-19"))


async def test_the_memory_of_made_up_kids_is_bounded(project: Project) -> None:
    project.verifier._jwks._unknown._size = 10
    await project.verifier.verify(project.token())
    for n in range(100):
        assert await outcome(project, project.token(kid=f"no-{n}")) == "503 auth_unavailable 5"
    assert len(project.verifier._jwks._unknown) == 10
    assert await outcome(project, project.token(kid="k" * 256)) == "401 invalid_token None"
    assert len(project.verifier._jwks._unknown) == 10


async def test_while_auth_is_down_a_new_key_is_503_and_known_ones_are_good(
    project: Project,
) -> None:
    await project.verifier.verify(project.token())
    project.down = True
    for n in range(20):
        project.clock.forward(seconds=1)
        assert (await outcome(project, project.token(kid="ec-2")))[:3] == "503"
        assert await outcome(project, project.token(session_id=str(n))) == "good"
    assert project.fetches == 1 + 4
    project.down = False
    project.clock.forward(seconds=5)
    assert await outcome(project, project.token(kid="ec-2")) == "401 invalid_token None"


async def test_a_set_requested_before_the_kid_arrived_does_not_refuse_it(
    project: Project,
) -> None:
    """Supabase may have sent it before the key was created."""
    await project.verifier.verify(project.token())
    project.clock.forward(minutes=11)
    proceed = asyncio.Event()

    async def slow(_: Request) -> Answer:
        await proceed.wait()
        return 200, json.dumps({"keys": [EC_JWK]}).encode()

    project.edge.respond = slow
    await project.verifier.verify(project.token())  # starts a read in the background
    await until(lambda: project.fetches == 2)
    late = asyncio.create_task(outcome(project, project.token(kid="ec-2")))
    await asyncio.sleep(0)
    proceed.set()
    assert (await late)[:3] == "503"


async def test_a_missing_key_is_looked_up_again(project: Project) -> None:
    """A cached copy of the set may be old, so a missing key is looked up again."""
    await project.verifier.verify(project.token())
    project.clock.forward(seconds=5)
    token = project.token(key=OTHER_EC_KEY, kid="ec-2")
    assert await outcome(project, token) == "401 invalid_token None"
    project.keys.append(public(OTHER_EC_KEY, "ec-2", "ES256"))
    project.clock.forward(seconds=5)
    assert await outcome(project, token) == "good"


async def test_a_token_over_8_kib_is_too_large_whatever_it_holds(project: Project) -> None:
    fits = project.hs256(user_metadata={"bio": "x" * 5_000})
    assert len(fits) < 8192
    assert await project.verifier.verify(fits)
    for token in (project.hs256(user_metadata={"bio": "x" * 6_500}), "A" * 8193, "a.b.c" * 2_000):
        with pytest.raises(Invalid) as caught:
            await project.verifier.verify(token)
        assert (caught.value.code, caught.value.http_status) == ("token_too_large", 431)
        assert "8192 bytes" in caught.value.detail


async def test_an_anonymous_user_is_no_client_unless_settings_allow_it(
    project: Project, http: httpx.AsyncClient
) -> None:
    token = project.token(is_anonymous=True, email="")
    for _ in range(2):
        with pytest.raises(Forbidden) as caught:
            await project.verifier.verify(token)
        assert caught.value.code == "anonymous_user"
    assert project.verifier.cached == 0
    assert not (await project.verifier.verify(project.token(is_anonymous=False))).is_anonymous
    allowing = project.new_verifier(http, allow_anonymous=True)
    assert (await allowing.verify(token)).is_anonymous


async def test_many_first_callers_share_one_fetch(project: Project) -> None:
    tokens = [project.token(session_id=str(n)) for n in range(30)]
    claims = await asyncio.gather(*(project.verifier.verify(token) for token in tokens))
    assert {claim.sub for claim in claims} == {SUB}
    assert project.fetches == 1


async def test_the_last_good_keys_serve_while_auth_is_down(project: Project) -> None:
    await project.verifier.verify(project.token())
    project.down = True
    for hour in range(1, 6):
        project.clock.forward(hours=1)
        token = project.token(session_id=f"in hour {hour}")
        assert (await project.verifier.verify(token)).sub == SUB
    assert 2 <= project.fetches <= 1 + 2 * 5


async def test_first_fetch_failing_is_auth_unavailable_and_recovers(project: Project) -> None:
    project.down = True
    for _ in range(50):
        with pytest.raises(Unavailable) as caught:
            await project.verifier.verify(project.token())
        assert (caught.value.code, caught.value.http_status) == ("auth_unavailable", 503)
    assert project.fetches == 1
    project.down = False
    project.clock.forward(seconds=5)
    assert (await project.verifier.verify(project.token())).sub == SUB


async def test_nonsense_from_auth_changes_nothing(project: Project) -> None:
    await project.verifier.verify(project.token())
    answers: list[Answer] = [(200, b"<html>"), (200, b"[]"), (200, b'{"keys":7}'), (302, b""), None]
    for n, answer in enumerate([*answers, (200, b" " * 70_000)]):

        async def nonsense(_: Request, answer: Answer = answer) -> Answer:
            return answer

        project.edge.respond = nonsense
        project.clock.forward(minutes=21)
        assert (await project.verifier.verify(project.token(session_id=str(n)))).sub == SUB


async def test_unusable_keys_are_left_out(project: Project) -> None:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - the point
    p384 = ec.generate_private_key(ec.SECP384R1())
    project.keys += [
        {},
        {
            "kid": "oct",
            "kty": "oct",
            "k": base64.urlsafe_b64encode(b"x" * 40).decode(),
            "alg": "HS256",
        },
        {**EC_JWK, "kid": "enc", "use": "enc"},
        {**EC_JWK, "kid": "use", "use": "wrap"},
        {**EC_JWK, "kid": "alg", "alg": "RS256"},
        {**EC_JWK, "kid": "bad", "x": "!"},
        {**EC_JWK, "kid": 7},
        {**EC_JWK, "kid": "kty", "kty": ["EC"]},
        public(weak, "weak", "RS256"),
        public(p384, "p384", "ES384"),
    ]
    project.keys.append("nonsense")  # type: ignore[arg-type]
    assert (await project.verifier.verify(project.token())).sub == SUB
    for kid in ("enc", "use", "alg", "bad", "kty"):
        project.clock.forward(seconds=5)
        assert await project.refusal(project.token(kid=kid)) == "invalid_token"
    assert (
        await project.refusal(project.token(key=p384, alg="ES384", kid="p384")) == "invalid_token"
    )
    assert await project.refusal(hmac_token(project, b"x" * 40, "oct")) == "invalid_token"


async def test_a_cached_token_ends_with_its_exp(project: Project) -> None:
    token = project.token(exp=int(project.clock().timestamp()) + 60)
    await project.verifier.verify(token)
    assert project.verifier.cached == 1
    project.clock.forward(seconds=91)
    assert await project.refusal(token) == "token_expired"
    assert project.verifier.cached == 0


@pytest.mark.parametrize("kid", ["ec-1", "ec-2"])
async def test_a_cached_token_ends_with_its_key(project: Project, kid: str) -> None:
    """Whether the new key has another kid or the same."""
    token = project.token(exp=int(project.clock().timestamp()) + 86_400)
    await project.verifier.verify(token)
    project.keys = [public(OTHER_EC_KEY, kid, "ES256"), RSA_JWK]
    project.clock.forward(minutes=11)
    await project.verifier.verify(token)  # cached, and the keys are read in the background
    await until(lambda: project.verifier.cached == 0)
    assert await project.refusal(token) == "invalid_token"


async def test_a_new_key_beside_the_old_one_clears_no_cache(project: Project) -> None:
    await project.verifier.verify(project.token())
    project.keys.append(public(OTHER_EC_KEY, "ec-2", "ES256"))
    project.clock.forward(minutes=21)
    await project.verifier.verify(project.token(key=OTHER_EC_KEY, kid="ec-2"))
    assert project.verifier.cached == 2


async def test_flush_reads_the_keys_again(project: Project) -> None:
    token = project.token()
    await project.verifier.verify(token)
    project.keys = [RSA_JWK]
    project.verifier.flush()
    assert await project.refusal(token) == "invalid_token"


async def test_the_token_cache_is_bounded_and_keeps_the_used_ones(
    project: Project, http: httpx.AsyncClient
) -> None:
    verifier = project.new_verifier(http, cache_size=3)
    first = project.hs256(session_id="first")
    cached = await verifier.verify(first)
    for n in range(10):
        await verifier.verify(project.hs256(session_id=str(n)))
        assert await verifier.verify(first) is cached
    assert verifier.cached == 3


async def test_metadata_is_read_with_care(project: Project) -> None:
    odd: list[Any] = [
        {"name": "  A\u0000i\nda ", "phone": "0555 123456"},
        {"name": 7, "full_name": "Aida", "phone": ["x"]},
        "text",
        None,
    ]
    profiles = [
        (await project.verifier.verify(project.hs256(user_metadata=data, phone=""))).profile
        for data in odd
    ]
    assert [(profile.name, profile.phone) for profile in profiles] == [
        ("A i da", "+996555123456"),
        ("Aida", None),
        (None, None),
        (None, None),
    ]
    marked = project.hs256(app_metadata={"evpower_email_unverified": True})
    assert (await project.verifier.verify(marked)).email_confirmed is False
    claimed = project.hs256(user_metadata={"email_verified": True}, app_metadata=None)
    assert (await project.verifier.verify(claimed)).email_confirmed is None


async def test_the_check_of_a_cached_token_is_cheap(project: Project) -> None:
    """Measured in function calls, which are the same on every machine."""
    token = project.hs256()

    async def calls() -> int:
        made = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal made
            made += event in {"call", "c_call"}

        gc.disable()  # its calls must not be counted
        sys.setprofile(count)
        try:
            await project.verifier.verify(token)
        finally:
            sys.setprofile(None)
            gc.enable()
        return made

    first, again = await calls(), await calls()
    assert again <= 30 < first / 10, (first, again)


async def test_tokens_of_the_local_supabase_are_accepted(
    supabase: Any, http: httpx.AsyncClient
) -> None:
    answer = await http.post(
        f"{supabase.url}/auth/v1/signup",
        json={"email": f"{uuid4().hex}@example.kg", "password": "secret-12"},
        headers={"apikey": supabase.publishable_key},
    )
    verifier = TokenVerifier(
        issuer_url=f"{supabase.url}/auth/v1",
        http=http,
        hs256_secret=SecretStr(supabase.jwt_secret),
    )
    claims = await verifier.verify(answer.json()["access_token"])
    assert claims.sub == UUID(answer.json()["user"]["id"])
    project_key_unknown = jwt.encode({}, EC_KEY, "ES256", headers={"kid": "ec-1"})
    with pytest.raises(Unauthenticated):  # its JWKS is empty, but it was read
        await verifier.verify(project_key_unknown)
