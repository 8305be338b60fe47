"""Lower values that a later one takes back: when their energy flowed, and what it costs then."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evpower.charging.spread import CountedSample, spread
from evpower.tariffs import Sample
from tests.charging.place import ChargingPlace

START = datetime(2026, 3, 8, 6, tzinfo=UTC)
# 20 som a kWh until 12:41 in Bishkek, then 10; 3 som a minute once the car is done.
PRICES: dict[str, Any] = {
    "name": "cheaper later",
    "elements": [
        {"prices": {"energy_per_kwh": "20"}, "if": {"from": "06:00", "to": "12:41"}},
        {"prices": {"energy_per_kwh": "10"}},
        {"prices": {"parking_per_minute": "3"}},
    ],
}
BEGUN_WH = 5_000


@pytest.fixture
async def site(place: ChargingPlace) -> ChargingPlace:
    place.later(1)
    await place.price_document(PRICES)
    await place.owner.execute(
        "insert into stations.profiles (station_id, overrides)"
        """ values ('S1', '{"release_detection": true}')"""
    )
    return place


async def goes_wrong(site: ChargingPlace, *, done_at: int | None = None) -> tuple[Any, int]:
    """12:01 to 13:01: 10 kWh until 12:21, then only zeros; done_at: minutes after 12:21."""
    session, transaction = await site.charging(await site.driver(5_000), meter_wh=BEGUN_WH)
    site.later(20)
    await site.values(transaction, BEGUN_WH + 10_000)
    for minutes in range(5, 40, 5):
        site.later(5)
        await site.values(transaction, 0)
        if minutes == done_at:
            await site.status("suspended_ev")
    site.later(5)
    return session, transaction


async def test_energy_costs_what_it_did_when_it_flowed(site: ChargingPlace) -> None:
    """20 kWh in 40 minutes, half of them before the price falls."""
    session, transaction = await goes_wrong(site)
    await site.values(transaction, BEGUN_WH + 30_000)
    running = await site.progress(transaction)
    assert (running["cost_minor"], running["power_w"]) == (500_00, 30_000)
    site.later(10)
    await site.values(transaction, BEGUN_WH + 31_000)
    assert (await site.progress(transaction))["cost_minor"] == 510_00
    await site.stop(transaction, BEGUN_WH + 31_000)
    assert await site.bill(session) == ("settled", 31_000, 510)


async def test_a_stop_takes_them_back_too(site: ChargingPlace) -> None:
    session, transaction = await goes_wrong(site)
    await site.stop(transaction, BEGUN_WH + 30_000)
    assert await site.bill(session) == ("settled", 30_000, 500)
    await site.correct(transaction, 29_000)
    assert await site.bill(session) == ("settled", 29_000, 490)


async def test_the_next_start_takes_them_back_too(site: ChargingPlace) -> None:
    session, _ = await goes_wrong(site)
    await site.begin(None, tag="A1", meter_wh=BEGUN_WH + 30_000)
    state, energy_wh, cost = await site.bill(session)
    assert (state, energy_wh) == ("settled", 30_000)
    assert cost == 514  # it flowed until the last value, 20 of 35 minutes at the higher price


async def test_a_car_that_was_done_took_none_since(site: ChargingPlace) -> None:
    """10 kWh until 12:31, then half an hour of idle time."""
    session, transaction = await goes_wrong(site, done_at=10)
    await site.values(transaction, BEGUN_WH + 20_000)
    assert (await site.progress(transaction))["cost_minor"] == 490_00
    await site.stop(transaction, BEGUN_WH + 20_000)
    assert await site.bill(session) == ("settled", 20_000, 490)


async def test_a_register_that_restarted_is_billed_as_it_went(site: ChargingPlace) -> None:
    session, transaction = await goes_wrong(site)
    await site.values(transaction, 1_000)
    await site.stop(transaction, 1_000)
    assert await site.bill(session) == ("settled", 11_000, 210)


def counted(*values: tuple[int, int, str | None]) -> list[CountedSample]:
    """Samples at minutes of the charge, each with its energy and what it was taken for."""
    return [
        CountedSample(Sample(START + timedelta(minutes=minute), wh), outcome)  # type: ignore[arg-type]
        for minute, wh, outcome in values
    ]


@pytest.mark.parametrize(
    ("values", "energies"),
    [
        (  # twice lower: nothing flowed since the first time
            [(10, 100, None), (20, 100, "segment"), (30, 100, "segment"), (40, 400, "return")],
            [100, 200, 300, 400],
        ),
        (  # from the start on
            [(10, 0, "segment"), (20, 0, None), (40, 400, "return")],
            [100, 200, 400],
        ),
        (  # an earlier restart was none of it
            [
                (10, 100, None), (20, 100, "segment"), (30, 200, None), (40, 200, "segment"),
                (50, 200, None), (60, 500, "return"),
            ],
            [100, 100, 200, 300, 400, 500],
        ),
        (  # not once a higher register was believed
            [(10, 100, "segment"), (20, 100, "jump"), (30, 100, None), (40, 400, "return")],
            [100, 100, 100, 400],
        ),
        (  # not where the lower register went on by itself from its first values
            [
                (10, 100, None), (20, 3_100, "segment"), (40, 3_100, "segment"),
                (60, 7_100, "return"),
            ],
            [100, 3_100, 5_100, 7_100],
        ),
        (  # a higher register that has not grown is another one, too
            [
                (10, 100, None), (20, 100, "segment"), (30, 100, "jump"), (40, 100, "segment"),
                (60, 400, "return"),
            ],
            [100, 100, 100, 200, 400],
        ),
        (  # within the tolerance of a register
            [(10, 100, None), (20, 100, "segment"), (30, 120, None), (40, 400, "return")],
            [100, 200, 300, 400],
        ),
        ([(10, 0, "segment"), (10, 0, None), (10, 400, "return")], [400, 400, 400]),
    ],
)  # fmt: skip
def test_energy_flows_evenly_from_the_last_good_value(
    values: list[tuple[int, int, str | None]], energies: list[int]
) -> None:
    assert [sample.energy_wh for sample in spread(counted(*values), START)] == energies


def test_energy_flowed_before_a_status_that_came_before_the_first_lower_value() -> None:
    values = counted((10, 100, None), (20, 100, None), (30, 100, "segment"), (40, 400, "return"))
    values[1] = values[1]._replace(is_metered=False)
    assert [sample.energy_wh for sample in spread(values, START)] == [100, 200, 300, 400]


def test_a_time_that_goes_back_adds_none() -> None:
    values = counted((10, 100, None), (30, 100, "segment"), (20, 100, None), (40, 400, "return"))
    assert [sample.energy_wh for sample in spread(values, START)] == [100, 300, 300, 400]


def test_what_a_car_that_was_done_took_all_the_same_flowed_evenly() -> None:
    values = counted((10, 100, None), (20, 100, "segment"), (30, 100, None), (40, 400, "return"))
    values[1:] = [each._replace(sample=each.sample._replace(is_parked=True)) for each in values[1:]]
    assert [sample.energy_wh for sample in spread(values, START)] == [100, 200, 300, 400]


def test_values_of_no_time_stay_as_they_are() -> None:
    values = counted((0, 0, "segment"), (0, 0, None), (0, 400, "return"))
    assert [sample.energy_wh for sample in spread(values, START)] == [0, 0, 400]
