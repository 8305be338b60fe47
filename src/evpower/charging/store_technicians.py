"""The SQL of the technicians' cards."""

from evpower.charging.model import Technician
from evpower.foundation.db import Connection
from evpower.foundation.rows import columns, read_row


async def is_technician(connection: Connection, folded: str) -> bool:
    """Returns whether a folded tag is a technician's card."""
    if not folded.isprintable():
        return False
    return await connection.fetchval(
        "select exists (select from charging.technician_tags where tag = $1)", folded
    )


async def add(connection: Connection, folded: str, name: str) -> bool:
    """Inserts a card; false: it is there already."""
    added = await connection.fetchval(
        """
        insert into charging.technician_tags (tag, name) values ($1, $2)
        on conflict do nothing returning true
        """,
        folded,
        name,
    )
    return added is True


async def remove(connection: Connection, folded: str) -> bool:
    """Deletes a card; false: there is none."""
    removed = await connection.fetchval(
        "delete from charging.technician_tags where tag = $1 returning true", folded
    )
    return removed is True


async def all_technicians(connection: Connection) -> list[Technician]:
    """Returns every card, by its name."""
    rows = await connection.fetch(
        f"select {columns(Technician)} from charging.technician_tags order by name, tag"
    )
    return [read_row(Technician, row) for row in rows]
