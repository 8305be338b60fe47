"""Verifies access tokens locally: Supabase's, EvPower's own, those of the old backend.

A known signing key needs no call of Supabase. The key determines the algorithm, never the token.
"""

import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, cast
from uuid import UUID

import jwt
from pydantic import SecretStr

from evpower.foundation.cache import TtlCache
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.errors import Forbidden, Invalid, Unauthenticated
from evpower.foundation.http import HttpClient
from evpower.foundation.json_reader import NotJson, read_object
from evpower.identity import metrics
from evpower.identity.issued_tokens import OwnKeys, UnreadOwnKey, old_claims, own_claims
from evpower.identity.jwks import Jwks, UnreadKey
from evpower.identity.model import Claims
from evpower.identity.profile import profile_of
from evpower.identity.sign_in.issuer import public_key
from evpower.identity.sign_in.signing_keys import ALGORITHM

MAX_TOKEN_BYTES: Final = 8192
LEEWAY_S: Final = 30  # the clock skew that PostgREST allows
CACHE_SIZE: Final = 10_000
_MIN_SECRET_BYTES: Final = 32  # RFC 7518 3.2
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NIL: Final = UUID(int=0)
_LATEST: Final = 253_402_300_799  # the last second that datetime can represent
_JWS: Final = jwt.PyJWS(algorithms=["ES256", "RS256", "HS256"])


class TokenVerifier:
    """Verifies the access tokens that EvPower accepts. `flush()` clears its caches."""

    def __init__(  # noqa: PLR0913 - the options of a project and of tests
        self,
        *,
        issuer_url: str,
        http: HttpClient,
        audience: str = "authenticated",
        jwks_url: str | None = None,
        hs256_secret: SecretStr | None = None,
        previous_hs256_secrets: Sequence[SecretStr] = (),
        clock: Clock = utc_now,
        cache_size: int = CACHE_SIZE,
        allow_anonymous: bool = False,
        own: OwnKeys | None = None,
        old_secret: SecretStr | None = None,
    ) -> None:
        """`allow_anonymous`: anonymous users of Supabase are clients too.

        `old_secret`: with which the old backend signed its tokens (HS256).

        Raises ValueError for an HS256 secret below 32 bytes; an empty one counts as none.
        """
        self._issuer = issuer_url.rstrip("/")
        self._audience = audience
        self._clock = clock
        self._allow_anonymous = allow_anonymous
        self._secrets = _bytes_of(hs256_secret, *previous_hs256_secrets)
        self._old_secrets = _bytes_of(old_secret)
        self._own = own
        self._cache = TtlCache[bytes, Claims](cache_size, lambda: clock().timestamp())
        self._jwks = Jwks(
            url=jwks_url or f"{self._issuer}/.well-known/jwks.json",
            http=http,
            clock=clock,
            on_loss=self._cache.clear,
        )
        if own is not None:
            own.on_loss = self._cache.clear

    async def verify(self, token: str) -> Claims:
        """Returns the claims of a valid token.

        Raises Unauthenticated("missing_token" | "invalid_token" | "token_expired"),
        Invalid("token_too_large"), Forbidden("anonymous_user"), and Unavailable("auth_unavailable")
        if no signing keys could ever be read, or none since the token's key was first seen.
        """
        if not token:
            raise Unauthenticated("missing_token", "an access token is needed")
        if not token.isascii():
            metrics.TOKEN_REFUSED.inc()
            raise _invalid("not an access token")
        if len(token) > MAX_TOKEN_BYTES:
            metrics.TOKEN_REFUSED.inc()
            detail = f"a token has at most {MAX_TOKEN_BYTES} bytes: its metadata is too large"
            raise Invalid("token_too_large", detail, status=431)
        digest = sha256(token.encode()).digest()
        known = self._cache.get(digest)
        if known is not None:
            self._keep_fresh(known)
            metrics.TOKEN_CACHED.inc()
            return known
        try:
            claims = await self._check(token)
        except Unauthenticated as error:
            expired = error.code == "token_expired"
            (metrics.TOKEN_EXPIRED if expired else metrics.TOKEN_REFUSED).inc()
            raise
        except (UnreadKey, UnreadOwnKey):
            metrics.TOKEN_KEY_UNREAD.inc()
            raise
        if claims.is_anonymous and not self._allow_anonymous:
            metrics.TOKEN_ANONYMOUS.inc()
            raise Forbidden("anonymous_user", "an anonymous user of Supabase is no client")
        metrics.TOKEN_VERIFIED.inc()
        self._cache.put(digest, claims, expires_at=claims.expires_at.timestamp())
        return claims

    def prefetch(self) -> None:
        """Starts reading the signing keys before the first token arrives."""
        self._jwks.prefetch()

    def flush(self) -> None:
        """Clears the cached tokens, and reads the signing keys again before the next new token."""
        self._cache.clear()
        self._jwks.expire()
        if self._own is not None:
            self._own.expire()

    def open_old(self, token: str) -> Mapping[str, Any]:
        """Returns the claims of any token of the old backend, a refresh token too.

        Raises Unauthenticated("invalid_token" | "token_expired").
        """
        if _header(token).get("alg") == "HS256":
            for secret in self._old_secrets:
                payload = _open(token, secret, "HS256")
                if payload is not None:
                    claims = _object(payload)
                    self._expiry(claims)
                    return claims
        raise _invalid("the signature is not of the old backend")

    @property
    def cached(self) -> int:
        """The number of cached tokens."""
        return len(self._cache)

    async def _check(self, token: str) -> Claims:
        header = _header(token)
        if header.get("alg") == "HS256":
            return self._check_shared(token)
        if self._own is not None and OwnKeys.made(header.get("kid")):
            return await self._check_own(self._own, token, header)
        return self._claims(_object(await self._open_signed(token, header)))

    def _keep_fresh(self, claims: Claims) -> None:
        if claims.issuer == "supabase":
            self._jwks.keep_fresh()
        elif claims.issuer == "evpower" and self._own is not None:
            self._own.keep_fresh()

    def _check_shared(self, token: str) -> Claims:
        """Checks a token of a shared secret; the old backend may sign with Supabase's."""
        for secret in self._secrets:
            payload = _open(token, secret, "HS256")
            if payload is not None:
                claims = _object(payload)
                if secret in self._old_secrets and claims.get("iss") != self._issuer:
                    break
                return self._claims(claims)
        if not self._old_secrets:
            raise _invalid("the signature is not of this project")
        claims = self.open_old(token)
        return old_claims(claims, datetime.fromtimestamp(self._expiry(claims), UTC))

    async def _check_own(self, own: OwnKeys, token: str, header: dict[str, Any]) -> Claims:
        if header.get("alg") != ALGORITHM:
            raise _invalid("the algorithm is not accepted")
        key = await own.find(header["kid"])
        payload = None if key is None else _open(token, public_key(key), ALGORITHM)
        if payload is None:
            raise _invalid("the signature is not EvPower's")
        claims = _object(payload)
        return own_claims(claims, datetime.fromtimestamp(self._expiry(claims), UTC))

    async def _open_signed(self, token: str, header: dict[str, Any]) -> bytes:
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(kid, str) or algorithm not in ("ES256", "RS256"):
            raise _invalid("the algorithm is not accepted")
        key = await self._jwks.find(kid)
        if key is None or key.algorithm != algorithm:
            raise _invalid("the signing key is not of this project")
        payload = _open(token, key.key, key.algorithm)
        if payload is None:
            raise _invalid("the signature is not of this project")
        return payload

    def _expiry(self, claims: Mapping[str, Any]) -> float:
        """Returns when a token ends, in seconds since 1970. Raises Unauthenticated."""
        now = self._clock().timestamp()
        expires = _time(claims, "exp")
        if expires is None:
            raise _invalid("the token has no end")
        for name in ("iat", "nbf"):
            begins = _time(claims, name)
            if begins is not None and begins > now + LEEWAY_S:
                raise _invalid("the token is not valid yet")
        if now >= expires + LEEWAY_S:
            raise Unauthenticated("token_expired", "the access token has expired")
        return expires

    def _claims(self, claims: dict[str, Any]) -> Claims:
        if claims.get("iss") != self._issuer:
            raise _invalid("the token is of another project")
        audience = claims.get("aud")
        audiences = cast("list[object]", audience) if isinstance(audience, list) else [audience]
        if self._audience not in audiences:
            raise _invalid("the token is for another audience")
        if claims.get("role") != "authenticated":
            raise _invalid("the token is not a user's")
        sub = claims.get("sub")
        if not isinstance(sub, str) or not _UUID.fullmatch(sub) or UUID(sub) == _NIL:
            raise _invalid("the token names no user")
        expires = self._expiry(claims)
        app_metadata = claims.get("app_metadata")
        return Claims(
            sub=UUID(sub),
            role="authenticated",
            expires_at=datetime.fromtimestamp(expires, UTC),
            profile=profile_of(claims),
            app_metadata=cast("dict[str, object]", app_metadata)
            if isinstance(app_metadata, dict)
            else {},
            is_anonymous=claims.get("is_anonymous") is True,
        )


def _bytes_of(*secrets: SecretStr | None) -> tuple[bytes, ...]:
    """Returns the secrets that are set. Raises ValueError for one below 32 bytes."""
    texts = [secret.get_secret_value() for secret in secrets if secret is not None]
    filled = tuple(text.encode() for text in texts if text)
    if any(len(secret) < _MIN_SECRET_BYTES for secret in filled):
        raise ValueError(f"an HS256 secret needs at least {_MIN_SECRET_BYTES} bytes")
    return filled


def _invalid(detail: str) -> Unauthenticated:
    return Unauthenticated("invalid_token", detail)


def _header(token: str) -> dict[str, Any]:
    if not _COMPACT.fullmatch(token):
        raise _invalid("not an access token")
    encoded = token.partition(".")[0]
    try:
        header = _object(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except ValueError as error:
        raise _invalid("not an access token") from error
    # RFC 7515 4.1.11: a token with a critical extension that is not understood must be refused.
    if "crit" in header:
        raise _invalid("the token asks for extensions we don't have")
    return header


def _open(token: str, key: object, algorithm: str) -> bytes | None:
    try:
        return _JWS.decode_complete(token, cast("bytes", key), algorithms=[algorithm])["payload"]
    except (jwt.PyJWTError, ValueError, TypeError):
        return None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return read_object(raw)
    except NotJson as error:
        raise _invalid("not an access token") from error


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """Returns seconds since 1970 (RFC 7519 2, NumericDate); None if the claim is missing."""
    if name not in claims:
        return None
    value: object = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise _invalid("the token's times make no sense")
    return float(value)
