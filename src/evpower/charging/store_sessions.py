"""The SQL of sessions that EvPower runs: how they begin, wait and are stopped."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from evpower.charging.model import ChargingSession, SessionState, StopReason
from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import columns, read_row

_SESSION: Final = columns(ChargingSession)


@dataclass(frozen=True, slots=True)
class ConnectorFacts:
    """What a start needs to know of a connector."""

    wanted_availability: str
    reported_status: str | None
    rated_power_w: int
    last_frame_at: datetime | None  # of the station


async def find_connector(
    connection: Connection, station_id: str, number: int
) -> ConnectorFacts | None:
    """Returns a connector; None: the station has none of this number."""
    row = await connection.fetchrow(
        """
        select c.wanted_availability, c.reported_status, c.rated_power_w, o.last_frame_at
          from stations.connectors_public c
          left join stations.sockets_public o on o.station_id = c.station_id
         where c.station_id = $1 and c.number = $2
        """,
        station_id,
        number,
    )
    return None if row is None else read_row(ConnectorFacts, row)


async def connector_numbers(connection: Connection, station_id: str) -> list[int]:
    """Returns the numbers of a station's connectors."""
    rows = await connection.fetch(
        "select number from stations.connectors_public where station_id = $1 order by number",
        station_id,
    )
    return [row["number"] for row in rows]


async def insert_session(connection: Connection, session: ChargingSession) -> None:
    """Inserts a session. Raises asyncpg.UniqueViolationError beside another open one."""
    fields = _SESSION.split(", ")
    values = ", ".join(f"${number}" for number in range(1, len(fields) + 1))
    await connection.execute(
        f"insert into charging.sessions ({_SESSION}, source) values ({values}, 'evpower')",
        *(getattr(session, field) for field in fields),
    )


async def insert_tariff(
    connection: Connection, session_id: UUID, plan: str, version: int, snapshot: Mapping[str, Any]
) -> None:
    """Stores the tariff that a session is billed by."""
    await connection.execute(
        """
        insert into charging.session_tariffs (session_id, plan, version, snapshot)
        values ($1, $2, $3, $4)
        """,
        session_id,
        plan,
        version,
        snapshot,
    )


async def find_snapshot(connection: Connection, session_id: UUID) -> Mapping[str, Any] | None:
    """Returns the stored tariff of a session; None: it has none."""
    return await connection.fetchval(
        "select snapshot from charging.session_tariffs where session_id = $1", session_id
    )


async def find_session(connection: Connection, session_id: UUID) -> ChargingSession | None:
    """Returns a session that EvPower runs; None: there is none of this id."""
    return _session(
        await connection.fetchrow(
            f"select {_SESSION} from charging.sessions where id = $1 and source = 'evpower'",
            session_id,
        )
    )


async def lock_session(connection: Connection, session_id: UUID) -> ChargingSession | None:
    """Returns a session that EvPower runs, locked until the transaction ends."""
    return _session(
        await connection.fetchrow(
            f"""
            select {_SESSION} from charging.sessions where id = $1 and source = 'evpower'
               for no key update
            """,
            session_id,
        )
    )


async def lock_by_tag(connection: Connection, station_id: str, tag: str) -> ChargingSession | None:
    """Returns the session of a one-time tag at its station, locked."""
    return _session(
        await connection.fetchrow(
            f"""
            select {_SESSION} from charging.sessions where id_tag = $2 and station_id = $1
               for no key update
            """,
            station_id,
            tag,
        )
    )


async def lock_open(connection: Connection, station_id: str) -> list[ChargingSession]:
    """Returns the open sessions of a station, locked, by connector."""
    rows = await connection.fetch(
        f"""
        select {_SESSION} from charging.sessions
         where station_id = $1 and source = 'evpower'
           and state in ('requested', 'starting', 'charging', 'stopping')
         order by connector_id for no key update
        """,
        station_id,
    )
    return [read_row(ChargingSession, row) for row in rows]


async def open_of_client(connection: Connection, client_id: UUID) -> list[ChargingSession]:
    """Returns the open sessions of a client, the newest first."""
    rows = await connection.fetch(
        f"""
        select {_SESSION} from charging.sessions
         where client_id = $1 and source = 'evpower'
           and state in ('requested', 'starting', 'charging', 'stopping')
         order by created_at desc, id
        """,
        client_id,
    )
    return [read_row(ChargingSession, row) for row in rows]


async def set_start_command(connection: Connection, session_id: UUID, command_id: int) -> None:
    """Stores which command starts a session."""
    await connection.execute(
        "update charging.sessions set start_command_id = $2 where id = $1", session_id, command_id
    )


async def set_starting(connection: Connection, session_id: UUID, window_ends_at: datetime) -> None:
    """The station accepted the remote start; it has until then to begin."""
    await connection.execute(
        """
        update charging.sessions
           set state = 'starting', start_window_ends_at = greatest(start_window_ends_at, $2)
         where id = $1
        """,
        session_id,
        window_ends_at,
    )


async def set_unstarted(
    connection: Connection, session_id: UUID, state: SessionState, failure: str
) -> None:
    """Ends a session before it charged."""
    await connection.execute(
        "update charging.sessions set state = $2, start_failure = $3 where id = $1",
        session_id,
        state,
        failure,
    )


async def close_window(connection: Connection, session_id: UUID, now: datetime) -> None:
    """Ends the start window now: the station can't begin by the remote start any more."""
    await connection.execute(
        """
        update charging.sessions set start_window_ends_at = least(start_window_ends_at, $2)
         where id = $1
        """,
        session_id,
        now,
    )


async def set_charging(
    connection: Connection, session_id: UUID, connector: int, started_at: datetime
) -> None:
    """The station began: the session charges, on the connector it began on."""
    await connection.execute(
        """
        update charging.sessions
           set state = 'charging', connector_id = $2, started_at = $3, start_failure = null
         where id = $1
        """,
        session_id,
        connector,
        started_at,
    )


async def set_stop_requested(
    connection: Connection, session_id: UUID, actor: str, at: datetime
) -> None:
    """Stores who first asked for the stop, and when."""
    await connection.execute(
        """
        update charging.sessions
           set stop_requested_at = coalesce(stop_requested_at, $3),
               stop_requested_by = coalesce(stop_requested_by, $2)
         where id = $1
        """,
        session_id,
        actor,
        at,
    )


async def set_asked_to_end(connection: Connection, session_id: UUID, at: datetime) -> None:
    """Stores when a stop was first asked for that is no limit's."""
    await connection.execute(
        """
        update charging.sessions set asked_to_end_at = $2 where id = $1 and asked_to_end_at is null
        """,
        session_id,
        at,
    )


async def quarantine(connection: Connection, session_id: UUID, reason: str, at: datetime) -> None:
    """Flags a session for the operator's decision."""
    await connection.execute(
        """
        update charging.sessions set quarantined_at = $3, quarantine_reason = $2
         where id = $1 and quarantined_at is null
        """,
        session_id,
        reason,
        at,
    )


async def overdue_starts(
    connection: Connection, now: datetime, limit: int
) -> list[tuple[UUID, str]]:
    """Returns id and station of sessions whose start window is over, the oldest first."""
    rows = await connection.fetch(
        """
        select id, station_id from charging.sessions
         where source = 'evpower' and state in ('requested', 'starting')
           and start_window_ends_at <= $1
         order by start_window_ends_at limit $2
        """,
        now,
        limit,
    )
    return [(row["id"], row["station_id"]) for row in rows]


async def undelivered_starts(
    connection: Connection, before: datetime, limit: int
) -> list[tuple[UUID, str]]:
    """Returns id and station of sessions made before a time that no station has answered."""
    rows = await connection.fetch(
        """
        select id, station_id from charging.sessions
         where source = 'evpower' and state = 'requested' and created_at <= $1
         order by created_at limit $2
        """,
        before,
        limit,
    )
    return [(row["id"], row["station_id"]) for row in rows]


async def running_of_barred(
    connection: Connection, now: datetime, limit: int
) -> list[tuple[UUID, StopReason]]:
    """Returns sessions that charge while their client may not spend: id and the reason's code."""
    rows = await connection.fetch(
        """
        select s.id, case when c.status = 'closed' or c.deletion_requested_at is not null
                          then 'client_deleted' else 'client_blocked' end as reason
          from charging.sessions s join identity.clients_public c on c.id = s.client_id
         where s.source = 'evpower' and s.state = 'charging'
           and (c.status <> 'active' or c.deletion_requested_at is not null
                or c.unmapped_status is not null or c.banned_until > $1)
         order by s.id limit $2
        """,
        now,
        limit,
    )
    return [(row["id"], row["reason"]) for row in rows]


def _session(row: Record | None) -> ChargingSession | None:
    return None if row is None else read_row(ChargingSession, row)
