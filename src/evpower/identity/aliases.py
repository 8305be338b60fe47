"""Resolves old ids and id tags of migrated clients, which every endpoint still accepts.

A UUID that is an open client's own id always means that client.
"""

import re
from typing import Final, NamedTuple
from uuid import UUID

from evpower.foundation.cache import TtlCache
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Forbidden, Invalid
from evpower.identity import metrics, store_aliases
from evpower.identity.model import Principal

MAX_LENGTH: Final = 200
CACHE_TTL_S: Final = 60.0
_OPEN_CLIENT_TTL_S: Final = 3600.0  # an open client's own id never means another one
_CACHE_SIZE: Final = 20_000
_SEPARATORS: Final = re.compile(r"[\s:-]")
# Letters and digits, by blocks of Unicode: PostgreSQL knows its characters by other tables.
_LETTER: Final = re.compile(r"[0-9a-z\u00c0-\u1fff\u2c00-\u2dff\u3040-\uffef]")
# UUID() alone also accepts signs, spaces, underscores and digits of other scripts among the 32.
_UUID: Final = re.compile(r"(?:urn:)?(?:uuid:)?\{?[0-9a-fA-F-]{32,}\}?")


async def resolve(connection: Connection, raw: str) -> UUID | None:
    """Returns the client of an id: a client's own UUID, or an old id; None: no client has it.

    The UUID of a closed client that is the old id of another client means the other client.
    """
    client_id = as_uuid(raw)
    if client_id is None:
        return await store_aliases.find_alias(connection, "client_id", raw) if _fits(raw) else None
    match = await store_aliases.find_uuid(connection, client_id)
    return client_id if match.is_client else match.alias_of


def fold_id_tag(tag: str) -> str:
    """Returns an id tag as id tags are compared: without case, separators, and signs at its end.

    Some stations write a card as 20:69:C0:21. "": it is no card. SQL has the same rule in
    identity.folded_tag.
    """
    folded = _SEPARATORS.sub("", tag.lower())
    end = len(folded)
    while end and not _LETTER.match(folded, end - 1):
        end -= 1
    return folded[:end]


async def resolve_id_tag(connection: Connection, tag: str) -> UUID | None:
    """Returns the client of an id tag, however a station writes it; None: unknown."""
    folded, spelling = fold_id_tag(tag), tag.strip().lower()
    if not _fits(folded):
        return None
    return await store_aliases.client_of_tag(
        connection, folded, spelling if _fits(spelling) else folded
    )


def as_uuid(raw: str) -> UUID | None:
    """Parses a UUID in any accepted form; None: it is no UUID."""
    if not _UUID.fullmatch(raw):
        return None
    try:
        return UUID(raw)
    except ValueError:
        return None


def _fits(raw: str) -> bool:
    return 0 < len(raw) <= MAX_LENGTH and raw.isprintable()


class _Resolved(NamedTuple):
    client_id: UUID | None  # None: no client has or had this name


class OldIds:
    """Resolves ids in requests; caches results for a minute, so that old apps cost few queries."""

    def __init__(
        self, db: Database, *, clock: Clock = utc_now, cache_size: int = _CACHE_SIZE
    ) -> None:
        self._db = db
        self._clock = clock
        self._known = TtlCache[UUID | str, _Resolved](cache_size, lambda: clock().timestamp())

    async def client(self, caller: Principal, raw: str | UUID) -> UUID:
        """Returns the client of `raw`; whether `caller` may read it is checked afterwards.

        An unknown UUID is returned as it is. For any other unknown id raises
        Forbidden("forbidden") if the caller is a client, else Invalid("invalid_request").
        """
        client_id = raw if isinstance(raw, UUID) else as_uuid(raw)
        if client_id is not None:
            if client_id == caller.client_id:  # nearly always, and it costs nothing
                return client_id
            return await self._find(client_id) or client_id
        resolved = await self._find(raw) if isinstance(raw, str) and _fits(raw) else None
        if resolved is not None:
            return resolved
        if caller.kind == "client":  # the same as for a known id of another client
            raise Forbidden("forbidden", "this belongs to another client")
        raise Invalid("invalid_request", "client_id is no UUID and no id from before")

    async def find(self, raw: str) -> UUID | None:
        """Returns the client of an old backend's id; None: it has none here."""
        client_id = as_uuid(raw)
        if client_id is None and not _fits(raw):
            return None
        return await self._find(client_id or raw)

    def flush(self) -> None:
        """Clears the cache."""
        self._known.clear()

    async def _find(self, name: UUID | str) -> UUID | None:
        now = self._clock().timestamp()
        known = self._known.get(name)
        if known is not None:
            return known.client_id
        async with self._db.connection() as connection:
            if isinstance(name, UUID):
                is_client, alias_of, is_open = await store_aliases.find_uuid(connection, name)
                client_id = name if is_client else alias_of
                is_old = not is_client and alias_of is not None
                ttl_s = _OPEN_CLIENT_TTL_S if is_open else CACHE_TTL_S
            else:
                client_id = await store_aliases.find_alias(connection, "client_id", name)
                is_old, ttl_s = client_id is not None, CACHE_TTL_S
        metrics.OLD_IDS.labels("old" if is_old else "known" if client_id else "unknown").inc()
        self._known.put(name, _Resolved(client_id), expires_at=now + ttl_s)
        return client_id
