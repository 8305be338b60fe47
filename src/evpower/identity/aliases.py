"""Old ids and id tags of clients that moved to one id still mean them, in every old endpoint.

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
FRESH_S: Final = 60.0
_FOR_GOOD_S: Final = 3600.0  # an open client means itself
_KEPT: Final = 20_000
# UUID() alone also takes signs, spaces, underscores and digits of other scripts among the 32.
_UUID: Final = re.compile(r"(?:urn:)?(?:uuid:)?\{?[0-9a-fA-F-]{32,}\}?")


async def resolve(connection: Connection, raw: str) -> UUID | None:
    """Whom an id means: a client's own UUID, or the id it had before; None: nobody.

    The UUID of a closed client that became another one's old id means that one.
    """
    client_id = as_uuid(raw)
    if client_id is None:
        return await store_aliases.find_alias(connection, "client_id", raw) if _fit(raw) else None
    found = await store_aliases.find_uuid(connection, client_id)
    return client_id if found.is_client else found.alias_of


async def resolve_id_tag(connection: Connection, tag: str) -> UUID | None:
    """Whose card or app an id tag is, told apart without case as OCPP does; None: unknown."""
    plain = tag.strip().lower()
    return await store_aliases.find_alias(connection, "id_tag", plain) if _fit(plain) else None


def as_uuid(raw: str) -> UUID | None:
    """Read a UUID in any of the forms we always took."""
    if not _UUID.fullmatch(raw):
        return None
    try:
        return UUID(raw)
    except ValueError:
        return None


def _fit(raw: str) -> bool:
    return 0 < len(raw) <= MAX_LENGTH and raw.isprintable()


class _Resolved(NamedTuple):
    client_id: UUID | None  # None: no client has or had this name


class OldIds:
    """Resolves the ids requests name; remembers answers for a minute, so old apps cost nothing."""

    def __init__(self, db: Database, *, clock: Clock = utc_now, kept: int = _KEPT) -> None:
        self._db = db
        self._clock = clock
        self._known = TtlCache[UUID | str, _Resolved](kept, lambda: clock().timestamp())

    async def client(self, caller: Principal, raw: str | UUID) -> UUID:
        """Whom `raw` means, in a request of `caller`, who may still have no right to it.

        A UUID nobody knows is given back as it is. Raises Forbidden("forbidden") when a client
        names what is no id of theirs, Invalid("invalid_request") when another does.
        """
        client_id = raw if isinstance(raw, UUID) else as_uuid(raw)
        if client_id is not None:
            if client_id == caller.client_id:  # nearly always, and it costs nothing
                return client_id
            return await self._find(client_id) or client_id
        found = await self._find(raw) if isinstance(raw, str) and _fit(raw) else None
        if found is not None:
            return found
        if caller.kind == "client":  # as with every id that is not theirs: known or not
            raise Forbidden("forbidden", "this belongs to somebody else")
        raise Invalid("invalid_request", "client_id is no UUID and no id from before")

    def flush(self) -> None:
        """Forget everything remembered."""
        self._known.clear()

    async def _find(self, name: UUID | str) -> UUID | None:
        now = self._clock().timestamp()
        known = self._known.get(name)
        if known is not None:
            return known.client_id
        async with self._db.connection() as connection:
            if isinstance(name, UUID):
                is_client, alias_of, is_open = await store_aliases.find_uuid(connection, name)
                found = name if is_client else alias_of
                old = not is_client and alias_of is not None
                fresh_s = _FOR_GOOD_S if is_open else FRESH_S
            else:
                found = await store_aliases.find_alias(connection, "client_id", name)
                old, fresh_s = found is not None, FRESH_S
        metrics.OLD_IDS.labels("old" if old else "known" if found else "unknown").inc()
        self._known.put(name, _Resolved(found), expires_at=now + fresh_s)
        return found
