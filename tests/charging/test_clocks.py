"""Edge case 13: clocks that are off are learned from live frames, and priced by what is right."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from evpower import stations
from evpower.charging.operate import OperatorBill, correct_session
from evpower.stations import StatusReport
from tests.charging.place import NOON, ChargingPlace
from tests.charging.test_one_shift import begin_by_card

NIGHT = {
    "name": "t",
    "elements": [
        {"prices": {"energy_per_kwh": {"price": "6"}}, "if": {"from": "13:00", "to": "14:00"}},
        {"prices": {"energy_per_kwh": {"price": "12"}}},
    ],
}


async def charge_live(place: ChargingPlace, off: timedelta, minutes: int = 3) -> tuple[Any, int]:
    """Charge 500 Wh a minute at a station whose clock is off."""
    session, transaction = await place.charging(await place.driver())
    for minute in range(1, minutes + 1):
        place.later(1)
        await place.values(transaction, 500 * minute, time=place.now + off)
    return session, transaction


async def skew_s(place: ChargingPlace) -> int | None:
    return await place.owner.fetchval("select skew_s from charging.clocks")


async def priced_at(place: ChargingPlace) -> list[datetime]:
    rows = await place.owner.fetch(
        "select coalesce(priced_at, at) as priced_at from charging.meter_values"
        " where session_wh is not null order by session_wh"
    )
    return [row["priced_at"] for row in rows]


@pytest.mark.parametrize("seconds", [21_600, -21_600, -1_800, 121, -121])
async def test_edge_13_live_values_teach_the_skew(place: ChargingPlace, seconds: int) -> None:
    await charge_live(place, timedelta(seconds=seconds))
    assert await skew_s(place) == -seconds


@pytest.mark.parametrize("seconds", [120, -120])
async def test_edge_13_a_clock_that_is_right_is_not_stored(
    place: ChargingPlace, seconds: int
) -> None:
    await charge_live(place, timedelta(seconds=seconds))
    assert await place.owner.fetchval("select count(*) from charging.clocks") == 0


@pytest.mark.parametrize("interval_s", [60, 8, 2])
async def test_edge_13_a_replayed_queue_teaches_nothing(
    place: ChargingPlace, interval_s: int
) -> None:
    """However close its values are: they come closer than they were taken."""
    _, transaction = await place.charging(await place.driver())
    place.later(60)
    for number in range(1, 30):
        place.later(0.01)
        await place.values(
            transaction, 10 * number, time=NOON + timedelta(seconds=interval_s * number)
        )
    assert await skew_s(place) is None


async def test_edge_13_a_queue_of_a_wrong_clock_is_priced_by_its_own_time(
    place: ChargingPlace,
) -> None:
    off = timedelta(hours=6)
    session, transaction = await charge_live(place, off)
    offline = [place.now + timedelta(minutes=minute) for minute in range(1, 31)]
    place.later(60)
    for number, at in enumerate(offline, 4):
        await place.values(transaction, 500 * number, time=at + off)
    assert (await priced_at(place))[3:] == offline
    place.later(1)
    await place.stop(transaction, 16_500, time=offline[-1] + off)
    assert await place.value("ended_at", session) == offline[-1]


async def test_edge_13_a_clock_that_is_late_is_priced_by_its_own_time(
    place: ChargingPlace,
) -> None:
    """After 30 minutes its stamps are times of the session again, and wrong ones."""
    off = timedelta(minutes=-30)
    _, transaction = await charge_live(place, off, minutes=45)
    place.later(1)
    await place.values(transaction, 23_000, time=place.now + off)
    # Two values teach it; all that come after are right.
    assert (await priced_at(place))[-1] == place.now


async def test_a_boot_forgets_the_clock(place: ChargingPlace) -> None:
    await charge_live(place, timedelta(hours=6))
    await place.boot()
    assert await place.owner.fetchval("select count(*) from charging.clocks") == 0


async def test_a_clock_that_was_set_is_learned_anew(place: ChargingPlace) -> None:
    _, transaction = await charge_live(place, timedelta(hours=6))
    for minute in range(4, 7):
        place.later(1)
        await place.values(transaction, 500 * minute)
    assert await skew_s(place) == 0
    assert (await priced_at(place))[-1] == place.now


async def log_status(
    place: ChargingPlace, status: str, connector: int = 1, *, time: datetime
) -> None:
    """Let the station report a status, as the edge takes it."""
    report = StatusReport(
        "S1", connector, status, None, None, time, time.isoformat(), place.now
    )  # fmt: skip
    async with place.db.transaction() as connection:
        is_applied = await stations.report_status(connection, report)
    await place.status(status, connector, time=time, is_history=not is_applied)


class TestStatuses:
    @pytest.mark.parametrize("seconds", [21_600, -21_600, 121, -121])
    async def test_edge_13_two_that_come_at_their_pace_teach_the_skew(
        self, place: ChargingPlace, seconds: int
    ) -> None:
        off = timedelta(seconds=seconds)
        await place.status("available", time=place.now + off)
        place.later(1)
        await place.status("preparing", time=place.now + off)
        assert await skew_s(place) == -seconds

    async def test_edge_13_those_of_a_right_clock_are_not_stored(
        self, place: ChargingPlace
    ) -> None:
        for status in ("available", "preparing"):
            await place.status(status)
            place.later(1)
        assert await place.owner.fetchval("select count(*) from charging.clocks") == 0

    @pytest.mark.parametrize("pace_s", [0, 2, 8, 30])
    async def test_edge_13_those_sent_again_with_their_old_stamps_teach_nothing(
        self, place: ChargingPlace, pace_s: int
    ) -> None:
        """However much like the first time: a station sends its connectors' one after another."""
        stamps = [place.now + timedelta(seconds=pace_s * number) for number in range(2)]
        place.later(180)
        for _ in range(2):
            for connector, stamp in enumerate(stamps, 1):
                await place.status("available", connector, time=stamp)
                place.now += timedelta(seconds=pace_s)
        assert await skew_s(place) is None

    @pytest.mark.parametrize("off_hours", [0, 6], ids=["right", "ahead, and set right"])
    async def test_edge_13_those_sent_again_a_minute_apart_teach_nothing(
        self, place: ChargingPlace, off_hours: int
    ) -> None:
        """As far apart as the changes were: each stamp has come before."""
        off = timedelta(hours=off_hours)
        stamps = [NOON + off, NOON + off + timedelta(minutes=1)]
        for connector, stamp in enumerate(stamps, 1):
            await log_status(place, "available", connector, time=stamp)
            place.later(1)
        known = await skew_s(place)
        place.later(180)
        for _ in range(2):
            for connector, stamp in enumerate(stamps, 1):
                await log_status(place, "available", connector, time=stamp)
                place.later(1)
        assert await skew_s(place) == known

    async def test_edge_13_those_sent_again_charge_no_hours(self, place: ChargingPlace) -> None:
        """The charge's stop waits for longer than the stamps that were sent again are old."""
        stamps = [NOON, NOON + timedelta(minutes=1)]
        for connector, stamp in enumerate(stamps, 1):
            await log_status(place, "preparing", connector, time=stamp)
            place.later(1)
        place.later(180)
        session, transaction = await begin_by_card(place, place.now)
        for connector, stamp in enumerate(stamps, 1):
            await log_status(place, "preparing", connector, time=stamp)
            place.later(1)
        place.later(2)
        ended_at = place.now
        place.later(240)
        await place.stop(transaction, 2_000, time=ended_at)
        assert await place.bill(session) == ("settled", 2_000, 24)

    async def test_edge_13_the_same_word_with_a_new_stamp_teaches_the_skew(
        self, place: ChargingPlace
    ) -> None:
        off = timedelta(hours=-6)
        for _ in range(2):
            await log_status(place, "available", time=place.now + off)
            place.later(1)
        assert await skew_s(place) == 21_600

    async def test_edge_13_one_that_is_history_teaches_nothing(self, place: ChargingPlace) -> None:
        off = timedelta(hours=-6)
        for _ in range(3):
            await place.status("available", time=place.now + off, is_history=True)
            place.later(1)
        assert await skew_s(place) is None

    async def test_edge_13_a_value_close_to_a_status_teaches_nothing(
        self, place: ChargingPlace
    ) -> None:
        """Both waited in a queue for 20 minutes; the status was slow on its way."""
        _, transaction = await place.charging(await place.driver())
        stamp = place.now
        place.later(20)
        await place.status("charging", time=stamp)
        place.now += timedelta(seconds=4)
        await place.values(transaction, 100, time=stamp + timedelta(seconds=8))
        assert await skew_s(place) is None

    async def test_edge_13_a_value_a_minute_after_a_status_teaches_the_skew(
        self, place: ChargingPlace
    ) -> None:
        off = timedelta(hours=-6)
        _, transaction = await place.charging(await place.driver())
        await place.status("charging", time=place.now + off)
        place.later(1)
        await place.values(transaction, 100, time=place.now + off)
        assert await skew_s(place) == 21_600

    async def test_a_clock_that_was_set_is_learned_anew(self, place: ChargingPlace) -> None:
        off = timedelta(hours=6)
        for status in ("available", "preparing"):
            await place.status(status, time=place.now + off)
            place.later(1)
        for status in ("available", "preparing"):
            await place.status(status)
            place.later(1)
        assert await skew_s(place) == 0


async def test_an_unknown_time_has_the_lowest_price(place: ChargingPlace) -> None:
    await place.price_document(NIGHT)
    session, transaction = await place.charging(await place.driver())
    place.later(10)
    await place.stop(transaction, 7_500, has_time=False)
    assert await place.bill(session) == ("settled", 7_500, 45)


async def test_an_unknown_time_has_the_lowest_price_in_later_bills_too(
    place: ChargingPlace,
) -> None:
    await place.price_document(NIGHT)
    session, transaction = await place.charging(await place.driver())
    place.later(10)
    await place.stop(transaction, 7_500, has_time=False)
    figure = OperatorBill(session, 5_000, None, "anna", "meter read on place")
    async with place.db.transaction() as connection:
        await correct_session(connection, figure, now=place.now)
    assert await place.bills(session) == [(7_500, 45), (5_000, 30)]
    timed = replace(figure, ended_at=place.now)
    async with place.db.transaction() as connection:
        await correct_session(connection, timed, now=place.now)
    assert await place.bills(session) == [(7_500, 45), (5_000, 30), (5_000, 60)]


async def test_a_known_time_has_its_price(place: ChargingPlace) -> None:
    await place.price_document(NIGHT)
    session, transaction = await place.charging(await place.driver())
    place.later(10)
    await place.stop(transaction, 7_500)
    assert await place.bill(session) == ("settled", 7_500, 90)
