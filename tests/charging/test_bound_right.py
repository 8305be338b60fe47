"""Ids and days that are another's: they end, bill and free nothing."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from evpower import charging, stations
from evpower.charging import StationReadings, StationStop, StationTime
from tests.charging.place import ChargingPlace, read
from tests.charging.site import NOON, STATION, Site
from tests.charging.test_one_shift import begin_by_card
from tests.stations.scenario import draft

OTHER = "EVP-002"
OFFSETS = [timedelta(seconds=seconds) for seconds in (-21_600, -600, -100, 100, 600, 21_600)]


async def test_another_stations_number_ends_and_counts_nothing(site: Site) -> None:
    async with site.db.transaction() as connection:
        await stations.add_station(connection, draft(OTHER, no_auth=True), now=NOON, actor="aida")
    answer = await site.started(await site.driver())
    session_id = await site.session_of(answer.transaction_id)
    await site.wait(600)
    time = StationTime(site.now, site.now.isoformat())
    values = StationReadings(
        OTHER, 1, answer.transaction_id, None, (read(3_000, site.now),), (), site.now
    )
    stop = StationStop(
        OTHER, answer.transaction_id, None, None, Decimal(3_000), time, "Local", (), (), site.now
    )
    async with site.db.transaction() as connection:
        await charging.meter_values(connection, values, now=site.now)
        await charging.stop_transaction(connection, stop, now=site.now)
    assert await site.state(session_id) == "charging"
    assert await site.sql.fetchval("select sum(energy_wh) from charging.progress") == 0
    assert (await site.transaction(answer.transaction_id))["ended_at"] is None
    own = stop._replace(station_id=STATION)
    async with site.db.transaction() as connection:
        await charging.stop_transaction(connection, own, now=site.now)
    assert await site.state(session_id) == "settled"


async def free_reason_of(place: ChargingPlace, client: UUID) -> str | None:
    session, transaction = await place.charging(client)
    place.later(5)
    await place.stop(transaction, 400, reason="PowerLoss")
    place.later(5)
    return await place.value("free_reason", session)


async def test_the_next_day_a_fault_is_free_again(place: ChargingPlace) -> None:
    client = await place.driver()
    reasons = [await free_reason_of(place, client) for _ in range(4)]
    place.later(24 * 60)
    reasons.append(await free_reason_of(place, client))
    assert reasons == ["station_fault"] * 3 + [None, "station_fault"]


async def test_a_settled_stop_sent_anew_at_the_same_time_ends_no_other_session(
    place: ChargingPlace,
) -> None:
    """It has another register, but is no later than the end that it already made."""
    _, first = await place.charging(await place.driver())
    place.later(10)
    at = place.now
    await place.stop(first, 5_000, time=at)
    place.later(1)
    second, _ = await place.charging(await place.driver(), meter_wh=5_000)
    place.later(5)
    await place.stop(first, 5_001, time=at)
    assert await place.value("state", second) == "charging"


async def two_charges(place: ChargingPlace, off: timedelta) -> tuple[int, UUID]:
    """One has ended, one runs since; the clock is off, which live values have shown."""
    first = await place.start(await place.driver())
    stopped = await place.begin(first, time=place.now + off)
    for wh in (1_000, 2_000):
        place.later(1)
        await place.values(stopped, wh, time=place.now + off)
    place.later(1)
    await place.stop(stopped, 3_000, time=place.now + off)
    place.later(0.5)
    second = await place.start(await place.driver())
    await place.begin(second, meter_wh=3_000, time=place.now + off)
    return stopped, second


@pytest.mark.parametrize("off", OFFSETS, ids=str)
async def test_a_settled_stop_sent_anew_by_a_clock_that_is_off_ends_no_other_session(
    place: ChargingPlace, off: timedelta
) -> None:
    first, second = await two_charges(place, off)
    at = place.now - timedelta(seconds=30)
    place.later(5)
    await place.stop(first, 3_001, time=at + off)
    assert await place.value("state", second) == "charging"


@pytest.mark.parametrize("off", OFFSETS, ids=str)
async def test_a_stop_by_an_id_used_before_ends_its_charge_by_a_clock_that_is_off(
    place: ChargingPlace, off: timedelta
) -> None:
    first, second = await two_charges(place, off)
    place.later(2)
    await place.stop(first, 5_000, time=place.now + off)
    assert (await place.bill(second))[:2] == ("settled", 2_000)


@pytest.mark.parametrize("is_later", [False, True])
async def test_a_used_id_is_told_by_the_line_of_a_session_that_stands_hours_early(
    place: ChargingPlace, *, is_later: bool
) -> None:
    off = timedelta(hours=-6)
    first, stopped = await begin_by_card(place, place.now + off)
    for wh in (1_000, 2_000):
        place.later(1)
        await place.values(stopped, wh, time=place.now + off)
    place.later(1)
    at = place.now
    await place.stop(stopped, 3_000, time=at + off)
    place.later(0.5)
    second = await place.start(await place.driver())
    await place.begin(second, meter_wh=3_000, time=place.now + off)
    place.later(3)
    await place.stop(stopped, 3_500, time=(place.now if is_later else at) + off)
    assert await place.value("state", first) == "settled"
    assert await place.value("state", second) == ("settled" if is_later else "charging")
