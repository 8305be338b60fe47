"""Refresh tokens: opaque, stored as a hash, 90 days from their last use, revocable.

The shipped app never replaces its refresh token, so a token is rotated only for a caller that asks
for it. A rotated token that is used again shows that two parties have it: the family is revoked.
"""

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final, cast
from uuid import UUID

import structlog

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unauthenticated
from evpower.foundation.ids import new_uuid
from evpower.identity import clients, metrics, store, store_access, store_aliases
from evpower.identity.aliases import as_uuid
from evpower.identity.issued_tokens import is_old_refresh, old_id
from evpower.identity.sign_in import store_accounts, store_refresh
from evpower.identity.sign_in.keys import TokenIssuer
from evpower.identity.sign_in.signing_keys import Subject
from evpower.identity.sign_in.store_refresh import RevokedBy, StoredRefresh

if TYPE_CHECKING:
    from evpower.identity.tokens import TokenVerifier

LIFETIME: Final = timedelta(days=90)
# How long a rotated token is answered once more, while its successor was not used: the answer may
# have been lost on the way.
REPEAT_WITHIN: Final = timedelta(seconds=30)
_PREFIX: Final = "evpr_"
_RANDOM_BYTES: Final = 32
_MAX_LENGTH: Final = 4096
_OLD_TOKEN_DOTS: Final = 2

_log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a sign-in or a refresh hands out; `refresh` is empty where it stays the same."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    subject: Subject


@dataclass(frozen=True, slots=True)
class RefreshCalls:
    """What refresh tokens are checked and issued with."""

    db: Database
    issuer: TokenIssuer
    verifier: "TokenVerifier"
    clock: Clock


async def issue(
    connection: Connection,
    issuer: TokenIssuer,
    subject: Subject,
    now: datetime,
    *,
    family: UUID | None = None,
) -> Tokens:
    """Returns an access token and a refresh token, of a new family unless one is given."""
    token = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    await store_refresh.insert_token(
        connection,
        _digest(token),
        family=family or new_uuid(),
        user_id=subject.user_id,
        kind=subject.kind,
        phone=subject.phone,
        now=now,
        expires_at=now + LIFETIME,
    )
    return Tokens(await issuer.access_token(connection, subject), token, subject)


async def refresh(calls: RefreshCalls, token: str, *, rotation: bool = False) -> Tokens:
    """Returns a new access token, and with `rotation` a new refresh token.

    Raises Unauthenticated("invalid_token" | "token_expired") only for a token that is bad for
    certain;
    Unavailable while that can't be found out; Forbidden("client_blocked") as a sign-in does.
    """
    if not 0 < len(token) <= _MAX_LENGTH or not token.isascii():
        raise _refused("not a refresh token")
    if token.startswith(_PREFIX):
        return await _refresh_own(calls, token, rotation=rotation)
    return await _refresh_old(calls, token)


async def log_out(calls: RefreshCalls, token: str) -> None:
    """Revokes a refresh token and its family; one that is not known needs no revoking."""
    if not 0 < len(token) <= _MAX_LENGTH or not token.isascii():
        return
    now = calls.clock()
    async with calls.db.transaction() as connection:
        stored = await store_refresh.lock_token(connection, _digest(token))
        if stored is not None:
            await store_refresh.revoke_family(connection, stored.family, now, "logout")
        elif token.count(".") == _OLD_TOKEN_DOTS:
            try:
                expires = calls.verifier.open_old(token)["exp"]
            except Unauthenticated:
                return
            ends_at = datetime.fromtimestamp(cast("float", expires), UTC)
            digest = _digest(token)
            await store_refresh.insert_revoked(connection, digest, new_uuid(), now, ends_at)


async def revoke_user(
    connection: Connection, user_id: UUID, now: datetime, revoked_by: RevokedBy
) -> int:
    """Revokes every refresh token of a user; access tokens end within 15 minutes by themselves."""
    return await store_refresh.revoke_users(connection, [user_id], now, revoked_by)


async def _refresh_own(calls: RefreshCalls, token: str, *, rotation: bool) -> Tokens:
    now = calls.clock()
    async with calls.db.transaction() as connection:
        stored = await store_refresh.lock_token(connection, _digest(token))
        refusal = await _refusal(connection, stored, now)
        if refusal is None and stored is not None:
            subject = await _subject(connection, stored, now)
            if subject is not None:
                return await _renew(calls, connection, stored, subject, now, rotation=rotation)
    # Raised after the commit: a revoked family must stay revoked.
    raise refusal or _refused("the account is closed")


async def _renew(
    calls: RefreshCalls,
    connection: Connection,
    stored: StoredRefresh,
    subject: Subject,
    now: datetime,
    *,
    rotation: bool,
) -> Tokens:
    if rotation or stored.rotated_at is not None:
        await store_refresh.mark_rotated(connection, stored.id, now)
        metrics.REFRESHES.labels("rotated").inc()
        return await issue(connection, calls.issuer, subject, now, family=stored.family)
    await store_refresh.slide(connection, stored.id, now, now + LIFETIME)
    metrics.REFRESHES.labels("same").inc()
    return Tokens(await calls.issuer.access_token(connection, subject), "", subject)


async def _refusal(
    connection: Connection, stored: StoredRefresh | None, now: datetime
) -> Unauthenticated | None:
    """Returns why the token is bad; a rotated one revokes its family, except at once again."""
    if stored is None or stored.revoked_at is not None:
        return _refused("the refresh token is not valid any more")
    if stored.expires_at <= now:
        metrics.REFRESHES.labels("refused").inc()
        return Unauthenticated("token_expired", "the refresh token has expired")
    if stored.rotated_at is None:
        return None
    is_repeat = now < stored.rotated_at + REPEAT_WITHIN
    if is_repeat and await store_refresh.replace_unused_successor(
        connection, stored.family, stored.id, now
    ):
        return None
    await store_refresh.revoke_family(connection, stored.family, now, "reuse")
    metrics.REFRESHES.labels("reused").inc()
    _log.warning("refresh_token_reused", user_id=str(stored.user_id))
    return _refused("the refresh token was replaced, and used again")


async def _subject(connection: Connection, stored: StoredRefresh, now: datetime) -> Subject | None:
    """Returns whom the next access token is for; None: an ended operator, a closed client.

    Raises Forbidden("client_blocked").
    """
    if stored.kind == "admin":
        operator = await store_access.active_operator(connection, stored.user_id)
        if operator is None:
            return None
        if await store_accounts.operators_phone(connection, stored.user_id) != stored.phone:
            return None  # a sign-in that began before the phone was taken away
        return Subject(stored.user_id, "admin", stored.phone, operator.role)
    client = await store.client_by_id(connection, stored.user_id)
    if client is None or client.status == "closed":
        return None
    clients.require_not_banned(client.banned_until, now)
    return Subject(client.id, "client", client.phone or stored.phone)


async def _refresh_old(calls: RefreshCalls, token: str) -> Tokens:
    """Returns an access token of EvPower for a refresh token of the old backend."""
    claims = calls.verifier.open_old(token)
    if not is_old_refresh(claims):
        raise _refused("an access token is no refresh token")
    async with calls.db.transaction() as connection:
        stored = await store_refresh.lock_token(connection, _digest(token))
        client_id = None if stored is not None else await client_of_old(connection, old_id(claims))
        client = None if client_id is None else await store.client_by_id(connection, client_id)
        if client is None or client.status == "closed":
            raise _refused("the token names no client here")
        clients.require_not_banned(client.banned_until, calls.clock())
        subject = Subject(client.id, "client", client.phone or "")
        access = await calls.issuer.access_token(connection, subject)
    metrics.REFRESHES.labels("old").inc()
    return Tokens(access, "", subject)


async def client_of_old(connection: Connection, raw: str) -> UUID | None:
    """Returns the client of the old backend's id; None: it has none here."""
    client_id = as_uuid(raw)
    if client_id is None:
        return await store_aliases.find_alias(connection, "client_id", raw)
    match = await store_aliases.find_uuid(connection, client_id)
    return client_id if match.is_client else match.alias_of


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()


def _refused(detail: str) -> Unauthenticated:
    metrics.REFRESHES.labels("refused").inc()
    return Unauthenticated("invalid_token", detail)
