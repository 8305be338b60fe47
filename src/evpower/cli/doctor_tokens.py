"""Whether EvPower accepts the access tokens of the project: the keys, and a real token."""

import secrets
from dataclasses import replace
from typing import Final
from uuid import UUID

import jwt
from pydantic import SecretStr

from evpower import identity
from evpower.cli.doctor_calls import STATUS_PAGE
from evpower.cli.finding import Finding
from evpower.config import Settings
from evpower.foundation.errors import EvPowerError, Unavailable
from evpower.foundation.http import HttpClient, HttpError

_TIMEOUT_S: Final = 5.0
_SERVER_ERROR: Final = 500
_TOO_SOON: Final = frozenset({408, 429})
_KEYS_FIX: Final = (
    "enable asymmetric signing keys in the project, or set EVPOWER_SUPABASE_JWT_SECRET"
)
_FIX_JWT: Final = (
    "the token says which: with alg HS256 EVPOWER_SUPABASE_JWT_SECRET must be the project's legacy"
    " JWT secret, and its iss must be EVPOWER_SUPABASE_URL/auth/v1"
)
# A real token is of a key that can't be read: the secret does not help.
_NEEDS_KEYS: Final = Finding(
    "access token", None, "not examined: the signing keys of Supabase can't be read"
)


async def examine_tokens(
    settings: Settings, http: HttpClient, *, may_write: bool, keys_fit: bool
) -> list[Finding]:
    """Returns what was found; with `may_write` a user of doctor's own signs in for a moment.

    `keys_fit`: whether the project accepts the keys of the settings, without which sign-in fails.
    """
    keys = await _signing_keys(settings, http)
    if not may_write:
        cause = "that creates a user in Auth"
    elif not keys_fit or (keys.ok is False and not _has_secret(settings)):
        cause = "mend the above first"
    else:
        token = await _real_token(settings, http)
        if keys.ok is None and token is _NEEDS_KEYS:
            keys = replace(keys, ok=False)
        return [keys, token]
    return [keys, Finding("access token", None, f"not examined: {cause}")]


def _has_secret(settings: Settings) -> bool:
    return bool(settings.supabase_jwt_secret.get_secret_value())


async def _signing_keys(settings: Settings, http: HttpClient) -> Finding:
    """Tells an outage from a project without public keys, whose tokens a secret has to verify.

    With a secret an outage is no fault of itself: what the secret signed is accepted without keys.
    """
    url = f"{settings.supabase_url}/auth/v1/.well-known/jwks.json"
    with_secret = ", HS256 secret set" if _has_secret(settings) else ""
    try:
        answer = await http.fetch("supabase_keys", "GET", url, timeout_s=_TIMEOUT_S)
        status = answer.status_code
        if status >= _SERVER_ERROR or status in _TOO_SOON:
            raise ValueError(f"answers {status}")  # noqa: TRY301 - as an answer without keys
        keys = identity.read_keys(answer.content) if answer.is_success else {}
    except (HttpError, ValueError) as error:
        detail = f"can't be read: {error}"
        if not with_secret:
            return Finding("token signing keys", False, detail, STATUS_PAGE)
        detail += "; only tokens of the HS256 secret are accepted"
        return Finding("token signing keys", None, detail, STATUS_PAGE)
    kinds = ", ".join(sorted({key.algorithm for key in keys.values()})) or "no public keys"
    if not answer.is_success:
        kinds += f" (answers {status})"
    is_ok = bool(keys) or _has_secret(settings)
    return Finding("token signing keys", is_ok, kinds + with_secret, _KEYS_FIX)


async def _real_token(settings: Settings, http: HttpClient) -> Finding:
    admin = identity.SupabaseAdmin(
        http=http,
        url=settings.supabase_url,
        secret_key=settings.supabase_secret_key,
        publishable_key=settings.supabase_publishable_key,
    )
    email = f"doctor-{secrets.token_hex(8)}@evpower.invalid"
    password = SecretStr(secrets.token_urlsafe(24) + "aA1!")
    try:
        await admin.delete_user(identity.DOCTOR_USER_ID)  # left over by an interrupted run
        await admin.create_user(
            identity.NewUser(
                id=identity.DOCTOR_USER_ID,
                email=email,
                phone=None,
                name="evpower doctor",
                password=password,
                email_confirm=True,
                app_metadata={"evpower_doctor": True},
            )
        )
    except EvPowerError as error:
        return Finding("access token", None, f"not examined: no user could be made: {error.detail}")
    try:
        token = await admin.sign_in(email, password)
        if token is None:
            return Finding("access token", None, "not examined: sign-in by password is off")
        return await _verified(settings, http, token, identity.DOCTOR_USER_ID)
    except EvPowerError as error:
        return Finding("access token", None, f"not examined: {error.detail}")
    finally:
        await _delete(admin)


async def _verified(settings: Settings, http: HttpClient, token: str, user_id: UUID) -> Finding:
    try:
        claims = await identity.configured_verifier(settings, http).verify(token)
    except Unavailable:  # no verdict on the token
        return _NEEDS_KEYS
    except (EvPowerError, ValueError) as error:
        detail = f"a real token ({_algorithm(token)}) is not accepted: {error}"
        return Finding("access token", False, detail, _FIX_JWT)
    fits = claims.sub == user_id
    return Finding("access token", fits, "a real one is accepted" if fits else "of another user")


def _algorithm(token: str) -> str:
    try:
        return str(jwt.get_unverified_header(token).get("alg"))
    except jwt.PyJWTError:
        return "no JWT"


async def _delete(admin: identity.SupabaseAdmin) -> None:
    try:
        await admin.delete_user(identity.DOCTOR_USER_ID)
    except EvPowerError:
        return  # the next run deletes it; EvPower ignores this user
