"""A session by card at a clock that is hours behind stands early: what else rests on its times."""

from datetime import timedelta

import pytest

from tests.charging.place import POWER_W, ChargingPlace, read
from tests.charging.test_one_shift import begin_by_app, begin_by_card, charge

OFF = timedelta(hours=-6)
MOST_WH = POWER_W // 60 * 11 // 10  # in a minute


async def test_energy_is_bound_by_the_session_not_by_the_age_of_its_stamp(
    place: ChargingPlace,
) -> None:
    """The clock is 3 days behind; the register counts all that the meter ever had."""
    off = timedelta(days=-3)
    session, transaction = await begin_by_card(place, place.now + off)
    for wh in (700_000, 700_500):
        place.later(1)
        await place.values(transaction, wh, time=place.now + off)
    await place.stop(transaction, 700_500, time=place.now + off)
    assert await place.bill(session) == ("settled", 500, 12)


@pytest.mark.parametrize("has_values", [True, False])
async def test_a_queue_has_the_energy_of_its_own_minutes(
    place: ChargingPlace, *, has_values: bool
) -> None:
    """Ten minutes of five days ago: all that the connector can deliver in them, and no more."""
    began_at = place.now
    place.later(5 * 24 * 60)
    session, transaction = await begin_by_card(place, began_at)
    if has_values:
        for minute in range(1, 10):
            at = began_at + timedelta(minutes=minute)
            await place.values(transaction, minute * MOST_WH, time=at)
    await place.stop(transaction, 10 * MOST_WH, time=began_at + timedelta(minutes=10))
    assert await place.value("energy_wh", session) == 10 * MOST_WH
    assert await place.value("quarantined_at", session) is None


@pytest.mark.parametrize("has_values", [True, False])
async def test_a_queue_has_no_more_energy_than_its_own_minutes(
    place: ChargingPlace, *, has_values: bool
) -> None:
    began_at = place.now
    place.later(5 * 24 * 60)
    session, transaction = await begin_by_card(place, began_at)
    if has_values:
        await place.values(transaction, 1_000, time=began_at + timedelta(minutes=1))
    await place.stop(transaction, 13 * MOST_WH, time=began_at + timedelta(minutes=10))
    assert await place.value("energy_wh", session) == (1_000 if has_values else 0)
    assert await place.value("quarantined_at", session) is not None


async def test_the_next_start_gives_no_energy_of_the_days_before(place: ChargingPlace) -> None:
    """Its register runs on: a charge without values can't have had all that."""
    session, _ = await begin_by_card(place, place.now - timedelta(days=3))
    place.later(10)
    await place.begin(None, tag="x" * 8, meter_wh=700_000)
    assert await place.bill(session) == ("settled", 0, 0)


async def test_steps_see_the_values_of_a_session_that_stands_early(place: ChargingPlace) -> None:
    """The car stopped and its registers are equal: nothing more is sent."""
    session, transaction = await begin_by_card(place, place.now + OFF)
    await charge(place, transaction, OFF, 3)
    await place.ask_to_stop(session)
    assert await place.answer() == ["remote_stop"]
    for _ in range(30):
        place.later(1 / 6)
        await place.values(transaction, 1_500, time=place.now + OFF)
        await place.watch()
        await place.answer()
    assert [step for step, _ in await place.steps(transaction)] == [
        "remote_stop", "remote_stop_again",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "has_time"),
    [(0, True), (0, False), (1, True), (3, True), (3, False)],
    ids=["at its stop", "no stamp", "a value before", "values before", "values and no stamp"],
)
@pytest.mark.parametrize("has_booted", [False, True])
async def test_a_clock_that_is_set_right_in_mid_session_bills_its_minutes(
    place: ChargingPlace, values: int, *, has_time: bool, has_booted: bool
) -> None:
    session, transaction = await begin_by_card(place, place.now + OFF)
    await charge(place, transaction, OFF, 3)
    if has_booted:
        await place.boot()
    for minute in range(values):
        place.later(1)
        await place.values(transaction, 1_600 + 100 * minute)
    place.later(1)
    await place.stop(transaction, 2_000, has_time=has_time)
    assert await place.bill(session) == ("settled", 2_000, 6 * (4 + values))


@pytest.mark.parametrize("off", [OFF, -OFF], ids=["behind", "ahead"])
async def test_a_clock_set_right_before_the_line_was_lost_bills_by_its_stamps(
    place: ChargingPlace, off: timedelta
) -> None:
    """Its offset is known still: what is queued comes hours after its stamps, which are right."""
    client = await place.driver(10_000)
    for _ in range(3):
        await place.status("preparing", time=place.now + off)
        place.later(2)
    session = await place.start(client)
    transaction = await place.begin(session)
    began_at = place.now
    place.later(180)
    for minute in (2, 4, 6):
        at = began_at + timedelta(minutes=minute)
        await place.values(transaction, 500 * minute, time=at)
    await place.stop(transaction, 5_000, time=began_at + timedelta(minutes=10))
    assert await place.bill(session) == ("settled", 5_000, 60)


async def test_two_live_values_are_enough(place: ChargingPlace) -> None:
    session, transaction = await begin_by_card(place, place.now + OFF)
    await charge(place, transaction, OFF, 2)
    place.later(2)
    await place.stop(transaction, 2_000)
    assert await place.bill(session) == ("settled", 2_000, 24)


async def test_a_closing_value_right_after_a_stop_that_waited_is_billed(
    place: ChargingPlace,
) -> None:
    began_at = place.now
    place.later(120)
    session, transaction = await begin_by_card(place, began_at)
    await place.values(transaction, 1_000, time=began_at + timedelta(minutes=2))
    ended_at = began_at + timedelta(minutes=4)
    await place.stop(transaction, None, time=ended_at)
    place.later(0.1)
    await place.values(transaction, 2_000, context="Transaction.End", time=ended_at)
    assert await place.bill(session) == ("settled", 2_000, 24)
    assert "energy_after_stop" not in await place.alerts()


async def test_a_value_without_an_id_after_a_stop_that_waited_is_of_its_charge(
    place: ChargingPlace,
) -> None:
    began_at = place.now
    place.later(120)
    session, transaction = await begin_by_card(place, began_at)
    ended_at = began_at + timedelta(minutes=4)
    await place.stop(transaction, None, time=ended_at)
    place.later(0.1)
    await place.frames(None, [read(2_000, ended_at, "Transaction.End")])
    assert await place.bill(session) == ("settled", 2_000, 24)


async def test_a_car_that_took_nothing_says_so_though_all_came_late(place: ChargingPlace) -> None:
    began_at = place.now
    place.later(120)
    session, transaction = await begin_by_card(place, began_at)
    await place.stop(transaction, 0, reason="Local", time=began_at + timedelta(minutes=1))
    assert await place.value("end_reason", session) == "car_took_nothing"


async def test_a_boot_before_a_charge_that_waited_was_sent_is_none_after_it(
    place: ChargingPlace,
) -> None:
    """The register begins at 0 with each transaction: no boot did it."""
    began_at = place.now
    place.later(120)
    await place.owner.execute("update stations.stations set booted_at = $1", place.now)
    place.later(1)
    _, transaction = await begin_by_card(place, began_at)
    await place.stop(transaction, 2_000, time=began_at + timedelta(minutes=4))
    place.later(1)
    await place.begin(None, tag="x" * 8)
    kind = await place.owner.fetchval("select register_kind from charging.meters")
    assert kind == "per_transaction"


@pytest.mark.parametrize("is_set_right", [False, True])
async def test_the_hours_use_up_no_money(place: ChargingPlace, *, is_set_right: bool) -> None:
    """At 6 som a minute they would be more than is on hold."""
    session, transaction = await begin_by_card(place, place.now + OFF)
    await charge(place, transaction, OFF, 3)
    off = timedelta() if is_set_right else OFF
    for minute in range(1, 4):
        place.later(1)
        await place.values(transaction, 1_500 + 500 * minute, time=place.now + off)
        await place.watch()
    assert await place.value("state", session) == "charging"
    assert (await place.progress(transaction))["cost_minor"] == 3_600


async def show_clock(place: ChargingPlace, off: timedelta) -> None:
    """Two statuses show how far the clock is off, by connector 2."""
    for status in ("preparing", "available"):
        place.later(2)
        await place.status(status, 2, time=place.now + off)


async def test_a_clock_shown_by_statuses_before_a_boot_bills_the_minutes(
    place: ChargingPlace,
) -> None:
    """The charge has no values; the boot sets the clock right."""
    session, transaction = await begin_by_card(place, place.now + OFF)
    await show_clock(place, OFF)
    await place.boot()
    place.later(1)
    await place.stop(transaction, 2_000)
    assert await place.bill(session) == ("settled", 2_000, 30)


async def test_a_clock_shown_by_statuses_and_set_right_bills_the_minutes(
    place: ChargingPlace,
) -> None:
    """It was set right without a boot, which live statuses show."""
    session, transaction = await begin_by_card(place, place.now + OFF)
    await show_clock(place, OFF)
    await show_clock(place, timedelta())
    place.later(1)
    await place.stop(transaction, 2_000)
    assert await place.bill(session) == ("settled", 2_000, 54)


async def test_a_clock_shown_by_another_charge_bills_the_minutes(place: ChargingPlace) -> None:
    """The values are of connector 2 alone; then the boot sets the clock right."""
    session, transaction = await begin_by_card(place, place.now + OFF)
    other = await place.start(await place.driver(), 2)
    other_transaction = await place.begin(other, connector=2, time=place.now + OFF)
    await charge_on(place, other_transaction)
    await place.boot()
    place.later(1)
    await place.stop(transaction, 2_000)
    assert await place.bill(session) == ("settled", 2_000, 24)


async def charge_on(place: ChargingPlace, transaction: int) -> None:
    for minute in range(1, 4):
        place.later(1)
        await place.values(transaction, 500 * minute, connector=2, time=place.now + OFF)


async def test_a_boot_forgets_no_offset_of_a_start(place: ChargingPlace) -> None:
    """What was known of the clock before is known of the start, too."""
    session, transaction = await begin_by_card(place, place.now + OFF)
    await place.owner.execute(
        "insert into charging.clocks (station_id, stamp, received_at, skew_s)"
        " values ('S1', $1, $2, 21600)",
        place.now + OFF, place.now,
    )  # fmt: skip
    place.later(3)
    await place.boot()
    place.later(1)
    await place.stop(transaction, 2_000)
    assert await place.bill(session) == ("settled", 2_000, 24)


@pytest.mark.parametrize("seconds", [-100, -50, 0, 50, 100])
@pytest.mark.parametrize("by_card", [False, True])
async def test_steps_see_the_values_of_any_clock(
    place: ChargingPlace, seconds: int, *, by_card: bool
) -> None:
    """The car stopped and its registers are equal: nothing more is sent."""
    off = timedelta(seconds=seconds)
    begin = begin_by_card(place, place.now + off) if by_card else begin_by_app(place, off)
    session, transaction = await begin
    await charge(place, transaction, off, 3)
    await place.ask_to_stop(session)
    assert await place.answer() == ["remote_stop"]
    for _ in range(30):
        place.later(1 / 6)
        await place.values(transaction, 1_500, time=place.now + off)
        await place.watch()
        await place.answer()
    assert [step for step, _ in await place.steps(transaction)] == [
        "remote_stop", "remote_stop_again",
    ]  # fmt: skip


@pytest.mark.parametrize("off", [timedelta(seconds=-100), timedelta(seconds=100), OFF], ids=str)
async def test_stored_values_of_any_clock_are_no_proof_for_a_step(
    place: ChargingPlace, off: timedelta
) -> None:
    """They were measured half a minute before the second stop was sent."""
    session, transaction = await begin_by_card(place, place.now + off)
    await charge(place, transaction, off, 3)
    await place.ask_to_stop(session)
    assert await place.answer() == ["remote_stop"]
    place.later(1)
    at = place.now
    place.later(0.5)
    await place.frame()
    await place.watch()
    assert await place.answer() == ["remote_stop"]
    place.later(0.1)
    for wh in (1_510, 1_520, 1_530):
        await place.values(transaction, wh, time=at + off)
        await place.watch()
    assert await place.answer() == []


@pytest.mark.parametrize("values", [0, 1, 3])
async def test_a_boot_that_does_not_set_the_clock_bills_the_minutes(
    place: ChargingPlace, values: int
) -> None:
    """The charge is longer than the clock is behind."""
    off = timedelta(minutes=-10)
    session, transaction = await begin_by_card(place, place.now + off)
    await charge(place, transaction, off, 20)
    await place.boot()
    for minute in range(values):
        place.later(1)
        await place.values(transaction, 10_100 + 100 * minute, time=place.now + off)
    place.later(5)
    await place.stop(transaction, 11_000, time=place.now + off)
    assert await place.bill(session) == ("settled", 11_000, 6 * (25 + values))


@pytest.mark.parametrize("waited", [0, 2, 60])
async def test_a_boot_that_sets_the_clock_bills_the_minutes(
    place: ChargingPlace, waited: int
) -> None:
    """The charge is longer than the clock was behind; its stop may have waited."""
    off = timedelta(minutes=-10)
    session, transaction = await begin_by_card(place, place.now + off)
    await charge(place, transaction, off, 20)
    await place.boot()
    place.later(15)
    ended_at = place.now
    place.later(waited)
    await place.stop(transaction, 11_000, time=ended_at)
    assert await place.bill(session) == ("settled", 11_000, 6 * 35)
