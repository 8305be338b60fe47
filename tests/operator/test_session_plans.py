"""Each filter of the session list is read from an index in the list's order."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from evpower.charging.session_filter import SessionFilter
from evpower.charging.store_operator import OPEN
from evpower.charging.store_search import FIRST, page_statement
from evpower.foundation.db import Connection
from tests.conftest import Server, as_owner

CLIENT = UUID("00000000-0000-4000-8000-00000000000c")
LIMIT = 50
NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
COUNT = 20_000
FILTERS: dict[str, tuple[SessionFilter, str]] = {
    "none": (SessionFilter(), "sessions_by_creation"),
    "settled": (SessionFilter(states=("settled",)), "sessions_by_creation"),
    "expired and refused": (SessionFilter(states=("expired", "refused")), "sessions_by_state"),
    "expired": (SessionFilter(states=("expired",)), "sessions_by_state"),
    "time": (
        SessionFilter(made_from=NOON - timedelta(days=9), made_before=NOON - timedelta(days=5)),
        "sessions_by_creation",
    ),
    "end_reason": (SessionFilter(end_reason="no_frames"), "sessions_by_end"),
    "start_failure": (SessionFilter(start_failure="not_plugged_in"), "sessions_by_failure"),
    "client": (SessionFilter(client_id=CLIENT), "sessions_by_client"),
    "station": (SessionFilter(station_id="S3"), "sessions_by_station"),
    "quarantined": (SessionFilter(in_quarantine=True), "sessions_in_quarantine"),
}
SEED = """
insert into charging.sessions
  (id, client_id, station_id, connector_id, state, source, started_by, started_at, ended_at,
   start_failure, end_reason, quarantined_at, quarantine_reason, created_at)
select gen_random_uuid(), case when g % 100 = 1 then $2::uuid else $3::uuid end, 'S' || g % 40,
       1 + g / 200, f.state, 'evpower', 'card', case when f.failure is null then f.at end,
       case when f.state = 'settled' then f.at end, f.failure,
       case when f.state <> 'settled' then null when g % 200 = 3 then 'no_frames' else 'local' end,
       case when g % 200 = 7 then f.at end, case when g % 200 = 7 then 'implausible_energy' end,
       f.at
  from generate_series(1, $1::int) g
 cross join lateral (
   select timestamptz '2026-12-01 12:00Z' - g * interval '1 minute' as at,
          case when g % 200 = 11 then 'charging' when g % 200 = 17 then 'expired'
               else 'settled' end as state,
          case when g % 200 = 17 then 'not_plugged_in' end as failure) f
"""


@pytest.fixture(scope="module")
async def many(server: Server) -> AsyncIterator[Connection]:
    """20,000 sessions; the connection plans as those of the processes do."""
    owner: Connection = await asyncpg.connect(as_owner(await server.new_database()))
    try:
        await owner.execute("set session_replication_role = replica")
        await owner.execute(SEED, COUNT, CLIENT, uuid4())
        await owner.execute("set session_replication_role = origin")
        await owner.execute("analyze charging.sessions; set enable_seqscan = off")
        yield owner
    finally:
        await owner.close()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


async def explained(connection: Connection, wanted: SessionFilter) -> list[dict[str, Any]]:
    text, values = page_statement(wanted, FIRST, LIMIT)
    raw = await connection.fetchval(f"explain (analyze, format json) {text}", *values)
    [explanation] = json.loads(raw)
    return list(nodes(explanation["Plan"]))


@pytest.mark.parametrize("name", FILTERS)
async def test_each_filter_reads_an_index_of_its_own_in_order(many: Connection, name: str) -> None:
    wanted, index = FILTERS[name]
    listed = await explained(many, wanted)
    scans = [node for node in listed if node.get("Relation Name") == "sessions"]
    assert index in {scan.get("Index Name") for scan in scans}
    assert {scan.get("Index Name") for scan in scans} <= {index, "sessions_pkey"}
    skipped = sum(node.get("Rows Removed by Filter", 0) for node in scans)
    assert skipped <= LIMIT, "rows are read that are not shown"


@pytest.mark.parametrize("name", FILTERS)
async def test_a_page_reads_no_more_rows_than_it_shows(many: Connection, name: str) -> None:
    wanted, index = FILTERS[name]
    listed = await explained(many, wanted)
    read = sum(
        node["Actual Rows"] * node["Actual Loops"]
        for node in listed
        if node.get("Index Name") == index
    )
    assert 0 < read <= LIMIT * max(len(wanted.states), 1)


async def test_live_ones_are_read_from_an_index_of_open_sessions(many: Connection) -> None:
    """Few are open at a time: sorting them is as cheap as an index in their order."""
    listed = await explained(many, SessionFilter(states=OPEN))
    scans = [node for node in listed if node.get("Relation Name") == "sessions"]
    assert {scan["Index Name"] for scan in scans} <= {
        "sessions_by_state", "sessions_one_start_per_client", "sessions_running_by_client",
        "sessions_pkey",
    }  # fmt: skip
    read = sum(scan["Actual Rows"] * scan["Actual Loops"] for scan in scans)
    assert read <= COUNT / 200 + LIMIT * len(OPEN)


async def test_a_plan_made_once_stays_that_of_the_index(many: Connection) -> None:
    """A prepared statement that PostgreSQL plans without the values."""
    await many.execute("set plan_cache_mode = force_generic_plan")
    for wanted, index in FILTERS.values():
        listed = await explained(many, wanted)
        names = {node.get("Index Name") for node in listed if "Index Name" in node}
        assert index in names
    await many.execute("reset plan_cache_mode")
