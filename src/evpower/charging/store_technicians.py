"""The SQL of the technicians' cards."""

from dataclasses import dataclass
from datetime import datetime

from evpower.charging.model import Technician
from evpower.foundation.db import Connection
from evpower.foundation.rows import columns, read_row


@dataclass(frozen=True, slots=True)
class TechnicianCharge:
    """A charge by a technician's card, as an operator sees it."""

    transaction_id: int
    station_id: str
    connector: int
    tag: str
    name: str | None  # None: the card was removed
    started_at: datetime
    ended_at: datetime | None
    energy_wh: int
    limit_energy_wh: int  # what the card might take when it began


async def find(connection: Connection, folded: str) -> Technician | None:
    """Returns a technician's card by its folded tag; None: it is none."""
    if not folded.isprintable():
        return None
    row = await connection.fetchrow(
        f"select {columns(Technician)} from charging.technician_tags where tag = $1", folded
    )
    return None if row is None else read_row(Technician, row)


async def add(connection: Connection, folded: str, name: str, daily_limit_wh: int) -> bool:
    """Inserts a card; false: it is there already."""
    added = await connection.fetchval(
        """
        insert into charging.technician_tags (tag, name, daily_limit_wh) values ($1, $2, $3)
        on conflict do nothing returning true
        """,
        folded,
        name,
        daily_limit_wh,
    )
    return added is True


async def set_limit(connection: Connection, folded: str, daily_limit_wh: int) -> bool:
    """Stores what a card may take in 24 hours; false: there is no such card."""
    stored = await connection.fetchval(
        """
        update charging.technician_tags set daily_limit_wh = $2 where tag = $1 returning true
        """,
        folded,
        daily_limit_wh,
    )
    return stored is True


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


async def taken_wh(
    connection: Connection, folded: str, since: datetime, but_for: int | None
) -> int:
    """Returns the energy of a card's charges that were received since then, of all but one."""
    energy_wh: int = await connection.fetchval(
        """
        select coalesce(sum(p.energy_wh), 0)::bigint
          from charging.transactions t join charging.progress p on p.transaction_id = t.id
         where t.technician_tag = $1 and t.received_at > $2 and t.id is distinct from $3
        """,
        folded,
        since,
        but_for,
    )
    return energy_wh


async def list_charges(connection: Connection, limit: int) -> list[TechnicianCharge]:
    """Returns the charges by technicians' cards, the newest first."""
    rows = await connection.fetch(
        """
        select t.id as transaction_id, t.station_id, t.connector, t.technician_tag as tag, c.name,
               t.started_at, t.ended_at, p.energy_wh, t.limit_energy_wh
          from charging.transactions t
          join charging.progress p on p.transaction_id = t.id
          left join charging.technician_tags c on c.tag = t.technician_tag
         where t.technician_tag is not null order by t.id desc limit $1
        """,
        limit,
    )
    return [read_row(TechnicianCharge, row) for row in rows]
