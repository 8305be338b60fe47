"""Whatever a station says it began is answered, and recorded once."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from evpower import charging
from evpower.charging import StationStart, StationTime
from evpower.charging.events import StartAnswer
from evpower.foundation.db import Database
from tests.charging.site import NOON, STATION, Site
from tests.conftest import patient_database

TEXTS = st.text(max_size=300) | st.sampled_from(["", "\x00", "\ud800", "0" * 20, "DEADBEEF"])
TIMES = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(
    [None, NOON, NOON + timedelta(days=400), datetime(1, 1, 1, tzinfo=UTC)]
)
STARTS = st.builds(
    StationStart,
    station_id=st.just(STATION),
    connector=st.sampled_from([0, 1, 2, 3, -1, 1000, 1001, 2**40]),
    id_tag=TEXTS,
    meter_wh=st.none() | st.decimals() | st.sampled_from([Decimal("1E+400"), Decimal(-5)]),
    text_id=st.none() | TEXTS,
    time=st.builds(StationTime, at=TIMES, raw=st.none() | TEXTS),
    received_at=st.just(NOON),
)


async def test_any_start_is_answered(dsn: str, site: Site) -> None:

    def work() -> None:
        loop = asyncio.new_event_loop()
        database = patient_database(dsn, size=2)
        loop.run_until_complete(database.start())
        try:

            @given(STARTS)
            @settings(max_examples=settings().max_examples)
            def answers(report: StationStart) -> None:
                first, again = (loop.run_until_complete(begin(database, report)) for _ in range(2))
                assert first[:2] == again[:2]
                loop.run_until_complete(authorize(database, report.id_tag))

            answers()
        finally:
            loop.run_until_complete(database.close())
            loop.close()

    await asyncio.to_thread(work)
    assert await site.sql.fetchval("select count(*) from charging.transactions") > 0


async def begin(database: Database, report: StationStart) -> StartAnswer:
    async with database.transaction() as connection:
        return await charging.start_transaction(connection, report, now=NOON)


async def authorize(database: Database, tag: str) -> None:
    async with database.transaction() as connection:
        await charging.authorize(connection, STATION, tag, now=NOON)
