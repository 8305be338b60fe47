"""What a charge would cost: by the function that makes the bill, and by the driver's own tariff."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from evpower import tariffs
from evpower.charging import hold_size
from evpower.charging.course import Course, even_course, price_course
from evpower.charging.estimate import Estimate, EstimateRequest, estimate_cost
from evpower.foundation.errors import EvPowerError
from evpower.tariffs import Sample
from tests.charging.place import ChargingPlace

# A connector delivers 60 kW: a kWh a minute. It is noon.
DAY_NIGHT: dict[str, Any] = {
    "name": "day and night",
    "elements": [
        {"prices": {"energy_per_kwh": "10"}, "if": {"from": "22:00", "to": "06:00"}},
        {"prices": {"energy_per_kwh": "14", "flat": "5", "parking_per_minute": "2"}},
    ],
    "parking_grace_minutes": 5,
    "parking_maximum": "100",
}


async def estimated(place: ChargingPlace, **wanted: Any) -> Estimate:
    request = EstimateRequest(wanted.pop("station", "S1"), wanted.pop("connector", 1), **wanted)
    async with place.db.connection() as connection:
        return await estimate_cost(connection, request, now=place.now)


async def refused(place: ChargingPlace, **wanted: Any) -> str:
    with pytest.raises(EvPowerError) as error:
        await estimated(place, **wanted)
    return error.value.code


@pytest.fixture
async def site(place: ChargingPlace) -> ChargingPlace:
    place.later(1)
    await place.price_document(DAY_NIGHT)
    await place.owner.execute(
        "insert into stations.profiles (station_id, overrides)"
        " values ('S1', '{\"release_detection\": true}')"
    )
    return place


@pytest.mark.parametrize(
    ("wanted", "facts"),
    [
        # 30 kWh take 30 minutes.
        ({"energy_wh": 30_000}, ("energy", 30_000, 1800, 42_500)),
        # 20 minutes are 20 kWh.
        ({"duration_s": 1200}, ("time", 20_000, 1200, 28_500)),
        # 145 som are the start fee and 10 kWh.
        ({"amount_minor": 14_500}, ("amount", 10_000, 600, 14_500)),
        # What is reached first ends it.
        ({"energy_wh": 30_000, "duration_s": 1200}, ("time", 20_000, 1200, 28_500)),
        ({"energy_wh": 30_000, "amount_minor": 14_500}, ("amount", 10_000, 600, 14_500)),
        ({"energy_wh": 5_000, "amount_minor": 14_500}, ("energy", 5_000, 300, 7_500)),
        # A car that takes 20 kW needs three times as long; one that would take more does not.
        ({"energy_wh": 30_000, "power_w": 20_000}, ("energy", 30_000, 5400, 42_500)),
        ({"energy_wh": 30_000, "power_w": 400_000}, ("energy", 30_000, 1800, 42_500)),
        # 25 minutes of standing, 20 of them paid.
        ({"energy_wh": 30_000, "parked_s": 1500}, ("energy", 30_000, 1800, 46_500)),
        # The start fee alone is more than the amount, which caps the bill.
        ({"amount_minor": 300}, ("amount", 0, 0, 300)),
    ],
)
async def test_an_estimate_by_hand(
    site: ChargingPlace, wanted: dict[str, Any], facts: tuple[str, int, int, int]
) -> None:
    estimate = await estimated(site, **wanted)
    assert (
        estimate.limited_by, estimate.energy_wh, estimate.duration_s, estimate.priced.cost_minor,
    ) == facts  # fmt: skip


async def test_a_start_to_come_has_its_own_prices(site: ChargingPlace) -> None:
    evening = site.now + timedelta(hours=9, minutes=49)  # 21:50
    estimate = await estimated(site, energy_wh=30_000, starts_at=evening)
    assert estimate.priced.cost_minor == 100 * (5 + 10 * 14 + 20 * 10)


async def test_a_draft_that_begins_before_the_start_counts(site: ChargingPlace) -> None:
    site.later(1)
    async with site.db.transaction() as connection:
        await tariffs.save(
            connection, plan="t", document={"name": "n", "elements": [
                {"prices": {"energy_per_kwh": "20"}}]},
            valid_from=site.now + timedelta(days=1), now=site.now, actor="aida",
        )  # fmt: skip
    tomorrow = site.now + timedelta(days=1)
    assert (await estimated(site, energy_wh=1_000)).priced.cost_minor == 1_900
    assert (await estimated(site, energy_wh=1_000, starts_at=tomorrow)).priced.cost_minor == 2_000


async def test_a_driver_s_own_tariff_counts(site: ChargingPlace) -> None:
    client = await site.driver()
    async with site.db.transaction() as connection:
        await tariffs.add_client_tariff(
            connection,
            tariffs.NewClientTariff(client, site.now, discount_ppm=500_000),
            now=site.now,
            actor="aida",
        )
    own = await estimated(site, energy_wh=30_000, client_id=client)
    assert (own.priced.cost_minor, own.snapshot.client_tariff) == (500 + 42_000 // 2, 1)
    assert (await estimated(site, energy_wh=30_000)).priced.cost_minor == 42_500


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({}, "estimate_limit_missing"),
        ({"energy_wh": 0}, "invalid_energy"),
        ({"energy_wh": 1_000_001}, "invalid_energy"),
        ({"amount_minor": 0}, "invalid_amount"),
        ({"duration_s": 0}, "invalid_duration"),
        ({"duration_s": 604_801}, "invalid_duration"),
        ({"energy_wh": 1, "parked_s": -1}, "invalid_duration"),
        ({"energy_wh": 1, "power_w": 0}, "invalid_power"),
        ({"energy_wh": 1, "station": "nowhere"}, "station_not_found"),
        ({"energy_wh": 1, "connector": 9}, "connector_not_found"),
    ],
)
async def test_what_can_not_be_is_refused(
    site: ChargingPlace, wanted: dict[str, Any], code: str
) -> None:
    assert await refused(site, **wanted) == code


async def test_neither_the_past_nor_years_to_come(site: ChargingPlace) -> None:
    for days in (-1, 367):
        starts_at = site.now + timedelta(days=days)
        assert await refused(site, energy_wh=1, starts_at=starts_at) == "invalid_time"


async def test_without_a_tariff_there_is_none(place: ChargingPlace) -> None:
    starts_at = place.now - timedelta(minutes=1)
    assert await refused(place, energy_wh=1, starts_at=starts_at) == "tariff_missing"


async def test_the_estimate_of_what_happened_is_the_bill(site: ChargingPlace) -> None:
    """A charge at a steady 60 kW, then 20 minutes of standing: asked before, billed after."""
    client = await site.driver(5_000)
    estimate = await estimated(site, energy_wh=25_000, parked_s=1200, client_id=client)
    session, transaction = await site.charging(client)
    for minute in range(5, 26, 5):
        site.later(5)
        await site.values(transaction, minute * 1_000)
    await site.status("suspended_ev")
    site.later(20)
    await site.stop(transaction, 25_000)
    assert await cost_minor(site, session) == estimate.priced.cost_minor == 38_500


async def cost_minor(site: ChargingPlace, session: UUID) -> int:
    return (await site.session(session))["cost_minor"]


def test_a_course_has_its_energy_and_its_time() -> None:
    tariff = tariffs.read_tariff(DAY_NIGHT)
    course = even_course(tariffs.local_time(tariff, "2026-03-09T12:00"), 10_000, 600, 600)
    assert price_course(tariff, course).cost_minor == 500 + 14_000 + 1_000
    assert price_course(tariff, course, limit_amount_minor=9_000).cost_minor == 9_000


@pytest.mark.parametrize(
    ("wanted", "rate"),
    [
        ({"energy_wh": 10_001}, 20),  # 601 seconds: 59,906 W on average
        ({"duration_s": 61}, 20),  # 1,016 Wh: 59,960 W on average
        ({"amount_minor": 2_001}, 20),
        ({"energy_wh": 10_001, "power_w": 59_999}, 13.5),
    ],
)
async def test_the_edge_of_a_power_condition_is_of_the_rate_that_is_shown(
    place: ChargingPlace, wanted: dict[str, Any], rate: float
) -> None:
    place.later(1)
    fast = {"prices": {"energy_per_kwh": "20"}, "if": {"from_kw": "60"}}
    elements = [fast, {"prices": {"energy_per_kwh": "13.5"}}]
    await place.price_document({"name": "by power", "elements": elements})
    estimate = await estimated(place, **wanted)
    card = tariffs.RateCard(estimate.snapshot.tariff)
    shown = card.at(estimate.starts_at, power_w=estimate.power_w).per_kwh
    (part,) = estimate.priced.session.cost.parts
    assert shown == rate
    assert part.price_micro == shown * 1_000_000


@pytest.mark.parametrize("current_ma", [None, 0, 99_999, 100_000, 400_000])
async def test_an_estimate_and_its_hold_cover_a_bill_by_any_current(
    place: ChargingPlace, current_ma: int | None
) -> None:
    """Which current will flow is not known before; 90 som never apply."""
    place.later(1)
    strong = {"prices": {"energy_per_kwh": "20"}, "if": {"from_a": "100"}}
    weak = {"prices": {"energy_per_kwh": "10"}, "if": {"below_a": "100"}}
    elements = [weak, strong, {"prices": {"energy_per_kwh": "90"}}]
    await place.price_document({"name": "by current", "elements": elements})
    estimate = await estimated(place, energy_wh=10_000)
    tariff, now = estimate.snapshot.tariff, estimate.starts_at
    held_minor = hold_size.estimate(tariff, 10_000, estimate.power_w, now=now)
    shown = tariffs.RateCard(tariff).at(now, power_w=estimate.power_w).per_kwh
    assert (estimate.priced.cost_minor, held_minor, shown) == (20_000, 20_000, 20)
    measured = Course(now, [Sample(now + timedelta(minutes=10), 10_000, 60_000, current_ma)])
    is_strong = current_ma is not None and current_ma >= 100_000
    assert price_course(tariff, measured).cost_minor == (20_000 if is_strong else 10_000)
