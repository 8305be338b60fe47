"""SQL of the charges of forwarded stations."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from evpower.foundation.db import Connection, fetch_one
from evpower.foundation.rows import columns, read_row
from evpower.tariffs import Snapshot


class ForwardedStart(NamedTuple):
    """A StartTransaction that passed; the key is the same for a repeated one."""

    station_id: str
    connector: int
    id_tag: str
    meter_start_wh: Decimal | None
    started_at: datetime
    station_start_time: str | None
    start_key: bytes


@dataclass(frozen=True, slots=True)
class ForwardedCharge:
    """A charge under another CSMS, and what it would have cost here; no money moves by it."""

    id: int
    station_id: str
    connector: int
    id_tag: str
    their_id: str | None
    meter_start_wh: Decimal | None
    started_at: datetime
    meter_stop_wh: Decimal | None
    ended_at: datetime | None
    energy_wh: int | None
    cost_minor: int | None
    currency: str | None
    plan: str | None
    version: int | None


_CHARGE: Final = columns(ForwardedCharge, "c")


async def insert_start(connection: Connection, start: ForwardedStart) -> int:
    """Inserts a charge; returns the row, that of the first start for a repeated one."""
    row = await fetch_one(
        connection,
        """
        insert into ocpp.forwarded_charges as c
          (station_id, connector, id_tag, meter_start_wh, started_at, station_start_time, start_key)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (start_key) do update set start_key = excluded.start_key
        returning c.id
        """,
        *start,
    )
    return row["id"]


async def set_their_id(connection: Connection, charge_id: int, their_id: str | None) -> None:
    """Stores the id that the other CSMS gave."""
    await connection.execute(
        "update ocpp.forwarded_charges set their_id = coalesce($2, their_id) where id = $1",
        charge_id,
        their_id,
    )


async def open_charge(
    connection: Connection, station_id: str, their_id: str | None
) -> ForwardedCharge | None:
    """Returns the newest open charge with this id; without an id the newest open one."""
    row = await connection.fetchrow(
        f"""
        select {_CHARGE} from ocpp.forwarded_charges c
         where c.station_id = $1 and c.ended_at is null and ($2::text is null or c.their_id = $2)
         order by c.id desc limit 1 for update
        """,
        station_id,
        their_id,
    )
    return None if row is None else read_row(ForwardedCharge, row)


async def passed_frames(
    connection: Connection,
    station_id: str,
    since: datetime,
    until: datetime,
    actions: Sequence[str],
    limit: int,
) -> list[tuple[datetime, str]]:
    """Returns the newest requests of a station of some actions, the oldest of them first."""
    rows = await connection.fetch(
        """
        select f.received_at, f.frame from ocpp.frames f
         where f.station_id = $1 and f.received_at between $2 and $3
           and f.direction = 'in' and f.message_type = 2 and f.action = any ($4::text[])
         order by f.received_at desc limit $5
        """,
        station_id,
        since,
        until,
        actions,
        limit,
    )
    return [(row["received_at"], row["frame"]) for row in reversed(rows)]


async def end_charge(
    connection: Connection,
    charge_id: int,
    *,
    ended_at: datetime,
    meter_stop_wh: Decimal | None,
    energy_wh: int | None,
    cost_minor: int | None,
    snapshot: Snapshot | None,
) -> None:
    """Stores a charge's end and price."""
    await connection.execute(
        """
        update ocpp.forwarded_charges
           set ended_at = $2, meter_stop_wh = $3, energy_wh = $4, cost_minor = $5, currency = $6,
               plan = $7, version = $8
         where id = $1
        """,
        charge_id,
        ended_at,
        meter_stop_wh,
        energy_wh,
        cost_minor,
        None if snapshot is None else snapshot.tariff.currency,
        None if snapshot is None else snapshot.plan,
        None if snapshot is None else snapshot.version,
    )


async def latest_charges(
    connection: Connection, station_id: str, limit: int
) -> list[ForwardedCharge]:
    """Returns a station's charges under another CSMS, the newest first."""
    rows = await connection.fetch(
        f"""
        select {_CHARGE} from ocpp.forwarded_charges c
         where c.station_id = $1 order by c.id desc limit $2
        """,
        station_id,
        limit,
    )
    return [read_row(ForwardedCharge, row) for row in rows]


async def has_open_session(connection: Connection, station_id: str) -> bool:
    """Returns whether a session of EvPower runs at a station, or is about to."""
    return await connection.fetchval(
        """
        select exists (
          select from charging.sessions_public s
           where s.station_id = $1 and s.state in ('requested', 'starting', 'charging', 'stopping'))
        """,
        station_id,
    )
