"""Keys of other systems: shown once, stored as a hash, revoked by name."""

import re
import secrets
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, Invalid, NotFound, Unauthenticated
from evpower.foundation.names import name_flaw
from evpower.identity import metrics, store_access
from evpower.identity.audit import record_act
from evpower.identity.model import CreatedKey, ServiceKey

PREFIX: Final = "evp_"
_HINT: Final = 8
_RANDOM_BYTES: Final = 32
_KEY: Final = re.compile(r"evp_[A-Za-z0-9_-]{32,128}")
_NAME_MAX: Final = 100


async def create_service_key(
    connection: Connection,
    *,
    name: str,
    actor: str,
    reason: str | None = None,
    random_text: Callable[[int], str] = secrets.token_urlsafe,
) -> CreatedKey:
    """Creates a key; its secret is only in this result.

    Raises Conflict("service_key_exists"), Invalid("invalid_name").
    """
    if not name.isprintable() or name_flaw(name, most=_NAME_MAX):
        raise Invalid("invalid_name", f"a name has 1 to {_NAME_MAX} printable characters")
    key = PREFIX + random_text(_RANDOM_BYTES)
    hint = key[:_HINT]
    key_id = await store_access.insert_key(connection, name, sha256(key.encode()).digest(), hint)
    if key_id is None:
        raise Conflict("service_key_exists", "a key of this name exists; names are not used twice")
    await record_act(
        connection,
        actor=actor,
        action="service_key.create",
        subject=name,
        reason=reason,
        details={"hint": hint},
    )
    return CreatedKey(key_id, name, hint, key)


async def list_service_keys(connection: Connection) -> list[ServiceKey]:
    """Returns every key without its secret, revoked ones too, oldest first."""
    return await store_access.all_keys(connection)


async def revoke_service_key(
    connection: Connection, *, name: str, actor: str, reason: str | None = None
) -> ServiceKey:
    """Revokes a key at once, on every node. Raises NotFound("service_key_not_found")."""
    revoked = await store_access.revoke_key(connection, name)
    if revoked is None:
        raise NotFound("service_key_not_found", "there is no key of this name")
    await record_act(
        connection, actor=actor, action="service_key.revoke", subject=name, reason=reason
    )
    return revoked


async def check_service_key(db: Database, key: str) -> str:
    """Returns the name of a key's system; never cached, so that a revocation counts at once.

    Raises Unauthenticated("invalid_token").
    """
    digest = sha256(key.encode()).digest()
    if _KEY.fullmatch(key):
        async with db.connection() as connection:
            stored = await store_access.key_by_hash(connection, digest)
            if stored and not stored.revoked and compare_digest(stored.key_sha256, digest):
                if not stored.used_recently:
                    await store_access.touch_key(connection, stored.id)
                return stored.name
    metrics.SERVICE_KEYS_REFUSED.inc()
    raise Unauthenticated("invalid_token", "the service key is not valid")
