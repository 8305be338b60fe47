"""SQL of finished sessions that are priced once more by another tariff. It only reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.rows import read_row

_COLUMNS: Final = """
select s.id, s.station_id, s.connector_id as connector, s.started_at, s.ended_at, s.energy_wh,
       s.cost_minor, s.free_reason, s.limit_amount_minor, t.id as transaction_id,
       f.snapshot::text as snapshot, coalesce(d.parts, '[]') as parts
  from charging.sessions s
  left join charging.transactions t on t.session_id = s.id
  left join charging.session_tariffs f on f.session_id = s.id
  left join lateral (select d.parts from charging.cdrs d where d.session_id = s.id
                      order by d.settlement_id desc limit 1) d on true
 where (s.state = 'settled' or (s.state = 'finished' and s.billed_elsewhere))
   and s.started_at is not null and s.ended_at is not null
"""


@dataclass(frozen=True, slots=True)
class BilledSession:
    """A session with its newest bill; without a transaction another system ran it."""

    id: UUID
    station_id: str
    connector: int
    started_at: datetime
    ended_at: datetime
    energy_wh: int
    cost_minor: int
    free_reason: str | None
    limit_amount_minor: int | None
    transaction_id: int | None
    snapshot: str | None  # JSON of the tariff it was billed by
    parts: Sequence[Any]


async def find_billed(connection: Connection, session_id: UUID) -> BilledSession | None:
    """Returns a session with its newest bill; None: there is none, or it has no bill."""
    row = await connection.fetchrow(f"{_COLUMNS} and s.id = $1", session_id)
    return None if row is None else read_row(BilledSession, row)


async def list_billed(connection: Connection, station_id: str, limit: int) -> list[BilledSession]:
    """Returns the newest sessions of a station that have a bill."""
    rows = await connection.fetch(
        f"{_COLUMNS} and s.station_id = $1 order by s.ended_at desc, s.id limit $2",
        station_id,
        limit,
    )
    return [read_row(BilledSession, row) for row in rows]
