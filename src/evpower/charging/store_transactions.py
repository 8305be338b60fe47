"""The SQL of transactions, as stations report them."""

from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from evpower.charging.events import StationStart, StationStop
from evpower.charging.model import Purpose, StationTransaction, TechnicianAllowance
from evpower.charging.store_running import clip
from evpower.foundation.db import Connection, Record
from evpower.foundation.purge import count
from evpower.foundation.rows import columns, read_row

_TRANSACTION: Final = columns(StationTransaction)


async def insert_transaction(
    connection: Connection,
    start: StationStart,
    key: str,
    number: int,
    *,
    purpose: Purpose,
    session_id: UUID | None,
    started_at: datetime,
    card: TechnicianAllowance | None = None,
) -> int:
    """Inserts a transaction and its progress; returns our number for it."""
    transaction_id: int = await connection.fetchval(
        """
        with began as (
          insert into charging.transactions (station_id, connector, text_id, id_tag, purpose,
            session_id, meter_start_wh, started_at, start_station_time, received_at, start_key,
            start_number, technician_tag, limit_energy_wh, start_station_at, is_connector_guessed)
          values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
          returning *
        ), counted as (
          insert into charging.progress (transaction_id, session_id, register_wh, interval_s)
          select b.id, b.session_id, b.meter_start_wh, m.interval_s
            from began b left join charging.meters m
              on m.station_id = b.station_id and m.connector = b.connector
        ) select id from began
        """,
        start.station_id,
        start.connector,
        start.text_id,
        start.id_tag,
        purpose,
        session_id,
        start.meter_wh,
        started_at,
        start.time.raw,
        start.received_at,
        key,
        number,
        None if card is None else card.tag,
        None if card is None else card.left_wh,
        start.time.at,
        start.is_connector_guessed,
    )
    return transaction_id


async def insert_unhandled_start(
    connection: Connection, station_id: str, received_at: datetime
) -> int:
    """Stores a start that could not be handled; returns a number that no transaction gets."""
    number: int = await connection.fetchval(
        """
        insert into charging.unhandled_starts (number, station_id, received_at)
        values (nextval('charging.transactions_id_seq'), $1, $2) returning number
        """,
        station_id,
        received_at,
    )
    return number


async def is_of_unhandled_start(connection: Connection, station_id: str, number: int) -> bool:
    """Returns whether a station was answered this number for a start that was not handled."""
    known: bool = await connection.fetchval(
        """
        select exists (select from charging.unhandled_starts u
                        where u.number = $2 and u.station_id = $1)
        """,
        station_id,
        number,
    )
    return known


async def delete_unhandled_starts(
    connection: Connection, received_before: datetime, at_most: int
) -> int:
    """Deletes starts that were not handled and are old. Returns how many."""
    return count(
        await connection.execute(
            """
            delete from charging.unhandled_starts where number = any (array(
              select number from charging.unhandled_starts where received_at < $1
               order by received_at limit $2))
            """,
            received_before,
            at_most,
        )
    )


async def set_meter_start(
    connection: Connection, transaction_id: int, meter_start_wh: Decimal
) -> None:
    """Stores where a transaction's register began, if its start did not say so."""
    await connection.execute(
        """
        update charging.transactions set meter_start_wh = $2
         where id = $1 and meter_start_wh is null
        """,
        transaction_id,
        meter_start_wh,
    )


async def set_start_shift(connection: Connection, transaction_id: int, shift_s: int) -> None:
    """Stores by how much the times of a transaction are moved from right ones; it stays."""
    await connection.execute(
        """
        update charging.transactions set start_shift_s = $2
         where id = $1 and start_shift_s is null
        """,
        transaction_id,
        shift_s,
    )


async def stop_came_at(connection: Connection, transaction: StationTransaction) -> datetime:
    """Returns when the newest stop of an ended transaction was received; without one, its end."""
    came_at = await connection.fetchval(
        "select max(received_at) from charging.stops where transaction_id = $1", transaction.id
    )
    assert transaction.ended_at is not None, "it has ended"  # noqa: S101
    return came_at or transaction.ended_at


async def like_stop_came_at(
    connection: Connection, event: StationStop, id_as_sent: str, station_time: str | None
) -> datetime | None:
    """Returns when the newest stop with the same facts was received; None: there was none.

    Where a later one counted as well, its time is followed by when it was received.
    """
    came_at: datetime | None = await connection.fetchval(
        """
        select max(received_at) from charging.stops
         where station_id = $1 and id_as_sent = $2 and meter_stop_wh is not distinct from $3
           and ($4::text is null or station_time = $4 or starts_with(station_time, $4 || ' '))
           and id_tag is not distinct from $5
        """,
        event.station_id,
        id_as_sent,
        event.meter_wh,
        station_time,
        clip(event.id_tag),
    )
    return came_at


async def find_transaction(
    connection: Connection, transaction_id: int
) -> StationTransaction | None:
    """Returns a transaction by our number; None: there is none."""
    return _transaction(
        await connection.fetchrow(
            f"select {_TRANSACTION} from charging.transactions where id = $1", transaction_id
        )
    )


async def transaction_of_key(connection: Connection, key: str) -> StationTransaction | None:
    """Returns the newest transaction that began with this start."""
    return _transaction(
        await connection.fetchrow(
            f"""
            select {_TRANSACTION} from charging.transactions where start_key = $1
             order by start_number desc limit 1
            """,
            key,
        )
    )


async def transaction_of_session(
    connection: Connection, session_id: UUID
) -> StationTransaction | None:
    """Returns the transaction of a session; None: the station has not begun."""
    return _transaction(
        await connection.fetchrow(
            f"select {_TRANSACTION} from charging.transactions where session_id = $1", session_id
        )
    )


async def likely_connector(connection: Connection, station_id: str) -> int:
    """Returns on which connector a start is that names none.

    Where a car was plugged in just now, else on one that is free; of several the first one.
    """
    number: int | None = await connection.fetchval(
        """
        select c.number
          from stations.connectors_public c
         cross join lateral (
           select exists (select from charging.transactions t
                           where t.station_id = c.station_id and t.connector = c.number
                             and t.ended_at is null)
               or exists (select from charging.sessions s
                           where s.station_id = c.station_id and s.connector_id = c.number
                             and s.source = 'evpower'
                             and s.state in ('requested', 'starting', 'charging', 'stopping'))
             as is_used) u
         where c.station_id = $1
         order by c.reported_status is distinct from 'preparing', u.is_used,
                  case when c.reported_status in ('charging', 'occupied', 'suspended_ev',
                                                  'suspended_evse') then 0
                       when c.reported_status in ('unavailable', 'faulted') then 2 else 1 end,
                  c.number
         limit 1
        """,
        station_id,
    )
    return number or 1


async def open_on_connector(
    connection: Connection, station_id: str, connector: int
) -> StationTransaction | None:
    """Returns the transaction that runs on a connector."""
    return _transaction(
        await connection.fetchrow(
            f"""
            select {_TRANSACTION} from charging.transactions
             where station_id = $1 and connector = $2 and ended_at is null
            """,
            station_id,
            connector,
        )
    )


async def open_of_station(connection: Connection, station_id: str) -> list[StationTransaction]:
    """Returns the transactions that run at a station, by connector."""
    rows = await connection.fetch(
        f"""
        select {_TRANSACTION} from charging.transactions
         where station_id = $1 and ended_at is null order by connector
        """,
        station_id,
    )
    return [read_row(StationTransaction, row) for row in rows]


async def energy_of(connection: Connection, transaction_id: int) -> int:
    """Returns the energy that a transaction has delivered so far, Wh."""
    energy_wh: int | None = await connection.fetchval(
        "select energy_wh from charging.progress where transaction_id = $1", transaction_id
    )
    return energy_wh or 0


async def end_without_session(connection: Connection, transaction_id: int, now: datetime) -> None:
    """Ends a transaction without a session, of which no stop came."""
    await connection.execute(
        """
        update charging.transactions
           set ended_at = greatest(started_at, $2), end_kind = 'estimated'
         where id = $1 and ended_at is null
        """,
        transaction_id,
        now,
    )


async def add_alias(
    connection: Connection, station_id: str, alias: str, transaction_id: int, now: datetime
) -> None:
    """Stores an id by which the station calls a transaction, or that it used it again."""
    await connection.execute(
        """
        insert into charging.transaction_aliases
          (station_id, alias, transaction_id, first_seen_at, last_seen_at)
        values ($1, $2, $3, $4, $4)
        on conflict (station_id, alias, transaction_id) do update
          set last_seen_at = excluded.last_seen_at
        """,
        station_id,
        alias,
        transaction_id,
        now,
    )


def aliases_query(of: str) -> str:
    """Returns the query of a transaction's ids, as `aliases_of` does; `of`: its number in SQL."""
    return f"""
        select a.alias from charging.transaction_aliases a
         where a.transaction_id = {of} and not exists (
           select from charging.transactions t
            where t.station_id = a.station_id and t.ended_at is null and t.id <> {of} and case
              when exists (select from charging.transaction_aliases o where o.transaction_id = t.id)
              then exists (
                select from charging.transaction_aliases o
                 where o.transaction_id = t.id and o.alias = a.alias)
              else exists (
                select from charging.transaction_aliases o
                 where o.station_id = a.station_id and o.alias = a.alias
                   and o.transaction_id <> {of})
                or not exists (
                select from charging.progress p
                 where p.transaction_id = t.id and p.last_value_at is not null) end)
         order by a.last_seen_at desc, a.alias
        """


async def aliases_of(connection: Connection, transaction_id: int) -> list[str]:
    """Returns the station's own ids of a transaction, the one seen last first.

    Without those that another running transaction of the station has, or may have, too: a stop by
    one of them could end the other. It may have each while no value of it came, and one that the
    station has used for several while it has shown none of its own.
    """
    rows = await connection.fetch(aliases_query("$1"), transaction_id)
    return [row["alias"] for row in rows]


async def set_close_due(
    connection: Connection, transaction_id: int, at: datetime, reason: str
) -> None:
    """Ends a transaction at this time without its stop, unless an earlier time is set."""
    await connection.execute(
        """
        update charging.progress
           set close_due_at = $2, close_reason = $3, revision = revision + 1
         where transaction_id = $1 and (close_due_at is null or close_due_at > $2)
        """,
        transaction_id,
        at,
        reason,
    )


def _transaction(row: Record | None) -> StationTransaction | None:
    return None if row is None else read_row(StationTransaction, row)
