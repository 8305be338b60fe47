"""The keys that sign EvPower's access tokens: made, rotated, listed, used.

The library that signs is imported where a key is opened or made: few commands do either.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection
from evpower.foundation.errors import Unavailable
from evpower.identity.audit import record_act
from evpower.identity.sign_in import store_keys
from evpower.identity.sign_in.signing_keys import OwnKey, Subject

if TYPE_CHECKING:
    from evpower.identity.sign_in.issuer import KeyBox, Signer


class TokenIssuer:
    """Signs access tokens with the newest key."""

    def __init__(self, secret: str, clock: Clock) -> None:
        self._box = _key_box(secret)
        self._clock = clock
        self._opened: Signer | None = None

    async def access_token(self, connection: Connection, subject: Subject) -> str:
        """Returns a new access token; the first one makes the first key.

        The newest key is read each time, so that a revoked one signs nothing more. Raises
        Unavailable("sign_in_unavailable") if it was encrypted with another secret.
        """
        from evpower.identity.sign_in.issuer import sign

        keys = await store_keys.usable_keys(connection)
        newest = keys[0] if keys else await self._first_key(connection)
        if self._opened is None or self._opened.kid != newest.kid:
            self._opened = self._box.open(newest)
        if self._opened is None:
            raise Unavailable(
                "sign_in_unavailable",
                "no access token can be signed",
                cause="EVPOWER_SIGN_IN_SECRET is not the one that the newest signing key was "
                "encrypted with: evpower sign-in-keys rotate makes a new key",
            )
        return sign(self._opened, subject, self._clock())

    async def _first_key(self, connection: Connection) -> OwnKey:
        await store_keys.lock_keys(connection)
        keys = await store_keys.usable_keys(connection)
        if keys:
            return keys[0]
        key = self._box.new_key(self._clock())
        await store_keys.insert_key(connection, key)
        return key


async def rotate_signing_key(
    connection: Connection,
    secret: str,
    *,
    actor: str,
    now: datetime,
    revoke_older: bool = False,
    reason: str = "",
) -> OwnKey:
    """Makes the key that signs from now on; older ones verify for an hour, or not at all.

    Raises ValueError for a secret that is too short.
    """
    await store_keys.lock_keys(connection)
    key = _key_box(secret).new_key(now)
    await store_keys.insert_key(connection, key)
    revoked = await store_keys.revoke_keys_but(connection, key.kid, now) if revoke_older else 0
    await record_act(
        connection,
        actor=actor,
        action="signing_key.rotate",
        subject=key.kid,
        reason=reason or None,
        details={"revoked": revoked},
    )
    return key


async def list_signing_keys(connection: Connection) -> Sequence[OwnKey]:
    """Returns every key, revoked ones too, the newest first."""
    return await store_keys.all_keys(connection)


def opens(secret: str, key: OwnKey) -> bool:
    """Returns whether this secret opens the key."""
    return _key_box(secret).open(key) is not None


def _key_box(secret: str) -> "KeyBox":
    from evpower.identity.sign_in.issuer import KeyBox

    return KeyBox(secret)
