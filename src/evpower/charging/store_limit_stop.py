"""The SQL of a limit's stop: what it is computed from, and all that it writes."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from evpower.charging.running import RunningTransaction
from evpower.charging.store_running import RUNNING, UNKNOWN_POWER_W, read_running
from evpower.charging.store_transactions import aliases_query
from evpower.foundation.db import Connection


class ReadVersions(NamedTuple):
    """Which versions of its rows a transaction was read from, and its station's ids of it."""

    transaction: int
    progress: int
    session: int
    aliases: tuple[str, ...]  # the one seen last first


class StopWrites(NamedTuple):
    """What a limit's stop writes."""

    session_id: UUID
    reason: str
    actor: str
    command_id: int
    stop_due_at: datetime
    look_at: datetime  # whether it helped


_READ: Final = f"""
select r.*, t.xmin as t_version, p.xmin as p_version, s.xmin as s_version,
       array({aliases_query("$2")}) as aliases
  from ({RUNNING} where t.id = $2) r
  join charging.transactions t on t.id = r.t_id
  join charging.progress p on p.transaction_id = t.id
  join charging.sessions s on s.id = t.session_id
"""


async def read_with_versions(
    connection: Connection, transaction_id: int
) -> tuple[RunningTransaction, ReadVersions] | None:
    """Returns a transaction with its session, progress and money; None: it has no session."""
    row = await connection.fetchrow(_READ, UNKNOWN_POWER_W, transaction_id)
    if row is None:
        return None
    versions = ReadVersions(
        row["t_version"], row["p_version"], row["s_version"], tuple(row["aliases"])
    )
    return read_running(row), versions


async def write_stop(
    connection: Connection,
    running: RunningTransaction,
    versions: ReadVersions,
    writes: StopWrites,
    *,
    heard_since: datetime,
    now: datetime,
) -> bool:
    """Stores that a session's stop was asked for, with its step; false: it was not written whole.

    It is written if every row is still of these versions, the money on hold and in the wallet is
    the same where it is the limit, and the station was heard since then. The caller has locked the
    station.
    """
    session = running.session
    money = None
    if session is not None and session.limits.rests_on_hold:
        money = session.held_minor, session.available_minor
    held_minor, available_minor = money or (None, None)
    written: bool = await connection.fetchval(
        f"""
        with known as (
          select t.id, t.session_id, p.energy_wh
            from charging.transactions t
            join charging.progress p on p.transaction_id = t.id
            join charging.sessions s on s.id = t.session_id
            join stations.sockets_public o on o.station_id = t.station_id
            left join wallet.holds_public h on h.session_id = s.id and h.state = 'open'
            left join wallet.balances b on b.client_id = s.client_id
           where t.id = $2 and t.xmin = $3::xid and p.xmin = $4::xid
             and s.xmin = $5::xid
             and array({aliases_query("$2")}) = $6::text[]
             and o.last_frame_at > $7
             and ($8::bigint is null
                  or (coalesce(h.amount_minor, 0), coalesce(b.balance_minor - b.held_minor, 0))
                     = ($8, $9::bigint))
        ), asked as (
          update charging.sessions s
             set state = 'stopping', stop_reason = coalesce(s.stop_reason, $10),
                 stop_requested_at = coalesce(s.stop_requested_at, $1),
                 stop_requested_by = coalesce(s.stop_requested_by, $11)
            from known k where s.id = k.session_id and s.id = $12 and s.state = 'charging'
          returning s.id
        ), stepped as (
          insert into charging.stop_steps
            (transaction_id, step, cause, command_id, base_wh, taken_at)
          select k.id, 'remote_stop', $10, $13, k.energy_wh, $1 from known k
          returning id
        ), counted as (
          update charging.progress p
             set revision = p.revision + 1, stop_due_at = $14, stop_step = 'remote_stop',
                 step_due_at = $15
            from known k where p.transaction_id = k.id and p.transaction_id = $2
          returning p.transaction_id
        ) select (select count(*) from asked) = 1 and (select count(*) from stepped) = 1
             and (select count(*) from counted) = 1
        """,
        now,
        running.transaction.id,
        versions.transaction,
        versions.progress,
        versions.session,
        list(versions.aliases),
        heard_since,
        held_minor,
        available_minor,
        writes.reason,
        writes.actor,
        writes.session_id,
        writes.command_id,
        writes.stop_due_at,
        writes.look_at,
    )
    return written


async def check_at_once(connection: Connection) -> None:
    """Lets the database check now what it would check at the commit."""
    await connection.execute("set constraints all immediate")
