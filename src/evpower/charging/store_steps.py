"""The SQL of the steps that end a charge which goes on although it was to stop."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from evpower.charging.model import StationTransaction, StepOutcome, StopStep
from evpower.charging.store_transactions import aliases_query
from evpower.foundation.db import Connection
from evpower.foundation.rows import columns, read_row

_IN_USE: Final = ("occupied", "charging", "suspended_ev", "suspended_evse")  # a connector
OVER_ON_CONNECTOR: Final = """
        select t.id from charging.transactions t
         where t.station_id = $1 and t.connector = $2 and t.ended_at is not null and t.id in (
           select p.transaction_id from charging.progress p where p.stop_step is not null
           union all
           select x.transaction_id from charging.stop_steps x
            where x.step = 'zero_limit' and x.command_id is not null and x.cleared_at is null
           union all
           select x.transaction_id
             from stations.commands_public q
             join charging.stop_steps x on x.command_id = q.id
            where q.station_id = $1 and q.state = 'queued')
         order by t.id
"""


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step, and what the meter said of it."""

    id: int
    transaction_id: int
    step: StopStep
    cause: str  # why the charge was to stop
    command_id: int | None  # None: nothing was sent
    base_wh: Decimal  # the energy when it was taken
    taken_at: datetime
    outcome: StepOutcome | None  # None: not known yet
    ended_at: datetime | None


async def insert_unsent_step(
    connection: Connection,
    transaction_id: int,
    step: StopStep,
    cause: str,
    now: datetime,
    *,
    is_skipped: bool = False,
) -> None:
    """Stores a step that sends nothing, with the energy that the charge has now."""
    await connection.execute(
        """
        insert into charging.stop_steps
          (transaction_id, step, cause, base_wh, taken_at, outcome, ended_at)
        select t.id, $2, $3,
               case when t.end_kind = 'stop' then coalesce(p.register_wh, 0) + p.tail_wh
                    else p.energy_wh end,
               $4, case when $5 then 'skipped' end, case when $5 then $4::timestamptz end
          from charging.transactions t join charging.progress p on p.transaction_id = t.id
         where t.id = $1
        """,
        transaction_id,
        step,
        cause,
        now,
        is_skipped,
    )


async def take_step(
    connection: Connection,
    transaction_id: int,
    step: StopStep,
    cause: str,
    command_id: int,
    *,
    look_at: datetime | None,
    now: datetime,
) -> None:
    """Stores a step of which something is sent, and when the watch looks whether it helped."""
    await connection.execute(
        """
        with counted as (
          update charging.progress set stop_step = $2, step_due_at = $6 where transaction_id = $1
          returning transaction_id, energy_wh, register_wh, tail_wh
        )
        insert into charging.stop_steps
          (transaction_id, step, cause, command_id, base_wh, taken_at)
        select t.id, $2, $3, $4,
               case when t.end_kind = 'stop' then coalesce(c.register_wh, 0) + c.tail_wh
                    else c.energy_wh end, $5
          from counted c join charging.transactions t on t.id = c.transaction_id
        """,
        transaction_id,
        step,
        cause,
        command_id,
        now,
        look_at,
    )


async def set_stopping(
    connection: Connection, session_id: UUID, reason: str, actor: str, at: datetime
) -> None:
    """The station is asked to stop a charging session: stores why, who first asked, and when."""
    await connection.execute(
        """
        update charging.sessions
           set state = 'stopping', stop_reason = coalesce(stop_reason, $2),
               stop_requested_at = coalesce(stop_requested_at, $4),
               stop_requested_by = coalesce(stop_requested_by, $3)
         where id = $1 and state = 'charging'
        """,
        session_id,
        reason,
        actor,
        at,
    )


async def set_step(
    connection: Connection, transaction_id: int, step: StopStep | None, due_at: datetime | None
) -> None:
    """Stores the newest step of a transaction, and when the watch looks whether it helped."""
    await connection.execute(
        """
        update charging.progress set stop_step = $2, step_due_at = $3 where transaction_id = $1
        """,
        transaction_id,
        step,
        due_at,
    )


async def look_now(connection: Connection, transaction_id: int, now: datetime) -> None:
    """The charge goes on: the watch looks now, unless nothing more is to be done."""
    await connection.execute(
        """
        update charging.progress set step_due_at = least(step_due_at, $2)
         where transaction_id = $1 and stop_step <> 'give_up'
           and coalesce(step_due_at > $2, true)
        """,
        transaction_id,
        now,
    )


async def newest_steps(connection: Connection, transaction_id: int) -> list[StepRow]:
    """Returns the newest two steps of which something was sent, the newest first."""
    rows = await connection.fetch(
        f"""
        select {columns(StepRow)} from charging.stop_steps
         where transaction_id = $1 and command_id is not null order by id desc limit 2
        """,
        transaction_id,
    )
    return [read_row(StepRow, row) for row in rows]


async def end_steps(
    connection: Connection, transaction_id: int, outcome: StepOutcome, now: datetime
) -> list[int]:
    """Ends the steps whose outcome was not known; returns the commands of all steps."""
    rows = await connection.fetch(
        """
        with ended as (
          update charging.stop_steps set outcome = $2, ended_at = greatest(taken_at, $3)
           where transaction_id = $1 and outcome is null)
        select command_id from charging.stop_steps
         where transaction_id = $1 and command_id is not null order by id
        """,
        transaction_id,
        outcome,
        now,
    )
    return [row["command_id"] for row in rows]


async def list_steps(connection: Connection, session_id: UUID) -> list[StepRow]:
    """Returns the steps of a session, the first one first."""
    rows = await connection.fetch(
        f"""
        select {columns(StepRow, "x")}
          from charging.stop_steps x join charging.transactions t on t.id = x.transaction_id
         where t.session_id = $1 order by x.id
        """,
        session_id,
    )
    return [read_row(StepRow, row) for row in rows]


async def values_since(
    connection: Connection, transaction_id: int, since: datetime
) -> list[Decimal]:
    """Returns the energy of each value that was measured and came since then, in their order.

    Until the station's own stop it is the session's energy, afterwards the register. What a station
    stored while it was away was measured before. A session may stand early, by its station's clock:
    by so much as the quickest of its newest frames seems to have been on its way, up to two minutes
    where its offset is not known.
    """
    rows = await connection.fetch(
        """
        with line as (
          select t.id, least(t.received_at - t.started_at, min(v.received_at - v.priced_at),
                   case when t.start_shift_s is null then interval '2 minutes' end) as lag
            from charging.transactions t
            left join lateral (
              select m.received_at, coalesce(m.priced_at, m.at) as priced_at
                from charging.meter_values m
               where m.transaction_id = t.id and m.received_at > $2::timestamptz - interval '1 hour'
                 and m.session_wh is not null and m.energy_wh is not null and m.at is not null
            ) v on true
           where t.id = $1 group by t.id)
        select coalesce(v.session_wh, v.energy_wh) as wh
          from line l join charging.meter_values v on v.transaction_id = l.id
         where v.received_at > $2 and v.energy_wh is not null
           and (v.session_wh is null
                or coalesce(v.priced_at, v.at, v.received_at) > $2 - l.lag)
         order by v.received_at, coalesce(v.session_wh, v.energy_wh)
        """,
        transaction_id,
        since,
    )
    return [row["wh"] for row in rows]


async def is_connector_used(connection: Connection, transaction: StationTransaction) -> bool:
    """Returns whether another transaction runs on the connector of this one."""
    return await connection.fetchval(
        """
        select exists (select from charging.transactions
          where station_id = $1 and connector = $2 and ended_at is null and id <> $3)
        """,
        transaction.station_id,
        transaction.connector,
        transaction.id,
    )


async def is_station_used(connection: Connection, transaction: StationTransaction) -> bool:
    """Returns whether anyone but this transaction's driver charges or begins at its station."""
    return await connection.fetchval(
        """
        select exists (select from charging.transactions
                 where station_id = $1 and ended_at is null and id <> $2)
            or exists (select from charging.sessions
                 where station_id = $1 and source = 'evpower'
                   and state in ('requested', 'starting', 'charging', 'stopping')
                   and id is distinct from $3)
            or exists (select from stations.connectors_public
                 where station_id = $1 and number <> $4
                   and reported_status = any ($5::text[]))
        """,
        transaction.station_id,
        transaction.id,
        transaction.session_id,
        transaction.connector,
        _IN_USE,
    )


async def over_on_connector(connection: Connection, station_id: str, connector: int) -> list[int]:
    """Returns the ended transactions of a connector with a step, a limit of 0 or a command open."""
    rows = await connection.fetch(OVER_ON_CONNECTOR, station_id, connector)
    return [row["id"] for row in rows]


async def ambiguous_stops(connection: Connection, station_id: str) -> list[tuple[int, int]]:
    """Returns the queued stops by an id that may be another charge's, too.

    Each with its transaction.
    """
    rows = await connection.fetch(
        f"""
        select q.id as command_id, x.transaction_id
          from stations.commands_public q
          join charging.stop_steps x on x.command_id = q.id
         where q.station_id = $1 and q.state = 'queued' and q.action = 'remote_stop'
           and exists (select from charging.transaction_aliases w
                        where w.transaction_id = x.transaction_id and w.alias not in (
                          {aliases_query("x.transaction_id")}))
         order by q.id
        """,
        station_id,
    )
    return [(row["command_id"], row["transaction_id"]) for row in rows]


async def clear_limits(connection: Connection, transaction_id: int, now: datetime) -> bool:
    """Stores that a transaction's limits of 0 are taken back; false: it had none."""
    cleared = await connection.fetch(
        """
        update charging.stop_steps set cleared_at = $2
         where transaction_id = $1 and step = 'zero_limit' and command_id is not null
           and cleared_at is null
        returning id
        """,
        transaction_id,
        now,
    )
    return bool(cleared)
