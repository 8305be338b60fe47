"""The SQL of favourites."""

from datetime import datetime
from uuid import UUID

from evpower.foundation.db import Connection


async def list_favorites(connection: Connection, client_id: UUID) -> list[str]:
    """Returns the ids of a client's favourite locations, the newest first."""
    rows = await connection.fetch(
        """
        select location_id from identity.favorites where client_id = $1
         order by created_at desc, location_id
        """,
        client_id,
    )
    return [row["location_id"] for row in rows]


async def add_favorite(
    connection: Connection, client_id: UUID, location_id: str, now: datetime, most: int
) -> bool:
    """Adds one to a client that has fewer than `most`. Returns whether it was added."""
    added: bool | None = await connection.fetchval(
        """
        insert into identity.favorites (client_id, location_id, created_at)
        select $1, $2, $3
         where (select count(*) from identity.favorites f where f.client_id = $1) < $4
        on conflict do nothing returning true
        """,
        client_id,
        location_id,
        now,
        most,
    )
    return added is True


async def remove_favorite(connection: Connection, client_id: UUID, location_id: str) -> None:
    """Removes one."""
    await connection.execute(
        "delete from identity.favorites where client_id = $1 and location_id = $2",
        client_id,
        location_id,
    )
