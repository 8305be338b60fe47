"""The price function, case by case: rounding, taxes, discounts, limits, what is unknown."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evpower.tariffs import (
    Pricer,
    Sample,
    begin,
    next_period,
    price,
)
from evpower.tariffs.matching import Match, Matcher
from evpower.tariffs.model import MeteredPeriod, PricedPeriod
from evpower.tariffs.pricing import periods_of
from tests.tariffs.examples import START, after, cost, fold, kinds, tariff

START_S = int(START.timestamp())
DAY = {"from": "06:00", "to": "22:00"}


class TestRounding:
    @pytest.mark.parametrize(("wh", "minor"), [(0, 0), (1, 1), (4, 5), (37, 50), (1000, 1350)])
    def test_a_total_is_rounded_half_up_to_a_tyiyn(self, wh: int, minor: int) -> None:
        assert cost(tariff({"energy_per_kwh": "13.5"}), wh).total_minor == minor

    @pytest.mark.parametrize(("price_text", "minor"), [("0.0049", 0), ("0.005", 1), ("0.0149", 1)])
    def test_half_a_tyiyn_is_a_tyiyn(self, price_text: str, minor: int) -> None:
        assert cost(tariff({"energy_per_kwh": price_text}), 1000).total_minor == minor

    def test_parts_are_not_rounded_one_by_one(self) -> None:
        """Three thirds of a tyiyn are one, and the lines add up to it."""
        priced = tariff(
            {"energy_per_kwh": "0.0033", "if": {"below_kwh": 1}},
            {"energy_per_kwh": "0.0034", "if": {"below_kwh": 2}},
            {"energy_per_kwh": "0.0033"},
        )
        whole = cost(priced, 3000)
        assert whole.total_minor == 1
        assert [part.amount_minor for part in whole.parts] == [0, 1, 0]

    def test_prices_have_four_decimals(self) -> None:
        assert cost(tariff({"energy_per_kwh": 0.0001}), 1_000_000).total_minor == 10


class TestTaxes:
    def test_prices_include_tax_and_what_is_before_it_is_derived(self) -> None:
        priced = tariff({"energy_per_kwh": "14"}, taxes=[{"name": "VAT", "percent": "12"}])
        whole = cost(priced, 10_000)
        assert (whole.total_minor, whole.before_tax_minor) == (14_000, 12_500)

    def test_rates_of_one_price_add_up(self) -> None:
        taxes = [{"name": "VAT", "percent": "12"}, {"name": "sales", "percent": "2"}]
        net = tariff({"energy_per_kwh": "10"}, taxes=taxes, prices_include_tax=False)
        assert cost(net, 1000).total_minor == 1140
        gross = tariff({"energy_per_kwh": "11.4"}, taxes=taxes)
        assert cost(gross, 1000).before_tax_minor == 1000

    def test_a_price_may_have_taxes_of_its_own(self) -> None:
        free_of_tax: dict[str, Any] = {"price": "20", "taxes": []}
        priced = tariff(
            {"energy_per_kwh": "11.2", "flat": free_of_tax},
            taxes=[{"name": "VAT", "percent": "12"}],
        )
        whole = cost(priced, 1000)
        assert (whole.total_minor, whole.before_tax_minor) == (3120, 3000)

    def test_two_rates_are_summed_before_they_are_rounded(self) -> None:
        """0.445 + 0.05 / 1.1 is 0.49 (0.4905); rounded one by one it would be 0.50."""
        ten = {"price": "0.05", "taxes": [{"name": "VAT", "percent": "10"}]}
        priced = tariff({"energy_per_kwh": "0.445", "flat": ten})
        assert cost(priced, 1000).before_tax_minor == 49


class TestDiscount:
    def test_it_is_a_part_of_its_own_and_only_on_its_dimensions(self) -> None:
        priced = tariff(
            {"energy_per_kwh": "10", "flat": "5"}, discount={"percent": "25", "on": ["energy"]}
        )
        whole = cost(priced, 2000)
        assert (whole.total_minor, kinds(whole)) == (
            2000,
            {"flat": 500, "energy": 2000, "discount": -500},
        )

    def test_it_comes_before_the_limits(self) -> None:
        priced = tariff(
            {"energy_per_kwh": "10"}, discount={"percent": "50", "on": ["energy"]}, maximum="80"
        )
        assert cost(priced, 10_000).total_minor == 5_000
        assert kinds(cost(priced, 20_000)) == {
            "energy": 20_000,
            "discount": -10_000,
            "maximum": -2_000,
        }

    def test_the_tax_falls_with_it(self) -> None:
        priced = tariff(
            {"energy_per_kwh": "11.2"},
            taxes=[{"name": "VAT", "percent": "12"}],
            discount={"percent": "50", "on": ["energy"]},
        )
        assert cost(priced, 1000).before_tax_minor == 500


class TestLimits:
    def test_the_minimum_is_of_a_session_that_began(self) -> None:
        priced = tariff({"energy_per_kwh": "10"}, minimum="30")
        assert kinds(cost(priced, 1000)) == {"energy": 1000, "minimum": 2000}
        assert cost(priced, 1000).total_minor == 3000
        assert cost(priced, 0).total_minor == 3000
        assert Pricer(priced).cost(begin(START)).total_minor == 0

    @pytest.mark.parametrize(
        ("wh", "kind", "amount"), [(2999, "minimum", 1), (5001, "maximum", -1)]
    )
    def test_a_tyiyn_beyond_a_limit_is_a_part(self, wh: int, kind: str, amount: int) -> None:
        whole = cost(tariff({"energy_per_kwh": "10"}, minimum="30", maximum="50"), wh)
        assert kinds(whole)[kind] == amount
        assert sum(kinds(whole).values()) == whole.total_minor

    def test_a_limit_derives_its_other_side_by_the_taxes(self) -> None:
        taxes = [{"name": "VAT", "percent": "12"}]
        gross = tariff({"energy_per_kwh": "1"}, minimum="11.2", taxes=taxes)
        net = tariff({"energy_per_kwh": "1"}, minimum="10", taxes=taxes, prices_include_tax=False)
        for priced in (gross, net):
            whole = cost(priced, 0)
            assert (whole.before_tax_minor, whole.total_minor) == (1000, 1120)


class TestFlat:
    def test_it_is_that_of_the_start(self) -> None:
        priced = tariff({"flat": "5", "if": DAY}, {"flat": "9"})
        assert kinds(cost(priced, 1000, minutes=13 * 60)) == {"flat": 500}
        night = price(priced, after(-8 * 60), [Sample(after(0), 0)]).cost
        assert kinds(night) == {"flat": 900}

    def test_without_a_price_at_the_start_there_is_none_later(self) -> None:
        priced = tariff({"flat": "5", "if": {"from": "10:30", "to": "11:00"}})
        assert cost(priced, 1000, minutes=45).total_minor == 0

    def test_it_is_due_when_nothing_flowed(self) -> None:
        assert cost(tariff({"flat": "5"}), 0).total_minor == 500


class TestCuts:
    def test_a_period_is_cut_where_the_hour_changes_the_price(self) -> None:
        priced = tariff({"energy_per_kwh": "10", "if": {"from": "10:20", "to": "10:30"}}, {
            "energy_per_kwh": "16"
        })  # fmt: skip
        session = price(priced, START, [Sample(after(60), 6000)])
        assert session.cost.total_minor == 1000 + 5 * 1600
        assert [period.energy_mwh for period in session.periods] == [
            2_000_000,
            1_000_000,
            3_000_000,
        ]
        assert [period.elements for period in session.periods] == [
            (("energy", 1),), (("energy", 0),), (("energy", 1),),
        ]  # fmt: skip

    def test_the_rest_of_a_cut_belongs_to_what_comes_after(self) -> None:
        """7 Wh in 3 s, cut after 1 s: 2.333 Wh and 4.667 Wh."""
        priced = tariff(
            {"energy_per_kwh": "10", "if": {"below_elapsed_s": 1}}, {"energy_per_kwh": "20"}
        )
        tally = fold(priced, MeteredPeriod(START_S, 3, 7000))
        assert dict(tally.volumes) == {("energy", 0): 2333, ("energy", 1): 4667}

    def test_an_energy_edge_cuts_time_to_the_second_below(self) -> None:
        priced = tariff(
            {"time_per_hour": "60", "if": {"below_kwh": "0.001"}}, {"time_per_hour": "90"}
        )
        tally = fold(priced, MeteredPeriod(START_S, 10, 3000))
        assert dict(tally.volumes) == {("time", 0): 3, ("time", 1): 7}

    @pytest.mark.parametrize(("below_kwh", "parts"), [(2, (2, 0, 4)), (4, (3, 1, 2))])
    def test_an_hour_and_an_energy_in_one_period_cut_in_their_order(
        self, below_kwh: int, parts: tuple[int, ...]
    ) -> None:
        priced = tariff(
            {
                "energy_per_kwh": "10",
                "if": {"below_kwh": below_kwh, "to": "10:30", "from": "06:00"},
            },
            {"energy_per_kwh": "20", "if": {"below_kwh": below_kwh}},
            {"energy_per_kwh": "30"},
        )
        session = price(priced, START, [Sample(after(60), 6000)])
        used = [session.tally.volumes.get(("energy", index), 0) // 10**6 for index in range(3)]
        assert tuple(used) == parts

    def test_an_edge_that_was_reached_counts_though_no_more_energy_flows(self) -> None:
        priced = tariff({"time_per_hour": "60", "if": {"below_kwh": 2}}, {"time_per_hour": "90"})
        samples = [Sample(after(30), 1000), Sample(after(60), 2000), Sample(after(120), 2000)]
        assert price(priced, START, samples).cost.total_minor == 6000 + 9000

    def test_a_step_is_that_of_the_last_energy_though_time_goes_on(self) -> None:
        priced = tariff(
            {"energy_per_kwh": {"price": "10", "step": 500}, "if": {"below_elapsed_s": 600}},
            {"energy_per_kwh": "20"},
        )
        samples = [Sample(after(10), 300), Sample(after(20), 300)]
        session = price(priced, START, samples)
        assert session.cost.total_minor == 500
        assert [part.element for part in session.cost.parts] == [0]

    def test_the_edges_of_a_day_and_a_date(self) -> None:
        priced = tariff(
            {"energy_per_kwh": "1", "if": {"from_date": "2026-01-06", "to_date": "2026-01-07"}},
            {"energy_per_kwh": "2", "if": {"days": [3]}},
            {"energy_per_kwh": "3"},
        )
        session = price(priced, START, [Sample(after(60 * 24 * 3), 72_000)])
        assert [(p.elements[0][1], p.energy_mwh // 1_000_000) for p in session.periods] == [
            (2, 14), (0, 24), (1, 24), (2, 10),
        ]  # fmt: skip

    def test_gaps_cost_nothing_and_part_the_periods(self) -> None:
        priced = tariff({"energy_per_kwh": "10", "time_per_hour": "60"})
        tally, parts = Pricer(priced).advance(
            begin(START),
            [MeteredPeriod(START_S, 60, 1000), MeteredPeriod(START_S + 600, 60, 1000)],
        )
        assert Pricer(priced).cost(tally).total_minor == 202
        assert [(period.start_s - START_S, period.end_s - START_S) for period in parts] == [
            (0, 60), (600, 660),
        ]  # fmt: skip

    def test_periods_of_one_price_are_one(self) -> None:
        samples = [Sample(after(minute), 100 * minute) for minute in range(1, 50)]
        session = price(tariff({"energy_per_kwh": "10"}), START, samples)
        whole = PricedPeriod(START_S, START_S + 49 * 60, 4_900_000, "charging", (("energy", 0),))
        assert session.periods == (whole,)

    def test_a_pause_of_the_car_is_parking_and_energy_in_it_is_sold(self) -> None:
        priced = tariff({"energy_per_kwh": "10", "time_per_hour": "60", "parking_per_hour": "30"})
        samples = [Sample(after(60), 1000), Sample(after(120), 2000, is_parked=True)]
        assert kinds(price(priced, START, samples).cost) == {
            "energy": 2000, "time": 6000, "parking": 3000,
        }  # fmt: skip

    @pytest.mark.parametrize(("charging_s", "parked_minutes"), [(0, 10), (1, 0)])
    def test_only_charging_that_took_time_begins_the_grace_anew(
        self, charging_s: int, parked_minutes: int
    ) -> None:
        priced = tariff({"parking_per_minute": "1"}, parking_grace_minutes=10)
        tally = fold(
            priced,
            MeteredPeriod(START_S, 600, 0, "parked"),
            MeteredPeriod(START_S + 600, charging_s, 0),
            MeteredPeriod(START_S + 600 + charging_s, 600, 0, "parked"),
        )
        assert Pricer(priced).cost(tally).total_minor == parked_minutes * 100


class TestPower:
    BANDS = ({"energy_per_kwh": "10", "if": {"below_kw": 50}}, {"energy_per_kwh": "20"})

    @pytest.mark.parametrize(("wh", "minor"), [(49_999, 49_999), (50_000, 100_000)])
    def test_it_is_the_average_where_the_station_does_not_say(self, wh: int, minor: int) -> None:
        assert cost(tariff(*self.BANDS), wh, minutes=60).total_minor == minor

    def test_it_is_what_the_station_says(self) -> None:
        assert cost(tariff(*self.BANDS), 1000, minutes=60, power_w=50_000).total_minor == 2000

    def test_a_repeated_sample_parts_no_period(self) -> None:
        """It took no time, so its power is unknown: the cheaper band, of nothing."""
        samples = [Sample(after(30), 50_000), Sample(after(30), 50_000), Sample(after(60), 100_000)]
        assert len(price(tariff(*self.BANDS), START, samples).periods) == 1

    def test_current_counts_alike(self) -> None:
        bands = tariff({"energy_per_kwh": "10", "if": {"from_a": "32"}}, {"energy_per_kwh": "20"})
        assert cost(bands, 1000, current_ma=32_000).total_minor == 1000
        assert cost(bands, 1000, current_ma=31_999).total_minor == 2000


class TestUnknown:
    def test_at_an_unknown_time_the_lowest_price_counts(self) -> None:
        priced = tariff({"energy_per_kwh": "16", "if": DAY}, {"energy_per_kwh": "12"})
        assert cost(priced, 1000).total_minor == 1600
        assert cost(priced, 1000, is_timed=False).total_minor == 1200

    def test_only_prices_that_may_apply_count(self) -> None:
        """The second element can't be reached: the first applies at any time."""
        priced = tariff(
            {"energy_per_kwh": "9", "if": DAY | {"from_kwh": 100}},
            {"energy_per_kwh": "16"},
            {"energy_per_kwh": "1", "if": DAY},
        )
        assert cost(priced, 1000, is_timed=False).total_minor == 1600

    def test_energy_edges_still_cut(self) -> None:
        priced = tariff(
            {"energy_per_kwh": "16", "if": {"below_kwh": 1}},
            {"energy_per_kwh": "5", "if": DAY},
            {"energy_per_kwh": "7"},
        )
        assert cost(priced, 3000, is_timed=False).total_minor == 1600 + 2 * 500

    def test_elapsed_time_is_unknown_too(self) -> None:
        priced = tariff(
            {"energy_per_kwh": "16", "if": {"below_elapsed_s": 60}}, {"energy_per_kwh": "5"}
        )
        assert cost(priced, 1000, is_timed=False).total_minor == 500

    def test_power_that_was_not_measured_is_the_cheapest(self) -> None:
        priced = tariff({"energy_per_kwh": "20", "if": {"from_kw": 50}}, {"energy_per_kwh": "10"})
        assert cost(priced, 1000, minutes=0).total_minor == 1000


class TestSamples:
    def test_no_sample_counts_for_more_than_the_last(self) -> None:
        samples = [Sample(after(1), 1002), Sample(after(2), 1000)]
        session = price(tariff({"energy_per_kwh": "10"}), START, samples)
        assert (session.tally.energy_mwh, session.cost.total_minor) == (1_000_000, 1000)

    def test_a_register_does_not_run_back(self) -> None:
        samples = [Sample(after(1), 500), Sample(after(2), 400), Sample(after(3), 600)]
        assert [period.energy_mwh for period in periods_of(START, samples)] == [500_000, 0, 100_000]

    def test_a_sample_before_the_start_is_at_the_start(self) -> None:
        session = price(tariff({"time_per_hour": "60"}), START, [Sample(after(-5), 500)])
        assert (session.tally.at_s, session.cost.total_minor) == (START_S, 0)

    def test_seconds_are_whole_and_lose_nothing(self) -> None:
        samples = [Sample(START + timedelta(milliseconds=900 * n), 0) for n in range(1, 4001)]
        session = price(tariff({"time_per_hour": "36"}), START, samples)
        assert session.cost.total_minor == 3600

    def test_no_samples_cost_nothing(self) -> None:
        assert price(tariff({"flat": "5"}), START, []).cost.total_minor == 0

    @pytest.mark.parametrize(
        "period",
        [
            MeteredPeriod(START_S, -1),
            MeteredPeriod(START_S, 1, -1),
            MeteredPeriod(START_S - 1, 10),
        ],
    )
    def test_what_cannot_be_is_refused(self, period: MeteredPeriod) -> None:
        pricer = Pricer(tariff({"energy_per_kwh": "5"}))
        begun, _ = pricer.advance(begin(START), [MeteredPeriod(START_S, 0)])
        with pytest.raises(ValueError, match="cannot be"):
            pricer.advance(begun, [period])

    def test_negative_energy_is_refused(self) -> None:
        with pytest.raises(ValueError, match="less energy than none"):
            price(tariff({"flat": "5"}), START, [Sample(after(1), -1)])


class TestRunning:
    def test_the_newest_sample_is_all_that_is_looked_at(self) -> None:
        priced = tariff({"energy_per_kwh": "10", "if": DAY}, {"energy_per_kwh": "16"}, minimum="5")
        pricer = Pricer(priced)
        tally = begin(START)
        samples = [Sample(after(minute), 50 * minute) for minute in range(1, 1200, 7)]
        for sample in samples:
            tally, parts = pricer.advance(tally, [next_period(tally, sample)])
            assert len(parts) <= 2
        assert pricer.cost(tally) == price(priced, START, samples).cost

    def test_a_late_sample_takes_no_time_and_no_energy(self) -> None:
        pricer = Pricer(tariff({"energy_per_kwh": "10", "time_per_hour": "60"}))
        tally, _ = pricer.advance(begin(START), [next_period(begin(START), Sample(after(5), 900))])
        again, _ = pricer.advance(tally, [next_period(tally, Sample(after(4), 800))])
        assert again == tally

    def test_a_session_of_2000_samples_is_matched_only_where_prices_change(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Twenty elements, a power band that is crossed all the time."""
        hours: list[dict[str, Any]] = [
            {"energy_per_kwh": 10 + n, "if": {"from": f"{n:02}:00", "to": f"{n + 1:02}:00"}}
            for n in range(19)
        ]
        hours[7]["if"] |= {"below_kw": 30}
        priced = tariff(*hours, {"energy_per_kwh": "40"})
        matched: list[int] = []
        match = Matcher.match

        def counting(matcher: Matcher, at_s: int, *more: Any, **how: Any) -> Match:
            matched.append(at_s)
            return match(matcher, at_s, *more, **how)

        monkeypatch.setattr(Matcher, "match", counting)
        samples = [
            Sample(START + timedelta(seconds=10 * n), 80 * n, power_w=20_000 + n % 2 * 20_000)
            for n in range(1, 2001)
        ]
        session = price(priced, START, samples)
        assert session.tally.energy_mwh == 160_000_000
        assert len(matched) <= 2 * 8  # bands times hours


def test_reservations_are_priced_beside_the_session() -> None:
    priced = tariff({"reservation_flat": "2", "expiry_flat": "4", "reservation_per_hour": "6"})
    reserved = fold(priced, MeteredPeriod(START_S - 600, 600, 0, "reserved"))
    assert Pricer(priced).cost(reserved).total_minor == 300
    expired = fold(priced, MeteredPeriod(START_S - 600, 600, 0, "expired"))
    assert Pricer(priced).cost(expired).total_minor == 700


@pytest.mark.parametrize(
    ("zone", "began_at", "begins", "ends", "minutes"),
    [
        # 02:00 to 03:00 comes twice in October and not at all in March.
        ("Europe/Berlin", datetime(2026, 10, 24, 22, tzinfo=UTC), "02:00", "03:00", 120),
        ("Europe/Berlin", datetime(2026, 10, 24, 22, tzinfo=UTC), "02:30", "04:00", 120),
        ("Europe/Berlin", datetime(2026, 3, 28, 23, tzinfo=UTC), "02:00", "03:00", 0),
        ("Europe/Berlin", datetime(2026, 3, 28, 23, tzinfo=UTC), "01:30", "04:00", 90),
        ("Asia/Bishkek", datetime(2026, 3, 28, 18, tzinfo=UTC), "02:00", "03:00", 60),
    ],
)
def test_clocks_that_are_turned_make_hours_long_or_short(
    zone: str, began_at: datetime, begins: str, ends: str, minutes: int
) -> None:
    night = {"time_per_hour": "60", "if": {"from": begins, "to": ends}}
    session = price(
        tariff(night, time_zone=zone), began_at, [Sample(began_at + timedelta(hours=7), 0)]
    )
    assert session.cost.total_minor == minutes * 100
