"""Edge case 13: both ends of a session stand on the station's clock, shifted by one offset."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest

from evpower import charging
from tests.charging.place import ChargingPlace
from tests.charging.test_cards import CARD

BY_TIME = {"energy_per_kwh": {"price": "0"}, "time_per_minute": {"price": "6"}}
DELAY = timedelta(seconds=15)  # from the request to the start


async def begin_by_app(place: ChargingPlace, off: timedelta) -> tuple[UUID, int]:
    """Start by app at a station whose clock is off; it begins a moment later."""
    await place.price(BY_TIME)
    session = await place.start(await place.driver())
    place.now += DELAY
    return session, await place.begin(session, time=place.now + off)


async def begin_by_card(place: ChargingPlace, at: datetime) -> tuple[UUID, int]:
    await place.price(BY_TIME)
    await place.owner.execute("update stations.stations set cards_without_auth = true")
    client = await place.driver()
    async with place.db.transaction() as connection:
        await charging.add_card(connection, tag=CARD, client_id=str(client), actor="aida")
    transaction = await place.begin(None, tag=CARD, time=at)
    session = await place.owner.fetchval("select id from charging.sessions")
    return session, transaction


async def charge(place: ChargingPlace, transaction: int, off: timedelta, minutes: int) -> None:
    """Charge for some minutes, with a value that comes live each minute."""
    for minute in range(1, minutes + 1):
        place.later(1)
        await place.values(transaction, 500 * minute, time=place.now + off)


@pytest.mark.parametrize("seconds", [-110, -50, -25, -5, 0, 5, 25, 50, 110])
async def test_a_clock_a_little_off_bills_the_same_time(place: ChargingPlace, seconds: int) -> None:
    off = timedelta(seconds=seconds)
    session, transaction = await begin_by_app(place, off)
    await charge(place, transaction, off, 3)
    place.later(1)
    await place.stop(transaction, 2_000, time=place.now + off)
    assert await place.bill(session) == ("settled", 2_000, 24)


@pytest.mark.parametrize("seconds", [-50, 50])
async def test_a_clock_a_little_off_bills_the_same_time_of_an_offline_stop(
    place: ChargingPlace, seconds: int
) -> None:
    off = timedelta(seconds=seconds)
    session, transaction = await begin_by_app(place, off)
    await charge(place, transaction, off, 3)
    place.later(1)
    ended_at = place.now
    place.later(180)
    await place.stop(transaction, 2_000, time=ended_at + off)
    assert await place.bill(session) == ("settled", 2_000, 24)


@pytest.mark.parametrize("seconds", [-50, 50])
async def test_a_clock_that_is_set_right_on_the_way_bills_what_was_received(
    place: ChargingPlace, seconds: int
) -> None:
    off = timedelta(seconds=seconds)
    session, transaction = await begin_by_app(place, off)
    await charge(place, transaction, off, 2)
    place.later(2)
    await place.stop(transaction, 2_000, time=place.now)
    session_row = await place.session(session)
    assert session_row["ended_at"] == place.now
    assert session_row["ended_at"] - session_row["started_at"] <= timedelta(minutes=4) + DELAY


@pytest.mark.parametrize("hours", [-6, 0, 6])
async def test_a_clock_hours_off_bills_the_time_of_an_offline_charge(
    place: ChargingPlace, hours: int
) -> None:
    """The clock is known from the session before; all of this one comes two hours late."""
    off = timedelta(hours=hours)
    await place.owner.execute(
        "insert into charging.clocks (station_id, stamp, received_at, skew_s)"
        " values ('S1', $1, $2, $3)",
        place.now + off, place.now, -hours * 3_600,
    )  # fmt: skip
    began_at = place.now
    place.later(120)
    session, transaction = await begin_by_card(place, began_at + off)
    await place.stop(transaction, 2_000, time=began_at + timedelta(minutes=4) + off)
    assert await place.bill(session) == ("settled", 2_000, 24)
    assert await place.value("started_at", session) == began_at


@pytest.mark.parametrize("hours", [-6, 6])
async def test_a_card_at_a_clock_hours_off_pays_for_its_minutes(
    place: ChargingPlace, hours: int
) -> None:
    """Nothing is known of the clock at the start; its live values teach it."""
    off = timedelta(hours=hours)
    session, transaction = await begin_by_card(place, place.now + off)
    await charge(place, transaction, off, 3)
    place.later(1)
    await place.stop(transaction, 2_000, time=place.now + off)
    assert await place.bill(session) == ("settled", 2_000, 24)


@pytest.mark.parametrize("hours", [-6, 6])
async def test_statuses_before_a_card_show_the_clock(place: ChargingPlace, hours: int) -> None:
    """The charge has no values; its start is where it was."""
    off = timedelta(hours=hours)
    for status in ("available", "preparing"):
        await place.status(status, time=place.now + off)
        place.later(1)
    session, transaction = await begin_by_card(place, place.now + off)
    assert await place.value("started_at", session) == place.now
    place.later(4)
    await place.stop(transaction, 2_000, time=place.now + off)
    assert await place.bill(session) == ("settled", 2_000, 24)


async def test_without_a_stamp_at_the_start_the_stop_stands_as_it_is(place: ChargingPlace) -> None:
    await place.price(BY_TIME)
    session = await place.start(await place.driver())
    transaction = await place.begin(session, has_time=False)
    place.later(4)
    await place.stop(transaction, 2_000, time=place.now - timedelta(seconds=50))
    assert await place.bill(session) == ("settled", 2_000, 19)


async def test_without_a_stamp_at_the_stop_it_is_when_it_was_received(
    place: ChargingPlace,
) -> None:
    session, transaction = await begin_by_app(place, timedelta(seconds=-50))
    place.later(4)
    await place.stop(transaction, 2_000, has_time=False)
    assert await place.value("ended_at", session) == place.now


@pytest.mark.parametrize("seconds", [-50, 0, 50])
async def test_an_estimated_end_is_when_its_last_value_was(
    place: ChargingPlace, seconds: int
) -> None:
    off = timedelta(seconds=seconds)
    place.later(0.01)
    session, transaction = await begin_by_app(place, off)
    await charge(place, transaction, off, 4)
    last_at = place.now
    await place.status("available")
    place.later(2)
    await place.frame()
    while await place.watch():
        pass
    assert await place.bill(session) == ("settled", 2_000, 24)
    assert await place.value("is_estimated", session) is True
    if off >= timedelta():
        assert await place.value("ended_at", session) == last_at


async def test_a_card_that_began_hours_before_has_the_time_for_its_first_values(
    place: ChargingPlace,
) -> None:
    """By its rated power the money would be used up; its values follow in the queue."""
    session, _ = await begin_by_card(place, place.now - timedelta(hours=2))
    await place.frame()
    while await place.watch():
        pass
    assert await place.value("state", session) == "charging"


async def test_a_stop_without_an_id_ends_the_charge_of_a_clock_that_is_behind(
    place: ChargingPlace,
) -> None:
    """By our clock it is stamped before the start, by its own it is not."""
    off = timedelta(minutes=-10)
    session, transaction = await begin_by_app(place, off)
    await charge(place, transaction, off, 3)
    place.later(1)
    await place.stop(-1, 2_000, time=place.now + off)
    assert await place.bill(session) == ("settled", 2_000, 24)


@pytest.mark.parametrize(
    ("behind", "stamped"),
    [
        pytest.param(timedelta(minutes=10), timedelta(minutes=-13), id="by the same clock"),
        pytest.param(timedelta(days=3), timedelta(days=-1), id="by a clock that was right"),
    ],
)
async def test_a_stop_without_an_id_of_before_the_start_ends_nothing(
    place: ChargingPlace, behind: timedelta, stamped: timedelta
) -> None:
    session, _ = await begin_by_app(place, -behind)
    began_at = place.now
    place.later(4)
    await place.stop(-1, 2_000, time=began_at + stamped)
    assert await place.value("state", session) == "charging"
