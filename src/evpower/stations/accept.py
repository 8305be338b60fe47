"""Names that no station has: counted when they try to connect, accepted as stations."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from evpower.foundation.db import Connection
from evpower.foundation.errors import NotFound
from evpower.stations import store_credentials
from evpower.stations.add import add_station
from evpower.stations.model import AddedStation, StationDraft
from evpower.stations.names import key_of

MOST_UNKNOWN: Final = 1000  # a stranger can make up any number of names
NAMELESS: Final = "(no id)"
_NAME_MAX: Final = 255
_ADDRESS_MAX: Final = 64


async def record_attempt(
    connection: Connection, *, name: str, address: str, now: datetime, most: int = MOST_UNKNOWN
) -> None:
    """Counts an attempt to connect of a name that no station has. The list stays bounded.

    Stations that say no name at all are told apart by their addresses.
    """
    shown = "".join(char if char.isprintable() else "?" for char in name.strip())[:_NAME_MAX]
    key = key_of(shown)
    if not key:
        key, shown = f" {address}"[:_ADDRESS_MAX], NAMELESS  # no name begins with a blank
    await store_credentials.upsert_unknown(connection, key, shown, address[:_ADDRESS_MAX], now)
    await store_credentials.trim_unknown(connection, most)


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
