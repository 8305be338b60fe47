"""A charge that a station's fault ended at once is free, three times a day and no more."""

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from evpower import charging, stations
from evpower.charging import StationReadings, StationStart, StationStop, StationTime
from evpower.charging.closing import close_estimated
from evpower.foundation.db import Connection
from evpower.stations import StatusReport
from tests.charging.place import read
from tests.charging.site import NOON, STATION, Site
from tests.stations.scenario import draft
from tests.waiting import until

CARD = "04A1B2C3D4E5F6"
OTHER = "EVP-002"
HOUR = timedelta(hours=1)


@pytest.fixture
async def cards(site: Site) -> Site:
    """Two stations at which the card of one client charges."""
    async with site.db.transaction() as connection:
        await stations.add_station(connection, draft(OTHER, no_auth=True), now=NOON, actor="aida")
    await site.open_to_cards()
    await site.card(await site.driver(), CARD)
    return site


def stamped(at: datetime) -> StationTime:
    return StationTime(at, at.isoformat())


async def begin(site: Site, at: datetime, station: str = STATION, connector: int = 1) -> int:
    start = StationStart(station, connector, CARD, Decimal(1000), None, stamped(at), site.now)
    async with site.db.transaction() as connection:
        answer = await charging.start_transaction(connection, start, now=site.now)
    assert answer.tag == "accepted"
    return answer.transaction_id


async def stop(
    site: Site,
    connection: Connection,
    number: int,
    at: datetime,
    *,
    station: str = STATION,
    reason: str = "PowerLoss",
    meter_wh: int | None = 1400,
) -> None:
    event = StationStop(
        station, number, None, CARD, None if meter_wh is None else Decimal(meter_wh), stamped(at),
        reason, (), (), site.now,
    )  # fmt: skip
    await charging.stop_transaction(connection, event, now=site.now)


async def charge(site: Site, begun_at: datetime, reason: str = "PowerLoss") -> UUID:
    """A charge of 400 Wh that the station reports now; returns its session."""
    number = await begin(site, begun_at)
    async with site.db.transaction() as connection:
        await stop(site, connection, number, begun_at + timedelta(minutes=5), reason=reason)
    return await site.session_of(number)


async def is_free(site: Site, session: UUID) -> bool:
    return (await site.session(session))["free_reason"] == "station_fault"


@pytest.mark.parametrize(
    ("ago", "free"),
    [(23 * HOUR + timedelta(minutes=41), True), (23 * HOUR + timedelta(minutes=40), False)],
    ids=["a day before", "that day"],
)
async def test_a_charge_reported_late_is_counted_in_its_own_day(
    cards: Site,
    ago: timedelta,
    free: bool,  # noqa: FBT001
) -> None:
    await cards.wait(72 * 3600)
    for minutes in (60, 50, 40):
        begun_at = cards.now - timedelta(minutes=minutes)
        assert await is_free(cards, await charge(cards, begun_at))
    assert await is_free(cards, await charge(cards, cards.now - HOUR - ago)) is free


@pytest.mark.parametrize(("energy_wh", "free"), [(499, True), (500, False)])
async def test_half_a_kwh_was_of_use(
    cards: Site,
    energy_wh: int,
    free: bool,  # noqa: FBT001
) -> None:
    number = await begin(cards, cards.now)
    await cards.wait(300)
    async with cards.db.transaction() as connection:
        await stop(cards, connection, number, cards.now, meter_wh=1000 + energy_wh)
    assert await is_free(cards, await cards.session_of(number)) is free


async def test_charges_around_it_in_no_one_day_leave_it_free(cards: Site) -> None:
    await cards.wait(72 * 3600)
    for ago in (50, 49, 10):
        assert await is_free(cards, await charge(cards, cards.now - ago * HOUR))
    assert await is_free(cards, await charge(cards, cards.now - 30 * HOUR))


async def test_two_that_end_at_once_at_two_stations_are_counted_one_after_the_other(
    cards: Site, owner: Connection
) -> None:
    for _ in range(2):
        await charge(cards, cards.now)
        await cards.wait(600)
    first = await begin(cards, cards.now)
    second = await begin(cards, cards.now, OTHER)
    await cards.wait(300)

    async def end_second() -> None:
        async with cards.db.transaction() as connection:
            await stop(cards, connection, second, cards.now, station=OTHER)

    async def waits() -> bool:
        return await owner.fetchval(
            "select exists (select from pg_stat_activity where datname = current_database()"
            " and wait_event_type = 'Lock')"
        )

    async with cards.db.transaction() as connection:
        await stop(cards, connection, first, cards.now)
        task = asyncio.create_task(end_second())
        await until(waits)
    await task
    free = [await is_free(cards, await cards.session_of(number)) for number in (first, second)]
    assert free == [True, False]


async def report(
    site: Site, status: str, at: datetime | None, received_at: datetime | None = None
) -> None:
    received_at = received_at or site.now
    time = None if at is None else at.isoformat()
    async with site.db.transaction() as connection:
        await stations.report_status(
            connection, StatusReport(STATION, 1, status, None, None, at, time, received_at)
        )


@pytest.mark.parametrize(
    ("at_end", "now", "free"),
    [("faulted", "available", True), ("charging", "faulted", False), (None, "faulted", False)],
)
async def test_a_stop_sent_hours_later_is_judged_by_the_status_of_its_own_time(
    cards: Site,
    at_end: str | None,
    now: str,
    free: bool,  # noqa: FBT001
) -> None:
    begun_at = cards.now
    number = await begin(cards, begun_at)
    ended_at = begun_at + timedelta(minutes=5)
    if at_end is not None:
        await report(cards, at_end, ended_at, received_at=ended_at + timedelta(seconds=1))
    await cards.wait(5 * 3600)
    await report(cards, now, cards.now)
    async with cards.db.transaction() as connection:
        await stop(cards, connection, number, ended_at, reason="Other")
    assert await is_free(cards, await cards.session_of(number)) is free


async def test_a_late_stop_without_a_register_is_judged_by_the_status_of_its_time_too(
    cards: Site,
) -> None:
    number = await begin(cards, cards.now)
    await cards.wait(300)
    ended_at = cards.now
    values = StationReadings(STATION, 1, number, None, (read(1400, ended_at),), (), ended_at)
    async with cards.db.transaction() as connection:
        await charging.meter_values(connection, values, now=ended_at)
    await report(cards, "charging", ended_at)
    await cards.wait(5 * 3600)
    await report(cards, "faulted", cards.now)
    async with cards.db.transaction() as connection:
        await stop(cards, connection, number, ended_at, reason="Other", meter_wh=None)
    session = await cards.session_of(number)
    assert (await cards.session(session))["energy_wh"] == 400
    assert not await is_free(cards, session)


@pytest.mark.parametrize(("after_s", "free"), [(0, True), (10, True), (11, False)])
async def test_a_fault_reported_with_its_late_stop_is_of_its_stamp(
    cards: Site,
    after_s: int,
    free: bool,  # noqa: FBT001
) -> None:
    number = await begin(cards, cards.now)
    ended_at = cards.now + timedelta(minutes=5)
    await cards.wait(5 * 3600)
    await report(cards, "available", cards.now)
    await report(cards, "faulted", ended_at + timedelta(seconds=after_s))  # history by now
    async with cards.db.transaction() as connection:
        await stop(cards, connection, number, ended_at, reason="Other")
    assert await is_free(cards, await cards.session_of(number)) is free


async def test_a_stop_that_comes_at_once_is_judged_by_the_present_status(cards: Site) -> None:
    """A fault that is reported without a time may come some seconds after it."""
    number = await begin(cards, cards.now)
    await cards.wait(300)
    ended_at = cards.now
    await cards.wait(60)
    await report(cards, "faulted", None)
    async with cards.db.transaction() as connection:
        await stop(cards, connection, number, ended_at, reason="Other")
    assert await is_free(cards, await cards.session_of(number))


@pytest.mark.parametrize(
    ("after_s", "now", "free"), [(30, "available", True), (900, "faulted", False)]
)
async def test_an_estimated_end_is_judged_by_the_status_of_its_own_time(
    cards: Site,
    after_s: int,
    now: str,
    free: bool,  # noqa: FBT001
) -> None:
    """Its last value came before the fault, or the fault long after it."""
    number = await begin(cards, cards.now)
    await report(cards, "charging", cards.now)
    await cards.wait(60)
    ended_at = cards.now
    readings = (read(1_100, ended_at),)
    event = StationReadings(STATION, 1, number, None, readings, (), ended_at)
    async with cards.db.transaction() as connection:
        await charging.meter_values(connection, event, now=ended_at, rules=cards.rules)
    await cards.wait(after_s)
    await report(cards, "faulted", cards.now)
    await cards.wait(1800)
    await report(cards, now, cards.now)
    async with cards.db.transaction() as connection:
        await close_estimated(connection, number, "became_available", now=cards.now)
    session = await cards.session_of(number)
    assert (await cards.session(session))["ended_at"] == ended_at
    assert await is_free(cards, session) is free
