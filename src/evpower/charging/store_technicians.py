"""The SQL of the technicians' cards."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from evpower.charging.model import Technician
from evpower.charging.store_running import UNKNOWN_POWER_W
from evpower.foundation.db import Connection, fetch_one
from evpower.foundation.rows import columns, read_row

_RECENT: Final = 50  # charges of a station that show whether its connectors have registers


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


async def find(
    connection: Connection, folded: str, *, for_start: bool = False
) -> Technician | None:
    """Returns a technician's card by its folded tag; None: it is none.

    `for_start` locks it until the commit: the next start sees this one.
    """
    if not folded.isprintable():
        return None
    lock = "for no key update" if for_start else ""
    row = await connection.fetchrow(
        f"""
        select {columns(Technician)} from charging.technician_tags where tag = $1 {lock}
        """,
        folded,
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


class CardUse(NamedTuple):
    """What a card's charges took, and what those that run without a register may take now."""

    energy_wh: int
    power_w: int


async def use_of_card(
    connection: Connection, folded: str, since: datetime, but_for: int | None, now: datetime
) -> CardUse:
    """Returns what a card's charges took that were received since then, all but one.

    Of one without a register it is what its connector can deliver, at most what it might take. One
    that ended at the 0 it began at took nothing where the connector's other charges had a register.
    """
    row = await fetch_one(
        connection,
        """
        select coalesce(sum(case when r.is_unmeasured
                 then least(t.limit_energy_wh,
                            r.rated_power_w::bigint * extract(epoch from r.span)::bigint / 3600)
                 else p.energy_wh end), 0)::bigint as energy_wh,
               coalesce(sum(r.rated_power_w) filter (where r.is_unmeasured and t.ended_at is null),
                        0)::bigint as power_w
          from charging.transactions t
          join charging.progress p on p.transaction_id = t.id
         cross join lateral (
           select greatest(coalesce(t.ended_at, $4) - case when t.ended_at is null
                           then t.received_at else t.started_at end, '0') as span,
                  p.last_value_at is null and (t.ended_at is null
                    or coalesce(t.meter_start_wh, 0) = 0 and coalesce(t.meter_stop_wh, 0) = 0
                       and not (t.meter_stop_wh is not null and exists (
                         select from (select o.connector, o.meter_stop_wh
                                        from charging.transactions o
                                       where o.station_id = t.station_id
                                       order by o.id desc limit $6) o
                          where o.connector = t.connector and o.meter_stop_wh > 0))
                  ) as is_unmeasured,
                  coalesce((select c.rated_power_w from stations.connectors_public c
                             where c.station_id = t.station_id and c.number = t.connector),
                           (select max(o.rated_power_w) from stations.connectors_public o
                             where o.station_id = t.station_id), $5) as rated_power_w) r
         where t.technician_tag = $1 and t.received_at > $2 and t.id is distinct from $3
        """,
        folded,
        since,
        but_for,
        now,
        UNKNOWN_POWER_W,
        _RECENT,
    )
    return CardUse(row["energy_wh"], row["power_w"])


async def look_at_others(
    connection: Connection, folded: str, transaction_id: int, now: datetime
) -> None:
    """Lets the watch look now at a card's other charges that run: they share its cap.

    They may be at other stations, which are not locked: one that is in use looks by itself.
    """
    await connection.execute(
        """
        update charging.progress set stop_due_at = least(stop_due_at, $3)
         where transaction_id in (
           select p.transaction_id
             from charging.transactions t join charging.progress p on p.transaction_id = t.id
            where t.technician_tag = $1 and t.ended_at is null and t.id <> $2
              and p.stop_due_at is not null and p.stop_step is null
              for update of p skip locked)
        """,
        folded,
        transaction_id,
        now,
    )


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
