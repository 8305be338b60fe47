"""Access tokens that Supabase did not issue: EvPower's own, and those of the old backend."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog

from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.errors import Unauthenticated, Unavailable
from evpower.identity.aliases import as_uuid
from evpower.identity.model import Claims, Profile
from evpower.identity.sign_in import store_keys
from evpower.identity.sign_in.signing_keys import (
    AUDIENCE,
    ISSUER,
    KID_PREFIX,
    OwnKey,
    newest_first,
)

FRESH_S: Final = 60.0  # a revoked key is refused everywhere after this time
# How long a key verifies after a newer one began to sign: longer than its tokens live.
VERIFIES_AFTER: Final = timedelta(hours=1)
_RETRY_S: Final = 1.0
_NEVER: Final = float("-inf")
_MAX_OLD_ID: Final = 200
# Claims of the old backend's tokens that say their kind; its access tokens say `client` or `admin`.
_KIND_CLAIMS: Final = ("typ", "type", "token_type", "token_use")
_OLD_REFRESH_FROM: Final = timedelta(days=1)  # they live 7 days, access tokens 10 minutes

_log: Final = structlog.get_logger()


class UnreadOwnKey(Unavailable):
    """The keys were not read since this token's key was first seen: retry soon."""

    is_expected = True

    def __init__(self) -> None:
        super().__init__(
            "auth_unavailable",
            "EvPower's signing keys were not read since this key was first seen",
            retry_after_s=1,
        )


class OwnKeys:
    """EvPower's public keys by kid, read from the database; `on_loss`: a key's tokens are void."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._keys: Mapping[str, OwnKey] | None = None
        self._read_at = self._attempted_at = _NEVER
        self._running: asyncio.Task[bool] | None = None
        self.on_loss: Callable[[], None] = lambda: None

    @staticmethod
    def made(kid: object) -> bool:
        """Returns whether a token's kid is of EvPower's own form."""
        return isinstance(kid, str) and kid.startswith(KID_PREFIX)

    async def find(self, kid: str) -> OwnKey | None:
        """Returns the key; None if a set that was read after this call began does not contain it.

        Raises Unavailable("auth_unavailable") while the database can't be read.
        """
        now_s = self._clock().timestamp()
        key = (self._keys or {}).get(kid)
        if key is not None and now_s - self._read_at < FRESH_S:
            return key
        if now_s - self._attempted_at >= _RETRY_S or (self._running and not self._running.done()):
            was_read = await self._refresh()
            key = (self._keys or {}).get(kid)
            if key is not None or was_read:
                return key
        if key is None:
            raise UnreadOwnKey
        return key  # the database does not answer: the last set is still right for a while

    def keep_fresh(self) -> None:
        """Starts a read in the background if the keys are old: one may have been revoked."""
        now_s = self._clock().timestamp()
        if now_s - self._read_at >= FRESH_S and now_s - self._attempted_at >= _RETRY_S:
            self._start()

    def expire(self) -> None:
        """Makes the next `find` read the keys."""
        self._read_at = self._attempted_at = _NEVER

    async def _refresh(self) -> bool:
        # Shielded: a cancelled caller must not cancel the read of the others.
        return await asyncio.shield(self._start())

    def _start(self) -> asyncio.Task[bool]:
        if self._running is None or self._running.done():
            self._attempted_at = self._clock().timestamp()
            self._running = asyncio.create_task(self._read())
        return self._running

    async def _read(self) -> bool:
        try:
            async with self._db.connection() as connection:
                stored = await store_keys.usable_keys(connection)
        except Unavailable as error:
            _log.warning("own_keys_read_failed", error=error.detail)
            return False
        keys = {key.kid: key for key in verifying(stored, self._clock())}
        lost = (self._keys or {}).keys() - keys.keys()
        self._keys = keys
        self._read_at = self._clock().timestamp()
        if lost:
            self.on_loss()
        return True


def verifying(stored: list[OwnKey], now: datetime) -> list[OwnKey]:
    """Returns the keys whose tokens are accepted: the newest, and those it replaced lately."""
    keys = newest_first(stored)
    return [
        key
        for index, key in enumerate(keys)
        if index == 0 or now - keys[index - 1].created_at < VERIFIES_AFTER
    ]


def own_claims(claims: Mapping[str, Any], expires_at: datetime) -> Claims:
    """Returns the claims of EvPower's own token, whose signature and times were checked."""
    if claims.get("iss") != ISSUER or claims.get("aud") != AUDIENCE:
        raise _invalid("the token is for another audience")
    kind, sub, phone = claims.get("type"), claims.get("sub"), claims.get("phone")
    user_id = as_uuid(sub) if isinstance(sub, str) else None
    if user_id is None or kind not in ("client", "admin"):
        raise _invalid("the token names no user")
    return Claims(
        sub=user_id,
        role="authenticated",
        expires_at=expires_at,
        profile=Profile(),  # the client exists already: a token is issued after it
        app_metadata={},
        issuer="evpower",
        is_admin=kind == "admin",
        phone=phone if isinstance(phone, str) else "",
    )


def old_claims(claims: Mapping[str, Any], expires_at: datetime) -> Claims:
    """Returns the claims of an access token of the old backend; `old_id` is still to be resolved.

    Its refresh tokens are signed with the same secret, and no access tokens.
    """
    if is_old_refresh(claims):
        raise _invalid("a refresh token is no access token")
    return Claims(
        sub=UUID(int=0),
        role="authenticated",
        expires_at=expires_at,
        profile=Profile(),
        app_metadata={},
        issuer="old",
        old_id=old_id(claims),
    )


def old_id(claims: Mapping[str, Any]) -> str:
    """Returns the client's id in the old backend. Raises Unauthenticated("invalid_token")."""
    sub = claims.get("sub")
    if not isinstance(sub, str) or not 0 < len(sub) <= _MAX_OLD_ID or not sub.isprintable():
        raise _invalid("the token names no user")
    return sub


def is_old_refresh(claims: Mapping[str, Any]) -> bool:
    """Returns whether the old backend's token is a refresh token.

    A token that says nothing of its kind is one if it was issued for longer than access tokens are.
    """
    words = [claims[name] for name in _KIND_CLAIMS if claims.get(name) is not None]
    if words:
        return any(isinstance(word, str) and "refresh" in word.casefold() for word in words)
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int | float) or not isinstance(expires, int | float):
        return False
    return expires - issued >= _OLD_REFRESH_FROM.total_seconds()


def _invalid(detail: str) -> Unauthenticated:
    return Unauthenticated("invalid_token", detail)
