"""The SQL of the alerts of charging."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.rows import columns, read_row

_LIMIT: Final = 500


@dataclass(frozen=True, slots=True)
class RecentEnds:
    """How many sessions of a station were billed first lately, and ended badly."""

    station_id: str
    by_disconnect: int
    without_energy: int


@dataclass(frozen=True, slots=True)
class OverdueSession:
    """A session that should not be open any more, and by which rule."""

    id: UUID
    station_id: str
    connector_id: int
    state: str
    rule: Literal["start", "close", "stop", "idle", "step", "silent", "rebill", "too_long"]


async def recent_ends(
    connection: Connection, within: timedelta, disconnects: Sequence[str]
) -> list[RecentEnds]:
    """Returns the stations with sessions of which the first bill was made in this time.

    By the database's clock, which stamps bills and rows.
    """
    rows = await connection.fetch(
        f"""
        select {columns(RecentEnds)} from (
          select s.station_id,
                 count(*) filter (where s.end_reason = any ($2)) as by_disconnect,
                 count(*) filter (where s.energy_wh = 0) as without_energy
            from charging.sessions s
            join charging.settlements b on b.session_id = s.id and b.bill_number = 1
           where s.updated_at > now() - $1::interval and b.created_at > now() - $1::interval
             and s.started_by is not null
           group by s.station_id) ends
         order by station_id limit {_LIMIT}
        """,
        within,
        list(disconnects),
    )
    return [read_row(RecentEnds, row) for row in rows]


async def past_rules(
    connection: Connection,
    *,
    due_before: datetime,
    silent_before: datetime,
    begun_before: datetime,
    idle_for: timedelta,
) -> list[OverdueSession]:
    """Returns the open sessions that a rule should have ended by then, the oldest first.

    One without a register was never looked at: its first look predicts its stop.
    """
    rows = await connection.fetch(
        f"""
        select {columns(OverdueSession)} from (
          select s.id, s.station_id, s.connector_id, s.state, s.created_at,
                 case when s.state in ('requested', 'starting') then
                        case when s.start_window_ends_at < $1 then 'start' end
                      when p.close_due_at < $1 then 'close'
                      when s.state = 'charging' and (p.stop_due_at < $1
                           or p.register is null and t.received_at < $1) then 'stop'
                      when s.state = 'charging' and p.parked_since is null
                           and p.last_value_at >= coalesce(p.flowed_at, t.received_at) + $4
                           and exists (
                             select from charging.meter_values v where v.transaction_id = t.id
                                and v.received_at >= coalesce(p.flowed_at, t.received_at) + $4
                                and v.received_at < $1 and num_nulls(v.session_wh, v.energy_wh) = 0)
                        then 'idle'
                      when p.step_due_at < $1 then 'step'
                      when greatest(o.last_frame_at, t.received_at, p.last_value_at) < $2
                        then 'silent'
                      when t.received_at < $3 then 'too_long' end as rule
            from charging.sessions s
            left join charging.transactions t on t.session_id = s.id
            left join charging.progress p on p.transaction_id = t.id
            left join stations.sockets_public o on o.station_id = s.station_id
           where s.source = 'evpower' and s.started_by is not null
             and s.state in ('requested', 'starting', 'charging', 'stopping')
          union all
          select s.id, s.station_id, s.connector_id, s.state, s.created_at, 'rebill'
            from charging.progress p join charging.sessions s on s.id = p.session_id
           where p.rebill_due_at < $1) overdue
         where rule is not null order by created_at limit {_LIMIT}
        """,
        due_before,
        silent_before,
        begun_before,
        idle_for,
    )
    return [read_row(OverdueSession, row) for row in rows]


async def count_open(connection: Connection) -> dict[str, int]:
    """Returns the number of sessions that are not over, by state."""
    rows = await connection.fetch(
        """
        select state, count(*) as number from charging.sessions
         where source = 'evpower' and state in ('requested', 'starting', 'charging', 'stopping')
         group by state
        """
    )
    return {row["state"]: row["number"] for row in rows}


async def sum_power(connection: Connection) -> int:
    """Returns the sum of what open transactions last reported, in watts."""
    watts: int = await connection.fetchval(
        """
        select coalesce(sum(p.power_w), 0) from charging.transactions t
          join charging.progress p on p.transaction_id = t.id where t.ended_at is null
        """
    )
    return watts
