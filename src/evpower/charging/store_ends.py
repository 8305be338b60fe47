"""The SQL of the end of a session: its bill, the record of it, quarantine, what is due."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args
from uuid import UUID

from evpower.foundation.db import Connection, Record

_STATUSES_READ: Final = 1_000


async def finish_session(
    connection: Connection,
    session_id: UUID,
    *,
    ended_at: datetime,
    energy_wh: int,
    cost_minor: int,
    end_reason: str,
    is_estimated: bool,
    free_reason: str | None,
) -> None:
    """Stores the end of a session, which is charged next."""
    await connection.execute(
        """
        update charging.sessions
           set state = 'finished', ended_at = $2, energy_wh = $3, cost_minor = $4, end_reason = $5,
               is_estimated = $6, free_reason = $7
         where id = $1
        """,
        session_id,
        ended_at,
        energy_wh,
        cost_minor,
        end_reason,
        is_estimated,
        free_reason,
    )


async def set_flags(
    connection: Connection,
    session_id: UUID,
    *,
    is_estimated: bool,
    free_reason: str | None,
    end_reason: str | None,
) -> None:
    """Stores how a session ended, how sure that is, and why it is free: before its next bill."""
    await connection.execute(
        """
        update charging.sessions
           set is_estimated = $2, free_reason = $3, end_reason = coalesce($4, end_reason)
         where id = $1 and (is_estimated, free_reason, end_reason)
           is distinct from ($2, $3, coalesce($4, end_reason))
        """,
        session_id,
        is_estimated,
        free_reason,
        end_reason,
    )


async def last_actor(connection: Connection, session_id: UUID) -> str | None:
    """Returns who made the newest bill of a session; None: it is the first one."""
    return await connection.fetchval(
        """
        select actor from charging.settlements
         where session_id = $1 and bill_number is not null order by bill_number desc limit 1
        """,
        session_id,
    )


async def end_quarantine(connection: Connection, session_id: UUID) -> None:
    """An operator has decided on a session."""
    await connection.execute(
        """
        update charging.sessions set quarantined_at = null, quarantine_reason = null
         where id = $1
        """,
        session_id,
    )


async def set_station_lost(connection: Connection, session_id: UUID, at: datetime | None) -> None:
    """Stores since when the driver knows that the station is away; None: it is back."""
    await connection.execute(
        "update charging.sessions set station_lost_notified_at = $2 where id = $1", session_id, at
    )


async def insert_cdr(
    connection: Connection,
    settlement_id: int,
    session_id: UUID,
    *,
    is_estimated: bool,
    snapshot: Mapping[str, Any] | None,
    periods: Sequence[Mapping[str, Any]],
    parts: Sequence[Mapping[str, Any]],
    tariff_owner: str | None,
) -> None:
    """Stores what a bill rests on, with the owners as they are now."""
    await connection.execute(
        """
        insert into charging.cdrs (settlement_id, session_id, is_estimated, energy_wh, ended_at,
          snapshot, periods, parts, station_owner, tariff_owner)
        select b.id, b.session_id, $3, b.energy_wh, b.ended_at, $4, $5, $6,
               (select st.owner from charging.sessions s
                  join stations.stations_public st on st.id = s.station_id where s.id = $2), $7
          from charging.settlements b where b.id = $1
        """,
        settlement_id,
        session_id,
        is_estimated,
        snapshot,
        periods,
        parts,
        tariff_owner,
    )


async def lock_free_sessions(connection: Connection, client_id: UUID) -> None:
    """Lets no other session of a client become free until this transaction ends."""
    await connection.execute(
        "select pg_advisory_xact_lock(hashtextextended($1, 110))", str(client_id)
    )


async def ends_of_free(
    connection: Connection, client_id: UUID, since: datetime, until: datetime, besides: UUID
) -> list[datetime]:
    """Returns when the free sessions of a client ended, of this time, the first one first."""
    rows: list[Record] = await connection.fetch(
        """
        select ended_at from charging.sessions
         where client_id = $1 and free_reason is not null and ended_at between $2 and $3
           and id <> $4
         order by ended_at
        """,
        client_id,
        since,
        until,
        besides,
    )
    return [row["ended_at"] for row in rows]


async def connector_status(connection: Connection, station_id: str, connector: int) -> str | None:
    """Returns the status that a station reported last of a connector."""
    return await connection.fetchval(
        """
        select reported_status from stations.connectors_public
         where station_id = $1 and number = $2
        """,
        station_id,
        connector,
    )


async def is_over_since(
    connection: Connection, station_id: str, connector: int, since: datetime
) -> bool:
    """Returns whether a connector says, since then, that a charge on it is over."""
    return await connection.fetchval(
        """
        select exists (
          select from stations.connectors_public
           where station_id = $1 and number = $2 and reported_at >= $3
             and reported_status in ('finishing', 'available'))
        """,
        station_id,
        connector,
        since,
    )


async def is_another_used(connection: Connection, station_id: str, connector: int) -> bool:
    """Returns whether another connector of a station is in use though no transaction runs on it."""
    return await connection.fetchval(
        """
        select exists (
          select from stations.connectors_public c
           where c.station_id = $1 and c.number <> $2
             and c.reported_status in ('occupied', 'charging', 'suspended_ev', 'suspended_evse')
             and not exists (select from charging.transactions t
                              where t.station_id = c.station_id and t.connector = c.number
                                and t.ended_at is null))
        """,
        station_id,
        connector,
    )


class LoggedStatus(NamedTuple):
    """A status of a connector as it was reported."""

    status: str
    station_at: datetime | None  # its stamp as it was read; None: absent or unusable
    received_at: datetime


async def statuses_since(
    connection: Connection, station_id: str, connector: int, since: datetime
) -> list[LoggedStatus]:
    """Returns the newest statuses of a connector that were received since then."""
    rows: list[Record] = await connection.fetch(
        """
        select status, station_at, received_at from stations.status_log_public
         where station_id = $1 and connector = $2 and received_at >= $3
         order by received_at desc, id desc limit $4
        """,
        station_id,
        connector,
        since,
        _STATUSES_READ,
    )
    return [LoggedStatus(row["status"], row["station_at"], row["received_at"]) for row in rows]


DueKind = Literal["rebill", "close", "silent", "stop", "idle", "step", "lost"]
KINDS: Final = get_args(DueKind)  # the most final first
DueKey: TypeAlias = tuple[int, DueKind]


@dataclass(frozen=True, slots=True)
class Due:
    """A transaction of which something is due at a time."""

    id: int
    station_id: str
    kind: DueKind
    at: datetime

    @property
    def key(self) -> DueKey:
        """Which transaction, and what is due of it."""
        return self.id, self.kind


class DueBounds(NamedTuple):
    """From when on a station counts as silent or lost, and how long a session may be idle."""

    silent_before: datetime
    lost_before: datetime
    idle_for: timedelta


_NAMED: Final = "select * from charging.transactions where id = $7"
_LISTED: Final = """
            select * from charging.transactions where ended_at is null
             union all
            select * from charging.transactions where ended_at is not null and id in (
              select y.transaction_id from charging.progress y where y.rebill_due_at is not null
               union all
              select z.transaction_id from charging.progress z where z.stop_step is not null)
"""
# Of most, nothing is due whatever its session and its station's socket say: these are not read.
_DUE: Final = """
        select * from (
          select t.id, t.station_id, due.kind,
                 case due.kind when 'rebill' then p.rebill_due_at when 'close' then p.close_due_at
                      when 'stop' then coalesce(p.stop_due_at, $1) when 'step' then p.step_due_at
                      else $1 end as at
            from ({listed}) t
            join charging.progress p on p.transaction_id = t.id
            left join lateral (select s.id, s.state, s.station_lost_notified_at
                                 from charging.sessions s where s.id = t.session_id limit 1) s
              on true
            left join lateral (select o.last_frame_at from stations.sockets_public o
                                where o.station_id = t.station_id limit 1) o
              on true
           cross join lateral (select k.kind from unnest(array[
                 case when p.rebill_due_at <= $1 then 'rebill' end,
                 case when t.ended_at is null and p.close_due_at <= $2 then 'close' end,
                 case when t.ended_at is null
                           and greatest(o.last_frame_at, t.received_at, p.last_value_at) <= $3
                      then 'silent' end,
                 case when t.ended_at is null
                           and (s.state = 'charging' or t.purpose = 'technician')
                           and (p.stop_due_at <= $2 or p.register is null)
                      then 'stop' end,
                 case when t.ended_at is null and s.state = 'charging' and p.parked_since is null
                           and p.last_value_at >= coalesce(p.flowed_at, t.received_at) + $6
                      then 'idle' end,
                 case when p.step_due_at <= $2 then 'step' end,
                 case when t.ended_at is null and s.id is not null
                           and s.station_lost_notified_at is null
                           and greatest(o.last_frame_at, t.received_at, p.last_value_at) <= $4
                      then 'lost' end
                 ]) with ordinality k (kind, rank)
                 where k.kind is not null order by k.rank limit {most}) due
           where p.rebill_due_at <= $1 or p.step_due_at <= $2
              or t.ended_at is null and (
                 p.close_due_at <= $2 or p.stop_due_at <= $2 or p.register is null
                 or greatest(t.received_at, p.last_value_at) <= greatest($3, $4)
                 or p.parked_since is null
                    and p.last_value_at >= coalesce(p.flowed_at, t.received_at) + $6)
          ) open
         order by at, id limit $5
"""


async def due(
    connection: Connection,
    now: datetime,
    *,
    horizon: datetime,
    bounds: DueBounds,
    transaction_id: int | None,
    every: bool,
    limit: int,
) -> list[Due]:
    """Returns what is due until the horizon: everything, or of each transaction the most final.

    The earliest first. What has no moment of its own is due now.
    """
    values = (now, horizon, bounds.silent_before, bounds.lost_before, limit, bounds.idle_for)
    most = len(KINDS) if every else 1
    if transaction_id is None:
        rows = await connection.fetch(_DUE.format(listed=_LISTED, most=most), *values)
    else:
        query = _DUE.format(listed=_NAMED, most=most)
        rows = await connection.fetch(query, *values, transaction_id)
    return [Due(row["id"], row["station_id"], row["kind"], row["at"]) for row in rows]
