"""Locations that a client has marked as favourites."""

from datetime import datetime
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict
from evpower.identity import store_favorites as store
from evpower.identity.clients import lock_client

MOST: Final = 200  # of one client


async def list_favorites(connection: Connection, client_id: UUID) -> list[str]:
    """Returns the ids of a client's favourite locations, the newest first."""
    return await store.list_favorites(connection, client_id)


async def add_favorite(
    connection: Connection, client_id: UUID, location_id: str, now: datetime
) -> None:
    """Adds a location; one that is a favourite already stays as it is.

    Whether it exists is known above. Raises Conflict("too_many_favorites").
    """
    await lock_client(connection, client_id)  # else two calls at once would pass the limit
    if await store.add_favorite(connection, client_id, location_id, now, MOST):
        return
    if location_id not in await store.list_favorites(connection, client_id):
        raise Conflict(
            "too_many_favorites", f"a client has at most {MOST} favourites", params={"most": MOST}
        )


async def remove_favorite(connection: Connection, client_id: UUID, location_id: str) -> None:
    """Removes a location; one that is no favourite is none afterwards either."""
    await store.remove_favorite(connection, client_id, location_id)
