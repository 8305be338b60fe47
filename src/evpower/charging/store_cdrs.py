"""SQL of the export of charge detail records: every bill with its session, station and tariff."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from evpower.charging.model import StartedBy
from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import read_row


@dataclass(frozen=True, slots=True)
class CdrRow:
    """A bill and what it rests on. Energy in Wh, money in tyiyn."""

    bill_id: int
    record_id: UUID
    bill_number: int
    previous_record_id: UUID | None  # of the bill before; None: this is the first
    total_minor: int
    previous_minor: int  # the total of the bill before; the others so, where there is one
    previous_energy_wh: int
    previous_ended_at: datetime
    previous_snapshot: Mapping[str, Any] | None
    previous_periods: Sequence[Any]
    previous_parts: Sequence[Any]
    energy_wh: int
    started_at: datetime
    ended_at: datetime
    created_at: datetime
    is_estimated: bool
    actor: str | None
    reason: str | None
    snapshot: Mapping[str, Any] | None
    periods: Sequence[Any]
    parts: Sequence[Any]
    station_owner: str | None
    tariff_owner: str | None
    session_id: UUID
    client_id: UUID
    started_by: StartedBy | None
    id_tag: str
    station_id: str
    connector: int
    evse_number: int | None  # None: the operator never described this connector
    evse_connector: int | None
    evse_id: str | None
    standard: str | None
    format: str | None
    power_type: str | None
    location_id: str
    location_name: str
    address: str
    city: str
    country: str
    latitude: Decimal | None
    longitude: Decimal | None


@dataclass(frozen=True, slots=True)
class CdrFilter:
    """Which bills are exported."""

    made_from: datetime  # written at this time or later,
    made_before: datetime  # and before this one
    station_owner: str | None = None
    station_id: str | None = None


async def cdrs_after(
    connection: Connection, wanted: CdrFilter, *, after: int, limit: int
) -> list[CdrRow]:
    """Returns the next bills of an export, in the order in which they were written."""
    rows: list[Record] = await connection.fetch(
        """
        select b.id as bill_id, c.id as record_id, b.bill_number, r.id as previous_record_id,
               b.total_minor, coalesce(e.total_minor, 0) as previous_minor, b.energy_wh,
               coalesce(e.energy_wh, 0) as previous_energy_wh,
               coalesce(e.ended_at, b.ended_at) as previous_ended_at,
               r.snapshot as previous_snapshot,
               coalesce(r.periods, '[]') as previous_periods,
               coalesce(r.parts, '[]') as previous_parts,
               s.started_at, b.ended_at, c.created_at, c.is_estimated, b.actor, b.reason,
               c.snapshot, c.periods, c.parts, c.station_owner, c.tariff_owner,
               s.id as session_id, s.client_id, s.started_by, coalesce(t.id_tag, '') as id_tag,
               s.station_id, s.connector_id as connector, o.evse_number, o.evse_connector,
               v.evse_id,
               o.standard, o.format, o.power_type, l.id as location_id, l.name as location_name,
               l.address, l.city, l.country, l.latitude, l.longitude
          from charging.cdrs c
          join charging.settlements b on b.id = c.settlement_id
          join charging.sessions s on s.id = b.session_id
          join charging.transactions t on t.session_id = s.id
          join stations.stations_public p on p.id = s.station_id
          join stations.locations_public l on l.id = p.location_id
          left join stations.connectors_public o
            on o.station_id = s.station_id and o.number = s.connector_id
          left join stations.evses_public v
            on v.station_id = s.station_id and v.number = o.evse_number
          left join charging.settlements e
            on e.session_id = s.id and e.bill_number = b.bill_number - 1
          left join charging.cdrs r on r.settlement_id = e.id
         where c.settlement_id > $1 and c.created_at >= $2 and c.created_at < $3
           and ($4::text is null or c.station_owner = $4)
           and ($5::text is null or s.station_id = $5)
         order by c.settlement_id limit $6
        """,
        after,
        wanted.made_from,
        wanted.made_before,
        wanted.station_owner,
        wanted.station_id,
        limit,
    )
    return [read_row(CdrRow, row) for row in rows]
