"""When a session has to stop, and how much money it may still use."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpower.charging.limits import (
    Flow,
    Limits,
    billed_minor,
    grown_hold,
    reached,
    reached_by_time,
    stop_due_at,
)
from evpower.tariffs import Pricer, Sample, Tally, begin, next_period, read_tariff
from evpower.tariffs.model import MeteredPeriod

NOON = datetime(2026, 3, 8, 6, tzinfo=UTC)  # noon in Bishkek
ENERGY_ONLY = {"energy_per_kwh": {"price": "12"}}
PRICER = Pricer(read_tariff({"name": "t", "elements": [{"prices": ENERGY_ONLY}]}))
# 12 som a kWh, 3 som a minute while the car takes nothing.
WITH_PARKING = Pricer(
    read_tariff(
        {
            "name": "t",
            "elements": [{"prices": ENERGY_ONLY | {"parking_per_hour": {"price": "180"}}}],
        }
    )
)
# 10 som a kWh until 20 kWh, then 20.
IN_STEPS = Pricer(
    read_tariff(
        {
            "name": "t",
            "elements": [
                {"prices": {"energy_per_kwh": {"price": "10"}}, "if": {"below_kwh": "20"}},
                {"prices": {"energy_per_kwh": {"price": "20"}}},
            ],
        }
    )
)
# 20 som a kWh from 100 A on, below it 12: alone, with a limit of the whole, and from 12:15 on.
DEAR = {"prices": {"energy_per_kwh": {"price": "20"}}, "if": {"from_a": "100"}}
BY_CURRENT: dict[str, dict[str, Any]] = {
    "alone": {"elements": [DEAR, {"prices": ENERGY_ONLY}]},
    "limited": {"elements": [DEAR, {"prices": ENERGY_ONLY}], "maximum": "5000"},
    "at times": {
        "elements": [
            {"prices": {"energy_per_kwh": {"price": "20"}}, "if": {"from": "00:00", "to": "12:15"}},
            DEAR,
            {"prices": ENERGY_ONLY},
        ]
    },
}
RATED_W = 60_000
MINUTE = timedelta(minutes=1)


def limits(
    energy_wh: int | None = None,
    amount_minor: int | None = None,
    soc_percent: int | None = None,
    held_minor: int = 20_000,
) -> Limits:
    return Limits(energy_wh, amount_minor, soc_percent, held_minor)


def flow(
    energy_wh: int = 0,
    power_w: int | None = None,
    *,
    pricer: Pricer = PRICER,
    soc: int | None = None,
    is_parked: bool = False,
    interval: timedelta | None = None,
) -> Flow:
    tally = begin(NOON)
    tally = pricer.advance(tally, [next_period(tally, Sample(NOON, energy_wh))])[0]
    cost_minor = pricer.cost(tally).total_minor
    return Flow(NOON, tally, energy_wh, cost_minor, power_w, soc, is_parked, interval)


def due(limit: Limits, running: Flow, pricer: Pricer = PRICER) -> timedelta | None:
    at = stop_due_at(pricer, limit, running, RATED_W)
    return None if at is None else at - NOON


class TestPrediction:
    def test_an_energy_limit_is_reached_at_the_measured_power(self) -> None:
        running = flow(10_000, 30_000, interval=timedelta(hours=1))
        assert due(limits(energy_wh=25_000), running) == timedelta(minutes=30)

    def test_before_the_first_value_the_rated_power_counts(self) -> None:
        assert due(limits(energy_wh=30_000), flow()) == timedelta(minutes=30)

    def test_a_money_limit_is_reached_at_the_price_of_the_tariff(self) -> None:
        running = flow(0, 30_000, interval=timedelta(hours=9))
        assert due(limits(amount_minor=18_000), running) == timedelta(minutes=30)

    def test_a_price_that_changes_on_the_way_is_followed(self) -> None:
        # 20 kWh for 200 som, then 5 kWh for 100 som.
        running = flow(0, 30_000, pricer=IN_STEPS, interval=timedelta(hours=9))
        assert due(limits(amount_minor=30_000), running, IN_STEPS) == timedelta(minutes=50)

    @pytest.mark.parametrize("prices", BY_CURRENT.values(), ids=BY_CURRENT)
    def test_of_prices_by_current_the_dearest_one_counts(self, prices: dict[str, Any]) -> None:
        """From the next second on the car may draw a current of the dear band."""
        pricer = Pricer(read_tariff({"name": "t", **prices}))
        running = flow(0, 30_000, pricer=pricer, interval=timedelta(hours=9))
        assert due(limits(amount_minor=30_000), running, pricer) == 30 * MINUTE
        sample = Sample(NOON + 30 * MINUTE, 15_000, 30_000, current_ma=120_000)
        tally = pricer.add(running.tally, next_period(running.tally, sample))
        assert pricer.cost(tally).total_minor == 30_000

    def test_a_cheap_price_by_big_steps_counts_where_it_costs_more(self) -> None:
        """The bill of a second is 10 kWh for 120 som, where the dear price takes 11 minutes."""
        cheap = {"prices": {"energy_per_kwh": {"price": "12", "step": 10_000}}}
        pricer = Pricer(read_tariff({"name": "t", "elements": [DEAR, cheap]}))
        running = flow(0, 30_000, pricer=pricer, interval=timedelta(hours=9))
        assert due(limits(amount_minor=11_000), running, pricer) == timedelta(seconds=1)
        assert due(limits(amount_minor=30_000), running, pricer) == 30 * MINUTE

    def test_both_limits_limit(self) -> None:
        running = flow(0, 60_000, interval=timedelta(hours=9))
        assert due(limits(energy_wh=10_000, amount_minor=24_000), running) == 10 * MINUTE
        assert due(limits(energy_wh=30_000, amount_minor=24_000), running) == 20 * MINUTE

    def test_without_a_limit_the_money_on_hold_is_one(self) -> None:
        running = flow(0, 60_000, interval=timedelta(hours=9))
        assert due(limits(held_minor=24_000), running) == 20 * MINUTE

    def test_an_energy_limit_stops_at_no_money_on_hold(self) -> None:
        running = flow(0, 60_000, interval=timedelta(hours=9))
        assert due(limits(energy_wh=30_000, held_minor=1), running) == 30 * MINUTE

    def test_edge_12_missing_values_are_bounded_by_the_rated_power(self) -> None:
        running = flow(0, 6_000, interval=MINUTE)
        assert due(limits(energy_wh=10_000), running) == 12 * MINUTE

    def test_edge_12_a_car_that_pauses_is_bounded_when_its_values_go_missing(self) -> None:
        running = flow(0, 0, interval=MINUTE)
        assert due(limits(energy_wh=10_000), running) == 12 * MINUTE

    def test_a_parked_car_uses_money_by_time(self) -> None:
        running = flow(1_000, 0, pricer=WITH_PARKING, is_parked=True, interval=timedelta(hours=9))
        assert due(limits(amount_minor=4_200), running, WITH_PARKING) == 10 * MINUTE

    def test_a_session_that_costs_nothing_has_no_end(self) -> None:
        free = Pricer(
            read_tariff({"name": "t", "elements": [{"prices": {"energy_per_kwh": {"price": "0"}}}]})
        )
        assert due(limits(), flow(0, 60_000, pricer=free), free) is None

    def test_a_limit_that_is_reached_is_due_at_once(self) -> None:
        assert due(limits(energy_wh=10), flow(10, 5)) == timedelta(0)


class TestReached:
    @pytest.mark.parametrize(
        ("limit", "running", "reason"),
        [
            (limits(energy_wh=1_000), flow(999), None),
            (limits(energy_wh=1_000), flow(1_000), "energy_limit"),
            (limits(amount_minor=1_201), flow(1_000), None),
            (limits(amount_minor=1_200), flow(1_000), "amount_limit"),
            (limits(held_minor=1_200), flow(1_000), "balance_limit"),
            (limits(soc_percent=80), flow(soc=79), None),
            (limits(soc_percent=80), flow(soc=80), "soc_limit"),
            (limits(soc_percent=80, held_minor=1_200), flow(1_000, soc=10), "balance_limit"),
            (limits(energy_wh=2_000, amount_minor=1_200), flow(1_000), "amount_limit"),
        ],
    )
    def test_the_first_limit_ends_it(
        self, limit: Limits, running: Flow, reason: str | None
    ) -> None:
        assert reached(limit, running) == reason

    def test_the_predicted_limit_is_named(self) -> None:
        both = limits(energy_wh=10_000, amount_minor=24_000)
        assert reached_by_time(PRICER, both, flow(0, 60_000), RATED_W) == "energy_limit"
        both = limits(energy_wh=30_000, amount_minor=24_000)
        assert reached_by_time(PRICER, both, flow(0, 60_000), RATED_W) == "amount_limit"
        assert reached_by_time(PRICER, limits(), flow(0, 0), RATED_W) == "balance_limit"
        assert reached_by_time(PRICER, limits(energy_wh=9), flow(0, 0), RATED_W) == "energy_limit"


class TestHold:
    @pytest.mark.parametrize(
        ("cost_minor", "available_minor", "total_minor"),
        [
            (15_999, 50_000, 20_000),
            (16_000, 50_000, 30_000),  # 80 percent of 200 som
            (40_000, 50_000, 60_000),  # several steps at once
            (16_000, 2_500, 22_500),  # as much as there is
            (16_000, 0, 20_000),
        ],
    )
    def test_it_grows_by_whole_steps_from_80_percent(
        self, cost_minor: int, available_minor: int, total_minor: int
    ) -> None:
        assert grown_hold(limits(), cost_minor, available_minor, 10_000) == total_minor

    def test_a_session_with_its_own_limit_holds_no_more(self) -> None:
        assert grown_hold(limits(energy_wh=9), 20_000, 50_000, 10_000) == 20_000
        assert grown_hold(limits(amount_minor=20_000), 20_000, 50_000, 10_000) == 20_000


def test_the_bill_is_capped_at_the_amount_only() -> None:
    assert billed_minor(5_100, 5_000) == 5_000
    assert billed_minor(4_900, 5_000) == 4_900
    assert billed_minor(5_100, None) == 5_100


POWERS = st.none() | st.integers(0, 400_000)


@given(
    st.sampled_from([PRICER, WITH_PARKING, IN_STEPS]),
    st.none() | st.integers(1, 200_000),
    st.none() | st.integers(1_000, 500_000),
    st.integers(0, 100_000),
    POWERS,
    st.none() | st.integers(1, 900),
)
def test_at_the_predicted_second_a_limit_is_reached_and_not_before(
    pricer: Pricer,
    energy_wh: int | None,
    amount_minor: int | None,
    used_wh: int,
    power_w: int | None,
    interval_s: int | None,
) -> None:
    limit = limits(energy_wh, amount_minor)
    interval = None if interval_s is None else timedelta(seconds=interval_s)
    running = flow(used_wh, power_w, pricer=pricer, interval=interval)
    at = stop_due_at(pricer, limit, running, RATED_W)
    assert at is not None or power_w == 0 or energy_wh is None
    if at is None or reached(limit, running):
        return
    seconds = int((at - NOON).total_seconds())
    # By the fastest power that is possible until then, something is reached; one second before, by
    # what was measured, nothing is.
    assert is_reached(pricer, limit, running, max(power_w or 0, RATED_W), seconds)
    if power_w is not None and interval is not None:
        assert not is_reached(pricer, limit, running, power_w, seconds - 1)


def cost_after(pricer: Pricer, tally: Tally, power_w: int, seconds: int) -> int:
    """By the price function itself."""
    at_s = tally.started_s if tally.at_s is None else tally.at_s
    period = MeteredPeriod(at_s, seconds, power_w * seconds * 1_000 // 3_600, "charging", power_w)
    return pricer.cost(pricer.advance(tally, [period])[0]).total_minor


def is_reached(pricer: Pricer, limit: Limits, running: Flow, power_w: int, seconds: int) -> bool:
    cost_minor = cost_after(pricer, running.tally, power_w, seconds)
    used_wh = running.energy_wh + power_w * seconds // 3_600
    later = running.replace(energy_wh=used_wh, cost_minor=cost_minor)
    return reached(limit.replace(soc_percent=None), later) is not None
