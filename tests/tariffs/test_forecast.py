"""A forecast is what the price function says, second in fewer steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpower.tariffs import FlowingUse, Pricer, Tally, Tariff, forecast, read_tariff
from evpower.tariffs.model import MeteredPeriod, UseKind
from tests.tariffs.strategies import periods, tariffs

FAR_S = 7 * 24 * 3_600
POWERS = st.sampled_from((0, 1, 700, 7_400, 22_000, 59_999, 150_000, 400_000))
KINDS = st.sampled_from(("charging", "parked"))


def tally_of(tariff: Tariff, used: list[MeteredPeriod]) -> Tally:
    return Pricer(tariff).advance(Tally(used[0].start_s), used)[0]


def cost_after(tariff: Tariff, tally: Tally, power_w: int, kind: UseKind, seconds: int) -> int:
    """By the price function."""
    pricer = Pricer(tariff)
    at_s = tally.started_s if tally.at_s is None else tally.at_s
    used_mwh = power_w * seconds * 1_000 // 3_600
    period = MeteredPeriod(at_s, seconds, used_mwh, kind, power_w)
    return pricer.cost(pricer.advance(tally, [period])[0]).total_minor


@given(tariffs(), periods())
def test_the_total_is_that_of_the_price_function(tariff: Tariff, used: list[MeteredPeriod]) -> None:
    tally = tally_of(tariff, used)
    assert forecast(Pricer(tariff)).total_minor(tally) == Pricer(tariff).cost(tally).total_minor


@given(tariffs(), periods(), POWERS, KINDS, st.integers(1, 60_000))
def test_before_the_second_it_costs_less_and_then_as_much(
    tariff: Tariff, used: list[MeteredPeriod], power_w: int, kind: UseKind, more_minor: int
) -> None:
    tally = tally_of(tariff, used)
    limit = cost_after(tariff, tally, power_w, kind, 0) + more_minor
    [seconds] = forecast(Pricer(tariff)).seconds_until(
        tally, limit, [(power_w, kind)], most_s=FAR_S
    )
    if seconds is None:
        assert cost_after(tariff, tally, power_w, kind, FAR_S) < limit
        return
    assert cost_after(tariff, tally, power_w, kind, seconds) >= limit
    assert seconds == 0 or cost_after(tariff, tally, power_w, kind, seconds - 1) < limit


@given(
    tariffs(),
    periods(),
    st.lists(st.tuples(POWERS, KINDS), min_size=2, max_size=4),
    st.integers(1, 60_000),
)
def test_uses_that_are_asked_together_have_the_second_that_each_has_alone(
    tariff: Tariff, used: list[MeteredPeriod], uses: list[FlowingUse], more_minor: int
) -> None:
    tally, known = tally_of(tariff, used), forecast(Pricer(tariff))
    limit = known.total_minor(tally) + more_minor
    alone = [known.seconds_until(tally, limit, [use], most_s=FAR_S) for use in uses]
    assert known.seconds_until(tally, limit, uses, most_s=FAR_S) == [second for [second] in alone]


@pytest.mark.parametrize(
    ("prices", "limit", "seconds"),
    [
        pytest.param({"energy_per_kwh": "12"}, 12_00, 60, id="energy"),
        pytest.param({"energy_per_kwh": "12", "time_per_hour": "60"}, 13_00, 60, id="and-time"),
        pytest.param({"energy_per_kwh": "0", "time_per_hour": "60"}, 1_00, 60, id="free-energy"),
        pytest.param({"energy_per_kwh": {"price": "12", "step": 1000}}, 24_00, 61, id="step"),
        pytest.param({"flat": "5"}, 5_01, None, id="flat"),
    ],
)
def test_the_second_of_a_plain_tariff(
    prices: dict[str, object], limit: int, seconds: int | None
) -> None:
    pricer = Pricer(read_tariff({"name": "t", "elements": [{"prices": prices}]}))
    tally = pricer.advance(Tally(1_000_000), [MeteredPeriod(1_000_000, 0)])[0]
    uses: list[FlowingUse] = [(60_000, "charging")]
    assert forecast(pricer).seconds_until(tally, limit, uses, most_s=FAR_S) == [seconds]


def test_the_second_of_standing_is_after_its_grace() -> None:
    """10 minutes are free, then a minute costs 3 som, 30 at most."""
    document = {
        "name": "t", "elements": [{"prices": {"energy_per_kwh": "12", "parking_per_minute": "3"}}],
        "parking_grace_minutes": 10, "parking_maximum": "30",
    }  # fmt: skip
    pricer = Pricer(read_tariff(document))
    tally = pricer.advance(Tally(1_000_000), [MeteredPeriod(1_000_000, 60, 1_000_000)])[0]
    for limit, seconds in ((15_00, 660), (42_00, 1200), (42_01, None)):
        assert forecast(pricer).seconds_until(tally, limit, [(0, "parked")], most_s=FAR_S) == [
            seconds
        ]


@given(tariffs(), periods(), st.integers(0, 20_000), st.integers(0, 200_000_000), KINDS)
def test_a_period_is_added_as_the_price_function_does(
    tariff: Tariff, used: list[MeteredPeriod], duration_s: int, used_mwh: int, kind: UseKind
) -> None:
    pricer, tally = Pricer(tariff), tally_of(tariff, used)
    at_s = tally.started_s if tally.at_s is None else tally.at_s
    period = MeteredPeriod(at_s, duration_s, used_mwh, kind, 40_000)
    assert pricer.add(tally, period) == pricer.advance(tally, [period])[0]
