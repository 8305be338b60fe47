"""Stored frames are found by what an operator knows of them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from evpower import ocpp, stations
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, NotFound
from evpower.ocpp import store
from evpower.ocpp.model import FrameRow
from evpower.stations import Location

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


ROWS = [
    FrameRow("EV-1", at(0), "in", 2, "1", "BootNotification", '[2,"1","BootNotification",{}]'),
    FrameRow("EV-1", at(0), "out", 3, "1", "BootNotification", '[3,"1",{}]'),
    FrameRow("EV-1", at(10), "out", 2, "a-1", "Reset", '[2,"a-1","Reset",{"type":"Soft"}]'),
    FrameRow("EV-1", at(11), "in", 3, "a-1", None, '[3,"a-1",{"status":"Accepted"}]'),
    FrameRow("EV-1", at(20), "in", None, None, None, "not json"),
    FrameRow("EV-2", at(5), "in", 2, "1", "Heartbeat", '[2,"1","Heartbeat",{}]'),
]


@pytest.fixture
async def stored(db: Database) -> Database:
    async with db.transaction() as connection:
        for station_id in ("EV-1", "EV-2"):
            await stations.add_station(
                connection,
                stations.StationDraft(
                    station_id, Location("mall", "Mall"), (stations.usual_connector(1, 22_000),),
                    no_auth=True,
                ),
                now=NOW, actor="aida",
            )  # fmt: skip
        await store.insert_frames(connection, ROWS)
    return db


async def listed(db: Database, station: str = "ev-1", **how: Any) -> list[str]:
    how = {"since": at(-60), "until": at(60)} | how
    async with db.connection() as connection:
        page = await ocpp.list_frames(connection, station, **how)
    return [frame.frame for frame in page.frames]


def texts(*numbers: int) -> list[str]:
    return [ROWS[number].frame for number in numbers]


async def test_the_frames_of_one_station_come_in_their_order(stored: Database) -> None:
    assert await listed(stored) == texts(0, 1, 2, 3, 4)
    assert await listed(stored, "EV-2") == texts(5)


async def test_an_action_finds_calls_and_their_replies(stored: Database) -> None:
    assert await listed(stored, action="reset") == texts(2, 3)
    assert await listed(stored, action="BootNotification") == texts(0, 1)
    assert await listed(stored, action="Reset", direction="in") == texts(3)


async def test_a_time_ends_before_its_end(stored: Database) -> None:
    assert await listed(stored, since=at(10), until=at(20)) == texts(2, 3)


async def test_a_limit_says_that_there_is_more(stored: Database) -> None:
    async with stored.connection() as connection:
        page = await ocpp.list_frames(connection, "EV-1", since=NOW, until=at(60), limit=4)
        whole = await ocpp.list_frames(connection, "EV-1", since=NOW, until=at(60), limit=5)
    assert (len(page.frames), page.has_more) == (4, True)
    assert (len(whole.frames), whole.has_more) == (5, False)


async def test_a_session_bounds_the_time(
    stored: Database, owner: Connection, client_id: Any
) -> None:
    session = await owner.fetchval(
        "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
        " billed_elsewhere, started_at, ended_at, created_at)"
        " values (gen_random_uuid(), $1, 'EV-1', 1, 'failed', 'import', true, $2, $3, $2)"
        " returning id",
        client_id, at(65), at(70),
    )  # fmt: skip
    assert await listed(stored, session_id=session) == texts(2, 3, 4)
    with pytest.raises(Conflict):
        await listed(stored, "EV-2", session_id=session)


async def test_unknown_names_are_refused(stored: Database) -> None:
    with pytest.raises(NotFound):
        await listed(stored, "EV-3")


async def test_frames_of_a_session_in_quarantine_outlive_their_day(
    stored: Database, owner: Connection
) -> None:
    session = uuid4()
    await owner.execute("set session_replication_role = replica")
    await owner.execute(
        """
        insert into charging.sessions (id, client_id, station_id, connector_id, state, source,
          created_at, started_at, ended_at, quarantined_at, quarantine_reason)
        values ($1, gen_random_uuid(), 'EV-1', 1, 'settled', 'evpower', $2, $2, $3, $3, 'a jump')
        """,
        session, at(5), at(12),
    )  # fmt: skip
    await owner.execute("reset session_replication_role")
    for _ in range(2):
        async with stored.transaction() as connection:
            await store.keep_frames(connection, (NOW + timedelta(days=91)).date(), 90)
    assert await owner.fetchval("select count(*) from ocpp.frames") == 0
    assert await listed(stored, session_id=session) == texts(0, 1, 2, 3, 4)
    assert await listed(stored, session_id=session, action="reset") == texts(2)
    assert await listed(stored, session_id=session, limit=2) == texts(0, 1)
    assert await listed(stored) == []
