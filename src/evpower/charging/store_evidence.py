"""SQL of what a bill rests on: meter values and stops as the station sent them."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import read_row


@dataclass(frozen=True, slots=True)
class MeterValueRow:
    """A meter value: as it was read, and what it counts for in the session."""

    received_at: datetime
    at: datetime | None  # by the station's clock
    station_time: str | None  # as it was sent; None: `at` in UTC
    context: str
    energy_wh: Decimal | None  # the register
    session_wh: int | None  # the session's energy with it; None: it does not count
    outcome: str | None  # what its register was taken for
    power_w: int | None
    current_ma: int | None
    voltage_mv: int | None
    soc_percent: int | None


@dataclass(frozen=True, slots=True)
class StopRow:
    """A StopTransaction as it was sent."""

    id_as_sent: str
    meter_stop_wh: Decimal | None
    station_time: str | None
    reason: str | None
    received_at: datetime


async def values_after(
    connection: Connection, transaction_id: int | None, after: datetime | None, limit: int
) -> list[MeterValueRow]:
    """Returns the next values of a transaction; those that came in one frame together."""
    rows: list[Record] = await connection.fetch(
        """
        select v.received_at, v.at, v.station_time,
               coalesce(v.context, 'Sample.Periodic') as context, v.energy_wh, v.session_wh,
               case when v.session_wh is null then v.outcome
                    else coalesce(v.outcome, 'trusted') end as outcome,
               v.power_w, v.current_ma, v.voltage_mv, v.soc_percent
          from charging.meter_values v
         where v.transaction_id = $1 and ($2::timestamptz is null or v.received_at > $2)
         order by v.received_at fetch first $3 rows with ties
        """,
        transaction_id,
        after,
        limit,
    )
    return [read_row(MeterValueRow, row) for row in rows]


async def stops_of(connection: Connection, transaction_id: int | None) -> list[StopRow]:
    """Returns the stops of a transaction in the order in which they came."""
    rows: list[Record] = await connection.fetch(
        """
        select p.id_as_sent, p.meter_stop_wh, p.station_time, p.reason, p.received_at
          from charging.stops p where p.transaction_id = $1 order by p.received_at, p.id
        """,
        transaction_id,
    )
    return [read_row(StopRow, row) for row in rows]
