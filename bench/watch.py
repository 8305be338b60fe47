"""The watch over running sessions: its CPU, and how late a predicted stop is."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import orjson

from bench import charging_seed, seed
from bench.harness import Bar, Row, in_turn, p99
from bench.rig import Rig
from evpower import charging, tariffs
from evpower.charging import Reading, StationReadings, StationTime
from evpower.charging.due import find_due
from evpower.charging.rules import DEFAULT_RULES
from evpower.charging.running import begin_progress
from evpower.charging.stored_register import write_register
from evpower.charging.watch import watch_loop
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database

_SESSIONS: Final = 5_000
_STOPS: Final = 200
_SPREAD_S: Final = 20.0
_FRAMES_PER_S: Final = 20.0  # meter values that come meanwhile
_IDLE_S: Final = 20.0
_ROUNDS: Final = 3
_POWER_W: Final = 60_000
_LEFT_S: Final = 765  # of the 12.75 kWh that are left, at that power
_TICKS_PER_S: Final = 100
_REGISTER: Final = """
update charging.progress set register = $1, tally = $2, energy_wh = 7250, power_w = $3,
       interval_s = 60, flowed_at = now(), last_value_at = now()
"""
_DUE: Final = """
update charging.progress p set stop_due_at = x.at, last_value_at = x.at - $3 * interval '1 second'
  from unnest($1::int[], $2::timestamptz[]) as x (id, at) where p.transaction_id = x.id
"""
_STOPPED: Final = """
select extract(epoch from pg_xact_commit_timestamp(s.xmin) - x.at) * 1000
  from unnest($1::int[], $2::timestamptz[]) as x (id, at)
  join charging.transactions t on t.id = x.id
  join charging.sessions s on s.id = t.session_id and s.state = 'stopping'
"""
_STAMPED: Final = """
select extract(epoch from pg_xact_commit_timestamp(b.xmin) - b.at) * 1000 from bench.timers b
"""


async def watch(rig: Rig) -> list[Row]:
    """5,000 sessions charge: the watch's CPU, and its lateness against a bare timer's.

    Both have a pool of connections that were opened before: else the timer's p99 would be the time
    in which a connection is opened.
    """
    cpu_ms = await _cpu(rig)

    async def ours() -> float:
        return p99(await _stops(rig))

    async def bare() -> float:
        return p99(await _timers(rig))

    turns = await in_turn(ours, bare, rounds=_ROUNDS)
    late_ms, bare_ms = turns
    note = f"{_STOPS} stops in {_SPREAD_S:.0f} s, {_FRAMES_PER_S:.0f} meter values/s, pools open"
    return [
        Row("watch_cpu", cpu_ms, "ms CPU/session and minute", "", note="with PostgreSQL's"),
        Row(
            "watch_stop_p99", late_ms, "ms", "a bare timer with a commit", bare_ms, Bar("<=", 5),
            note, turns.ratio(),
        ),
    ]  # fmt: skip


async def _open(rig: Rig) -> tuple[str, list[int]]:
    """Lets each session charge; returns the database and the transactions."""
    dsn = await rig.new_database()
    async with rig.owner(dsn) as owner:
        await seed.add_clients(owner, _SESSIONS)
        await charging_seed.add_stations(owner, _SESSIONS, 500)
        await charging_seed.add_charging(owner, _SESSIONS)
        started_at = utc_now() - timedelta(minutes=20)
        time_ = StationTime(started_at, None)
        begun = begin_progress(started_at, Decimal(1000), time_, started_at)
        register = write_register(begun.register) | {
            "last": ["8250", utc_now().isoformat(), None, "1"], "has_values": True,
        }  # fmt: skip
        await _codec(owner)
        await owner.execute(_REGISTER, register, tariffs.write_tally(begun.tally), _POWER_W)
        rows = await owner.fetch("select id from charging.transactions order by id")
        await owner.execute("vacuum analyze")
    return dsn, [row["id"] for row in rows]


async def _codec(owner: Connection) -> None:
    await owner.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(),
        decoder=orjson.loads,
    )  # fmt: skip


async def _cpu(rig: Rig) -> float:
    """Returns ms of CPU for each session and minute while nothing is due."""
    dsn, _ = await _open(rig)
    db = Database(dsn, size=4)
    await db.start()
    stop = asyncio.Event()
    loop = watch_loop(db, LocalBus(), utc_now, DEFAULT_RULES)
    async with db.connection() as connection:
        if await find_due(connection, utc_now(), DEFAULT_RULES):
            raise RuntimeError("something is due")
    before = time.process_time() + await _backends_s(rig, dsn)
    task = asyncio.create_task(loop.run(stop))
    await asyncio.sleep(_IDLE_S)
    used_s = time.process_time() + await _backends_s(rig, dsn) - before
    stop.set()
    await task
    await db.close()
    return used_s * 1000 * 60 / _IDLE_S / _SESSIONS


async def _backends_s(rig: Rig, dsn: str) -> float:
    """Returns the CPU seconds of the database's connections."""
    async with rig.owner(dsn) as owner:
        rows = await owner.fetch(
            "select pid from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid()"
        )
    return sum(_used_s(row["pid"]) for row in rows)


def _used_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:  # it has ended
        return 0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


async def _open_all(db: Database) -> None:
    """Opens every connection of a pool: what is measured is no process that has just begun."""
    async with AsyncExitStack() as opened:
        for _ in range(db.size):
            connection = await opened.enter_async_context(db.connection())
            await connection.fetchval("select 1")


def _moments(count: int) -> list[datetime]:
    begins_at = utc_now() + timedelta(seconds=2)
    return [begins_at + timedelta(seconds=_SPREAD_S * n / count) for n in range(count)]


async def _stops(rig: Rig) -> list[float]:
    """Returns how many ms after its moment each predicted stop was committed, sorted."""
    dsn, transactions = await _open(rig)
    stopped, loaded = transactions[:_STOPS], transactions[_STOPS:]
    db = Database(dsn, size=8)
    await db.start()
    await _open_all(db)
    stop = asyncio.Event()
    task = asyncio.create_task(watch_loop(db, LocalBus(), utc_now, DEFAULT_RULES).run(stop))
    load = asyncio.create_task(_load(db, loaded))
    moments = _moments(_STOPS)
    async with rig.owner(dsn) as owner:
        await owner.execute(_DUE, stopped, moments, _LEFT_S)
        await asyncio.sleep(_SPREAD_S + 6)
        rows = await owner.fetch(_STOPPED, stopped, moments)
    load.cancel()
    stop.set()
    await asyncio.gather(task, load, return_exceptions=True)
    await db.close()
    if len(rows) != _STOPS:
        raise RuntimeError(f"{len(rows)} of {_STOPS} sessions were stopped")
    return sorted(float(row[0]) for row in rows)


async def _timers(rig: Rig) -> list[float]:
    """Returns the same of a timer that commits one row, under the same load."""
    dsn, transactions = await _open(rig)
    async with rig.owner(dsn) as owner:
        await owner.execute("create table bench.timers (at timestamptz not null)")
        await owner.execute("grant usage on schema bench to evpower_app")
        await owner.execute("grant insert on bench.timers to evpower_app")
    db = Database(dsn, size=8)
    await db.start()
    await _open_all(db)
    load = asyncio.create_task(_load(db, transactions[_STOPS:]))

    async def fire(at: datetime) -> None:
        await asyncio.sleep((at - utc_now()).total_seconds())
        async with db.transaction() as connection:
            await connection.execute("insert into bench.timers (at) values ($1)", at)

    await asyncio.gather(*(fire(at) for at in _moments(_STOPS)))
    load.cancel()
    await asyncio.gather(load, return_exceptions=True)
    async with rig.owner(dsn) as owner:
        rows = await owner.fetch(_STAMPED)
    await db.close()
    return sorted(float(row[0]) for row in rows)


async def _load(db: Database, transactions: Sequence[int]) -> None:
    """Sends meter values of one session after the other."""
    wh = 8_260
    while True:
        for number, transaction in enumerate(transactions):
            now = utc_now()
            reading = Reading(
                StationTime(now, now.isoformat()), "Sample.Periodic", Decimal(wh), Decimal(1),
                _POWER_W, None, None, None, None, None, (None, None, None),
            )  # fmt: skip
            station = f"EVP-{number + _STOPS + 1:05}"
            event = StationReadings(station, 1, transaction, None, (reading,), (), now)
            async with db.transaction() as connection:
                await charging.meter_values(connection, event, now=now)
            await asyncio.sleep(1 / _FRAMES_PER_S)
        wh += 100
