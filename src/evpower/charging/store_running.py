"""The SQL of running transactions: their progress, meter values and stops."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import orjson

from evpower import tariffs
from evpower.charging.events import StationReadings, StationStatus, StationStop, StationTime
from evpower.charging.model import StationTransaction
from evpower.charging.running import (
    Facts,
    Progress,
    RunningSession,
    RunningTransaction,
    StoredValue,
    as_int2,
    as_int4,
    begin_progress,
)
from evpower.charging.shared_writes import SharedWrites
from evpower.charging.stored_register import read_register, write_register
from evpower.foundation.clock import read_time, to_z
from evpower.foundation.db import Connection, Record, fetch_one
from evpower.foundation.rows import columns, read_row

_MAX_TEXT: Final = 255
UNKNOWN_POWER_W: Final = 400_000  # of a connector that the operator never described
_FACTS: Final = Facts._fields
_PROGRESS: Final = (
    "interval_s", "parked_since", "last_value_at", "flowed_at", "stop_due_at",
    "close_due_at", "close_reason", "rebill_due_at", "tail_wh",
)  # fmt: skip
WRITTEN: Final = (
    "register", "register_wh", "energy_wh", "cost_minor", "tally", *_FACTS, *_PROGRESS,
)  # fmt: skip
JSON_COLUMNS: Final = frozenset({"register", "tally"})  # written as texts
_others_of: Final = attrgetter(*_PROGRESS)
_USUAL_CHARS: Final = frozenset({20, 27})
VALUE_COLUMNS: Final = (
    "received_at", "at", "priced_at", "transaction_id", "session_wh", "power_w", "current_ma",
    "voltage_mv", "ev_current_ma", "ev_voltage_mv", "connector", "soc_percent", "body_temperature",
    "outlet_temperature", "inlet_temperature", "is_parked", "is_timed", "energy_wh", "station_id",
    "station_time", "context", "outcome",
)  # fmt: skip
_READ: Final = (*WRITTEN, "stop_step")  # which `store_steps` writes
_TRANSACTION: Final = tuple(field.name for field in fields(StationTransaction))
_SESSION: Final = tuple(
    field.name
    for field in fields(RunningSession)
    if field.name not in {"held_minor", "available_minor", "snapshot"}
)


def _aliased(table: str, names: Sequence[str]) -> str:
    return ", ".join(f"{table}.{name} as {table}_{name}" for name in names)


# All that a frame of a transaction needs; the parameter is the power of an unknown connector.
RUNNING: Final = f"""
        select {_aliased("t", _TRANSACTION)}, {_aliased("s", _SESSION)}, {_aliased("p", _READ)},
               coalesce(h.amount_minor, 0) as held_minor,
               coalesce(b.balance_minor - b.held_minor, 0) as available_minor,
               f.snapshot::text as snapshot, k.skew_s,
               coalesce(c.rated_power_w,
                        (select max(o.rated_power_w) from stations.connectors_public o
                          where o.station_id = t.station_id), $1) as rated_power_w
          from charging.transactions t
          join charging.progress p on p.transaction_id = t.id
          left join charging.sessions s on s.id = t.session_id
          left join charging.session_tariffs f on f.session_id = t.session_id
          left join charging.clocks k on k.station_id = t.station_id
          left join stations.connectors_public c
            on c.station_id = t.station_id and c.number = t.connector
          left join wallet.holds_public h on h.session_id = t.session_id and h.state = 'open'
          left join wallet.balances b on b.client_id = s.client_id
"""


async def load(connection: Connection, transaction_id: int) -> RunningTransaction:
    """Returns a transaction with its session, progress and money.

    The caller has locked the station, so nothing but the wallet can change meanwhile.
    """
    row = await fetch_one(connection, f"{RUNNING} where t.id = $2", UNKNOWN_POWER_W, transaction_id)
    return read_running(row)


def read_running(row: Record) -> RunningTransaction:
    """Returns a row of `RUNNING`."""
    transaction = StationTransaction(**{name: row[f"t_{name}"] for name in _TRANSACTION})
    session = None
    if transaction.session_id is not None:
        session = RunningSession(
            **{name: row[f"s_{name}"] for name in _SESSION},
            held_minor=row["held_minor"],
            available_minor=row["available_minor"],
            snapshot=row["snapshot"],
        )
    progress = _read_progress(transaction, {name: row[f"p_{name}"] for name in _READ})
    return RunningTransaction(transaction, session, progress, row["rated_power_w"], row["skew_s"])


def _read_progress(transaction: StationTransaction, row: Mapping[str, Any]) -> Progress:
    known = {name: row[name] for name in (*_PROGRESS, "stop_step")}
    if row["register"] is None:  # nothing came since the start
        time = StationTime(_read_time(transaction.start_station_time), None)
        begun = begin_progress(
            transaction.started_at, transaction.meter_start_wh, time, transaction.received_at
        )
        return begun.replace(**known)
    after_end = row["register"].get("after_end")
    return Progress(
        register=read_register(row["register"]),
        after_end=None if after_end is None else read_register(after_end),
        tally=tariffs.read_tally(row["tally"]),
        cost_minor=row["cost_minor"],
        facts=Facts(**{name: row[name] for name in _FACTS}),
        **known,
    )


def _read_time(raw: str | None) -> datetime | None:
    try:
        return None if raw is None else read_time(raw)
    except ValueError:
        return None


def progress_values(progress: Progress) -> tuple[object, ...]:
    """Returns the columns `WRITTEN` of a progress; JSON as what it is of."""
    last, after_end = progress.register.last, progress.after_end
    register = write_register(progress.register)
    if after_end is not None:
        register["after_end"] = write_register(after_end)
    return (
        register,
        None if last is None else last.wh,
        progress.energy_wh,
        progress.cost_minor,
        tariffs.write_tally(progress.tally),
        *progress.facts,
        *_others_of(progress),
    )


async def update_progress(
    connection: Connection | SharedWrites, transaction_id: int, progress: Progress
) -> None:
    """Stores the progress of a transaction that the caller has locked."""
    if isinstance(connection, SharedWrites):
        connection.progress = progress
        return
    changes = ", ".join(
        f"{name} = ${number}" + "::text::jsonb" * (name in JSON_COLUMNS)
        for number, name in enumerate(WRITTEN, 2)
    )
    await connection.execute(
        f"""
        update charging.progress set revision = revision + 1, {changes}
         where transaction_id = $1
        """,
        transaction_id,
        *(
            orjson.dumps(value).decode() if isinstance(value, dict) else value
            for value in progress_values(progress)
        ),
    )


async def insert_values(
    connection: Connection | SharedWrites,
    event: StationReadings | StationStatus | StationStop,
    connector: int,
    transaction_id: int | None,
    values: Sequence[StoredValue],
) -> None:
    """Stores meter values as they were read, and what each counts for in the session."""
    if not values:
        return
    rows = [_value_row(event, connector, transaction_id, value) for value in values]
    if isinstance(connection, SharedWrites):
        connection.values += rows
        return
    await connection.executemany(
        f"""
        insert into charging.meter_values ({", ".join(VALUE_COLUMNS)})
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
          $19, $20, $21, $22)
        """,
        rows,
    )


def _value_row(
    event: StationReadings | StationStatus | StationStop,
    connector: int,
    transaction_id: int | None,
    value: StoredValue,
) -> tuple[object, ...]:
    """Returns a row; what it would have as most rows do is null."""
    reading, outcome, sample = value.reading, value.outcome, value.sample
    (at, raw), context = reading.time, reading.context
    is_parked, is_timed, session_wh, priced_at = None, None, None, None
    if sample is not None:
        is_parked, is_timed, session_wh = sample.is_parked, sample.is_timed, sample.energy_wh
        priced_at = None if sample.at == at else sample.at
    return (
        event.received_at,
        at,
        priced_at,
        transaction_id,
        *as_int4(session_wh, reading.power_w, reading.current_ma, reading.voltage_mv),
        *as_int4(reading.ev_current_ma, reading.ev_voltage_mv),
        *as_int2(connector, reading.soc_percent, *reading.temperatures),
        is_parked,
        is_timed,
        reading.energy_wh,
        event.station_id if transaction_id is None else None,
        None if _is_usual(raw, at) else clip(raw),
        None if context == "Sample.Periodic" else clip(context),
        None if outcome == "trusted" else outcome,
    )


def _is_usual(raw: str | None, at: datetime | None) -> bool:
    """Returns whether a stamp is written as `to_z` writes it, in seconds or microseconds."""
    return at is not None and raw is not None and len(raw) in _USUAL_CHARS and raw == to_z(at)


async def insert_signed(
    connection: Connection, transaction_id: int, signed: Sequence[str], received_at: datetime
) -> None:
    """Stores signed values untouched: evidence, never numbers."""
    if signed:
        await connection.executemany(
            """
            insert into charging.signed_values (transaction_id, value, received_at)
            values ($1, $2, $3)
            """,
            [(transaction_id, value, received_at) for value in signed if value],
        )


async def find_named(
    connection: Connection, station_id: str, number: int | None, name: str | None
) -> list[StationTransaction]:
    """Returns the transactions of a station that have this id, or are called so; newest first."""
    rows = await connection.fetch(
        f"""
        select {columns(StationTransaction)} from charging.transactions t
         where t.station_id = $1 and t.id in (
           select x.id from charging.transactions x where x.id = $2::bigint
           union all
           select x.id from charging.transactions x where x.station_id = $1 and x.text_id = $3
           union all
           select a.transaction_id from charging.transaction_aliases a
            where a.station_id = $1 and a.alias = any ($4::text[]))
         order by t.id desc limit 10
        """,
        station_id,
        number,
        name,
        [text for text in (name, None if number is None else str(number)) if text is not None],
    )
    return [read_row(StationTransaction, row) for row in rows]


async def find_open(connection: Connection, station_id: str) -> list[StationTransaction]:
    """Returns the open transactions of a station; newest first."""
    rows = await connection.fetch(
        f"""
        select {columns(StationTransaction)} from charging.transactions
         where station_id = $1 and ended_at is null order by id desc
        """,
        station_id,
    )
    return [read_row(StationTransaction, row) for row in rows]


async def find_ended(
    connection: Connection, station_id: str, since: datetime
) -> list[StationTransaction]:
    """Returns the transactions of a station that ended since then; newest first."""
    rows = await connection.fetch(
        f"""
        select {columns(StationTransaction)} from charging.transactions
         where station_id = $1 and ended_at >= $2 order by id desc limit 20
        """,
        station_id,
        since,
    )
    return [read_row(StationTransaction, row) for row in rows]


async def insert_stop(
    connection: Connection, event: StationStop, id_as_sent: str, station_time: str | None
) -> int | None:
    """Stores a stop; returns its id, None: it came before."""
    return await connection.fetchval(
        """
        insert into charging.stops
          (station_id, id_as_sent, meter_stop_wh, station_time, id_tag, reason, received_at)
        values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (station_id, id_as_sent, meter_stop_wh, station_time, id_tag) do nothing
        returning id
        """,
        event.station_id,
        id_as_sent,
        event.meter_wh,
        station_time,
        clip(event.id_tag),
        clip(event.reason),
        event.received_at,
    )


async def match_stop(connection: Connection, stop_id: int, transaction_id: int) -> None:
    """Stores which transaction a stop ended."""
    await connection.execute(
        "update charging.stops set transaction_id = $2 where id = $1", stop_id, transaction_id
    )


async def end_transaction(
    connection: Connection, transaction_id: int, event: StationStop, ended_at: datetime
) -> None:
    """Stores the end of a transaction by its station."""
    await connection.execute(
        """
        update charging.transactions
           set meter_stop_wh = $2, ended_at = $3, stop_station_time = $4, stop_reason = $5,
               end_kind = 'stop', is_end_timed = $6
         where id = $1
        """,
        transaction_id,
        event.meter_wh,
        ended_at,
        clip(event.time.raw),
        clip(event.reason),
        event.time.at is not None,
    )


async def end_estimated(connection: Connection, transaction_id: int, ended_at: datetime) -> None:
    """Stores the end of a transaction whose station did not stop it."""
    await connection.execute(
        "update charging.transactions set ended_at = $2, end_kind = 'estimated' where id = $1",
        transaction_id,
        ended_at,
    )


def clip(text: str | None) -> str | None:
    """Returns a station's text as the database can store it."""
    return None if text is None else text.replace("\x00", "")[:_MAX_TEXT]
