"""The operator's list of sessions: each filter against the same page by primary key."""

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from bench import charging_seed, seed
from bench.harness import Bar, Row, in_turn, say
from bench.rig import Rig
from bench.session_seed import add_sessions
from evpower.charging.search import search_sessions
from evpower.charging.session_filter import SessionFilter, SessionPlace
from evpower.charging.store_operator import OPEN, SESSION_COLUMNS, SESSION_TABLES, SessionRow
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.rows import read_row

_SESSIONS = 1_000_000
_STATIONS = 500
_CLIENTS = 10_000
_PAGE = 50
_CALLS = 40
_BY_KEY = f"""
select {SESSION_COLUMNS} from {SESSION_TABLES}
 where s.source = 'evpower' and s.id = any ($1::uuid[])
 order by s.created_at desc, s.id desc
"""


async def operator_sessions(rig: Rig) -> list[Row]:
    """The median of a page of 50 among 1,000,000 sessions, the newest and one from the middle."""
    dsn = await rig.new_database()
    async with rig.owner(dsn) as owner:
        await seed.add_clients(owner, _CLIENTS)
        await charging_seed.add_stations(owner, _STATIONS, 50)
        say(f"  making {_SESSIONS:,} sessions")
        await add_sessions(owner, _SESSIONS, _STATIONS, _CLIENTS)
        client: UUID = await owner.fetchval("select id from bench.clients where n = 77")
        await seed.settle_down(owner)
    database = await Database.open(dsn, size=2)
    try:
        async with database.connection() as connection:
            return [
                await _compared(connection, name, wanted)
                for name, wanted in _filters(client).items()
            ]
    finally:
        await database.close()


def _filters(client: UUID) -> Mapping[str, SessionFilter]:
    now = utc_now()
    return {
        "none": SessionFilter(),
        "live": SessionFilter(states=OPEN),
        "settled": SessionFilter(states=("settled",)),
        "expired": SessionFilter(states=("expired",)),
        "two states": SessionFilter(states=("cancelled", "expired")),
        "end_reason": SessionFilter(end_reason="no_frames"),
        "start_failure": SessionFilter(start_failure="not_plugged_in"),
        "client": SessionFilter(client_id=client),
        "station": SessionFilter(station_id="EVP-00042"),
        "quarantined": SessionFilter(in_quarantine=True),
        "time": SessionFilter(
            made_from=now - timedelta(days=200), made_before=now - timedelta(days=100)
        ),
        "station and state": SessionFilter(station_id="EVP-00042", states=("settled",)),
    }


async def _compared(connection: Connection, name: str, wanted: SessionFilter) -> Row:
    first = await search_sessions(connection, wanted, before=None, limit=_PAGE)
    last = first[len(first) // 2]
    middle = SessionPlace(last.created_at, last.id)
    second = await search_sessions(connection, wanted, before=middle, limit=_PAGE)
    pages: list[list[Any]] = [[row.id for row in page] for page in (first, second)]

    async def filtered() -> float:
        begun = time.perf_counter()
        for number in range(_CALLS):
            before = middle if number % 2 else None
            await search_sessions(connection, wanted, before=before, limit=_PAGE)
        return (time.perf_counter() - begun) / _CALLS * 1000

    async def by_key() -> float:
        begun = time.perf_counter()
        for number in range(_CALLS):
            rows = await connection.fetch(_BY_KEY, pages[number % 2])
            _ = [read_row(SessionRow, row) for row in rows]
        return (time.perf_counter() - begun) / _CALLS * 1000

    await by_key()  # pages into memory, plans into the connection
    await filtered()
    turns = await in_turn(filtered, by_key)
    ms, key_ms = turns
    return Row(
        f"operator_sessions: {name}", ms, "ms", "the same page by primary key", key_ms,
        Bar("<=", 2), f"{len(first)} rows", turns.ratio(),
    )  # fmt: skip
