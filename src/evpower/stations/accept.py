"""Names that are refused: counted when they try to connect, unknown ones accepted as stations."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from evpower.foundation.db import Connection
from evpower.foundation.errors import NotFound
from evpower.stations import store_credentials
from evpower.stations.add import add_station
from evpower.stations.model import AddedStation, StationDraft, UnknownStation
from evpower.stations.names import key_of

MOST_UNKNOWN: Final = 1000  # a stranger can make up any number of names
NAMELESS: Final = "(no id)"
MOST_OF_ONE_ADDRESS: Final = 200  # so that strangers of others are still seen
_NAME_MAX: Final = 255
_ADDRESS_MAX: Final = 64


async def record_attempts(
    connection: Connection, attempts: Iterable[UnknownStation], *, most: int = MOST_UNKNOWN
) -> None:
    """Counts attempts to connect that were refused, by name. The list stays bounded.

    Stations that say no name at all are distinguished by their addresses. Of one address it holds
    at most `MOST_OF_ONE_ADDRESS`: those that tried last.
    """
    merged = _merged(attempts)
    if not merged:
        return
    await store_credentials.upsert_unknown(connection, sorted(merged.items()))
    await store_credentials.trim_unknown(connection, most, min(most, MOST_OF_ONE_ADDRESS))


def _merged(attempts: Iterable[UnknownStation]) -> dict[str, UnknownStation]:
    """Returns one attempt for each key, with a name that can be shown."""
    merged: dict[str, UnknownStation] = {}
    for attempt in attempts:
        name = "".join(char if char.isprintable() else "?" for char in attempt.name.strip())
        name = name[:_NAME_MAX]
        key = key_of(name)
        if not key:
            key, name = f" {attempt.address}"[:_ADDRESS_MAX], NAMELESS  # no name begins so
        before = merged.get(key, attempt)
        more = 0 if before is attempt else before.attempts
        merged[key] = UnknownStation(
            name,
            attempt.address[:_ADDRESS_MAX],
            attempt.attempts + more,
            min(attempt.first_seen_at, before.first_seen_at),
            max(attempt.last_seen_at, before.last_seen_at),
            attempt.reason,
        )
    return merged


async def accept_station(
    connection: Connection,
    draft: StationDraft,
    *,
    now: datetime,
    actor: str,
    reason: str | None = None,
) -> AddedStation:
    """Adds a station that tried to connect, under the id as it writes it.

    Raises NotFound("station_not_found"), and what `add_station` raises.
    """
    name = await store_credentials.delete_unknown(connection, key_of(draft.id))
    if name is None:
        detail = f"no unknown station {draft.id!a:.80} tried to connect"
        raise NotFound("station_not_found", detail)
    return await add_station(
        connection, replace(draft, id=name), now=now, actor=actor, reason=reason
    )
