"""The SQL of what operators see: sessions with their transaction, progress and bills."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from evpower.charging.model import EndKind, SessionState
from evpower.foundation.db import Connection
from evpower.foundation.rows import read_row

OPEN: Final[tuple[SessionState, ...]] = ("requested", "starting", "charging", "stopping")
SESSION_COLUMNS: Final = """
  s.id, s.client_id, s.station_id, s.connector_id as connector, s.state, s.started_by, s.started_at,
  s.ended_at,
  case when t.ended_at is null then coalesce(p.energy_wh, s.energy_wh) else s.energy_wh end
    as energy_wh,
  case when t.ended_at is null and p.cost_minor is not null
       then least(p.cost_minor, s.limit_amount_minor) else s.cost_minor end as cost_minor,
  s.start_failure, s.stop_requested_at, s.stop_requested_by, s.stop_reason, s.end_reason,
  s.is_estimated, s.quarantined_at, s.quarantine_reason, s.free_reason, s.limit_energy_wh,
  s.limit_amount_minor, s.limit_soc_percent, s.created_at, t.id as transaction_id, t.end_kind,
  t.meter_start_wh, t.meter_stop_wh, p.register_wh, p.power_w, p.soc_percent, p.last_value_at,
  p.stop_due_at, p.close_due_at, p.close_reason, coalesce(p.tail_wh, 0) as tail_wh
"""
SESSION_TABLES: Final = """
  charging.sessions s
  left join charging.transactions t on t.session_id = s.id
  left join charging.progress p on p.transaction_id = t.id
"""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as an operator sees it."""

    id: UUID
    client_id: UUID
    station_id: str
    connector: int
    state: SessionState
    started_by: str | None
    started_at: datetime | None
    ended_at: datetime | None
    energy_wh: int  # so far, or as billed
    cost_minor: int
    start_failure: str | None
    stop_requested_at: datetime | None
    stop_requested_by: str | None
    stop_reason: str | None
    end_reason: str | None
    is_estimated: bool
    quarantined_at: datetime | None
    quarantine_reason: str | None
    free_reason: str | None
    limit_energy_wh: int | None
    limit_amount_minor: int | None
    limit_soc_percent: int | None
    created_at: datetime
    transaction_id: int | None
    end_kind: EndKind | None
    meter_start_wh: Decimal | None
    meter_stop_wh: Decimal | None
    register_wh: Decimal | None  # the last trusted one
    power_w: int | None
    soc_percent: int | None
    last_value_at: datetime | None
    stop_due_at: datetime | None
    close_due_at: datetime | None
    close_reason: str | None
    tail_wh: Decimal


@dataclass(frozen=True, slots=True)
class BillRow:
    """One bill of a session, with what it rests on."""

    id: int
    bill_number: int
    total_minor: int
    due_minor: int
    energy_wh: int
    ended_at: datetime
    actor: str | None
    reason: str | None
    created_at: datetime
    record_id: UUID | None
    is_estimated: bool | None
    parts: Sequence[Any] | None
    periods: Sequence[Any] | None
    station_owner: str | None
    tariff_owner: str | None


@dataclass(frozen=True, slots=True)
class UnattributedRow:
    """A transaction of no client: it has no session and is not billed."""

    transaction_id: int
    station_id: str
    connector: int
    id_tag: str
    started_at: datetime
    ended_at: datetime | None
    meter_start_wh: Decimal | None
    meter_stop_wh: Decimal | None
    energy_wh: int


@dataclass(frozen=True, slots=True)
class UnmatchedStop:
    """A stop of a station that fitted none of its transactions."""

    id: int
    station_id: str
    id_as_sent: str  # "": it named none
    id_tag: str | None
    meter_stop_wh: Decimal | None
    station_time: str | None
    reason: str | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class UnknownCard:
    """A card that no client has, with what it took."""

    id_tag: str
    charges: int
    energy_wh: int
    last_station: str
    last_seen_at: datetime


async def unknown_cards(connection: Connection, limit: int) -> list[UnknownCard]:
    """Returns the cards of the latest charges of no client, the one that charged last first."""
    rows = await connection.fetch(
        """
        with latest as materialized (
          select t.id, t.id_tag, t.station_id, t.started_at, p.energy_wh
            from charging.transactions t join charging.progress p on p.transaction_id = t.id
           where t.purpose = 'unattributed' order by t.id desc limit 10000)
        select l.id_tag, count(*) as charges, sum(l.energy_wh)::bigint as energy_wh,
               (array_agg(l.station_id order by l.id desc))[1] as last_station,
               max(l.started_at) as last_seen_at
          from latest l group by l.id_tag order by max(l.id) desc limit $1
        """,
        limit,
    )
    return [read_row(UnknownCard, row) for row in rows]


async def list_unattributed(connection: Connection, limit: int) -> list[UnattributedRow]:
    """Returns the transactions of no client, the newest first."""
    rows = await connection.fetch(
        """
        select t.id as transaction_id, t.station_id, t.connector, t.id_tag, t.started_at,
               t.ended_at, t.meter_start_wh, t.meter_stop_wh, p.energy_wh
          from charging.transactions t join charging.progress p on p.transaction_id = t.id
         where t.purpose = 'unattributed' order by t.id desc limit $1
        """,
        limit,
    )
    return [read_row(UnattributedRow, row) for row in rows]


async def list_unmatched_stops(
    connection: Connection, limit: int, before: int | None
) -> list[UnmatchedStop]:
    """Returns the stops that fitted no transaction, the newest first, after one of them.

    They are few among the stops, and read by an index of their own.
    """
    rows = await connection.fetch(
        """
        with unmatched as materialized (
          select id, station_id, id_as_sent, id_tag, meter_stop_wh, station_time, reason,
                 received_at
            from charging.stops where transaction_id is null)
        select * from unmatched where $2::bigint is null or id < $2 order by id desc limit $1
        """,
        limit,
        before,
    )
    return [read_row(UnmatchedStop, row) for row in rows]


async def list_sessions(
    connection: Connection,
    *,
    states: Sequence[str] | None,
    station_id: str | None,
    client_id: UUID | None,
    in_quarantine: bool,
    limit: int,
) -> list[SessionRow]:
    """Returns sessions that EvPower ran or runs, the newest first."""
    rows = await connection.fetch(
        f"""
        select {SESSION_COLUMNS} from {SESSION_TABLES}
         where s.source = 'evpower'
           and ($1::text[] is null or s.state = any ($1))
           and ($2::text is null or s.station_id = $2)
           and ($3::uuid is null or s.client_id = $3)
           and (not $4 or s.quarantined_at is not null)
         order by s.created_at desc, s.id limit $5
        """,
        states,
        station_id,
        client_id,
        in_quarantine,
        limit,
    )
    return [read_row(SessionRow, row) for row in rows]


async def find_session(connection: Connection, session_id: UUID) -> SessionRow | None:
    """Returns a session that EvPower ran or runs; None: there is none of this id."""
    row = await connection.fetchrow(
        f"select {SESSION_COLUMNS} from {SESSION_TABLES} where s.source = 'evpower' and s.id = $1",
        session_id,
    )
    return None if row is None else read_row(SessionRow, row)


async def list_bills(connection: Connection, session_id: UUID) -> list[BillRow]:
    """Returns the bills of a session, the first one first."""
    rows = await connection.fetch(
        """
        select b.id, b.bill_number, b.total_minor, b.due_minor, b.energy_wh, b.ended_at, b.actor,
               b.reason, b.created_at, c.id as record_id, c.is_estimated, c.parts, c.periods,
               c.station_owner, c.tariff_owner
          from charging.settlements b left join charging.cdrs c on c.settlement_id = b.id
         where b.session_id = $1 and b.bill_number is not null order by b.bill_number
        """,
        session_id,
    )
    return [read_row(BillRow, row) for row in rows]
