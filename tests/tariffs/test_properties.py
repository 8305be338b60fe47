"""What holds for every tariff and every session."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from evpower.tariffs import (
    Pricer,
    Sample,
    Snapshot,
    Tally,
    Tariff,
    price,
    read_snapshot,
    read_tally,
    read_tariff,
    write_snapshot,
    write_tally,
)
from evpower.tariffs.model import Cost, MeteredPeriod, PricedPeriod
from tests.tariffs.strategies import STARTS, documents, periods, samples, tariffs

Session = tuple[datetime, list[Sample]]


def priced(tariff: Tariff, used: list[MeteredPeriod]) -> tuple[Cost, list[PricedPeriod]]:
    pricer = Pricer(tariff)
    tally, parts = pricer.advance(Tally(used[0].start_s), used)
    return pricer.cost(tally), parts


def split(period: MeteredPeriod, parts: int) -> Iterator[MeteredPeriod]:
    """Equal parts, where the meter can show them."""
    if period.duration_s % parts or period.energy_mwh % parts:
        yield period
        return
    duration_s, energy_mwh = period.duration_s // parts, period.energy_mwh // parts
    for number in range(parts):
        start_s = period.start_s + number * duration_s
        yield period._replace(start_s=start_s, duration_s=duration_s, energy_mwh=energy_mwh)


@given(tariffs(), periods(), st.sampled_from((2, 4, 8, 60)))
def test_splitting_a_period_changes_nothing(
    tariff: Tariff, used: list[MeteredPeriod], parts: int
) -> None:
    in_parts = [part for period in used for part in split(period, parts)]
    assert priced(tariff, in_parts) == priced(tariff, used)


@given(tariffs(), periods())
def test_no_cost_is_negative_and_parts_add_up(tariff: Tariff, used: list[MeteredPeriod]) -> None:
    cost, _ = priced(tariff, used)
    assert 0 <= cost.before_tax_minor <= cost.total_minor
    assert sum(part.amount_minor for part in cost.parts) == cost.total_minor
    for part in cost.parts:
        assert part.amount_minor >= 0 or part.kind in {"discount", "parking_maximum", "maximum"}


@given(tariffs(step=1), periods())
def test_parking_never_costs_more_than_its_maximum(
    tariff: Tariff, used: list[MeteredPeriod]
) -> None:
    most = tariff.parking_maximum
    without_limits = replace(tariff, minimum=None, maximum=None)
    cost, _ = priced(without_limits, used)
    free, _ = priced(replace(without_limits, bills_parking=False), used)
    parking_minor = cost.total_minor - free.total_minor
    assert parking_minor >= 0
    if most is not None:
        assert parking_minor <= most.total_minor + 1  # each total is rounded by itself
        assert cost.before_tax_minor - free.before_tax_minor <= most.before_tax_minor + 1


@given(tariffs(), periods())
def test_a_discount_takes_off_its_part_and_no_more(
    tariff: Tariff, used: list[MeteredPeriod]
) -> None:
    plain = replace(tariff, discount=None, minimum=None, maximum=None, parking_maximum=None)
    cost, _ = priced(replace(plain, discount=tariff.discount), used)
    whole, _ = priced(plain, used)
    rate_ppm = 0 if tariff.discount is None else tariff.discount.rate_ppm
    on = frozenset[str]() if tariff.discount is None else tariff.discount.dimensions
    discounted = sum(part.amount_minor for part in whole.parts if part.kind in on)
    most = Fraction(discounted * rate_ppm, 10**6) + len(whole.parts) + 1  # each is rounded
    assert 0 <= whole.total_minor - cost.total_minor <= most


@given(tariffs(step=1), periods(), st.integers(0, 5000))
def test_a_longer_stay_never_costs_less(
    tariff: Tariff, used: list[MeteredPeriod], longer_s: int
) -> None:
    last = used[-1]
    stays = MeteredPeriod(last.start_s + last.duration_s, longer_s, 0, "parked")
    before, after = priced(tariff, used)[0], priced(tariff, [*used, stays])[0]
    assert after.total_minor >= before.total_minor


@given(tariffs(step=1), periods())
def test_a_grace_makes_nothing_dearer(tariff: Tariff, used: list[MeteredPeriod]) -> None:
    strict = replace(tariff, parking_grace_s=0)
    assert priced(tariff, used)[0].total_minor <= priced(strict, used)[0].total_minor


@given(tariffs(), samples(), st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(
    tariff: Tariff, session: Session, shuffler: random.Random
) -> None:
    start, measured = session
    shuffled = list(measured)
    shuffler.shuffle(shuffled)
    assert price(tariff, start, shuffled) == price(tariff, start, measured)


@given(tariffs(step=1, energy=False), periods(power=False), st.data())
def test_more_energy_never_costs_less(
    tariff: Tariff, used: list[MeteredPeriod], data: st.DataObject
) -> None:
    """Where prices depend on neither energy nor the power that it makes."""
    which = data.draw(st.integers(0, len(used) - 1))
    more_mwh = used[which].energy_mwh + data.draw(st.integers(1, 5_000_000))
    more = [*used[:which], used[which]._replace(energy_mwh=more_mwh), *used[which + 1 :]]
    assert priced(tariff, more)[0].total_minor >= priced(tariff, used)[0].total_minor


@given(tariffs(), periods())
def test_a_running_cost_ends_as_the_bill(tariff: Tariff, used: list[MeteredPeriod]) -> None:
    pricer = Pricer(tariff)
    tally = Tally(used[0].start_s)
    for period in used:
        stored = json.loads(json.dumps(write_tally(tally)))
        tally, _ = Pricer(tariff).advance(read_tally(stored), [period])
    assert pricer.cost(tally) == priced(tariff, used)[0]


@given(tariffs(), periods())
def test_priced_periods_hold_all_that_was_used(tariff: Tariff, used: list[MeteredPeriod]) -> None:
    _, parts = priced(tariff, used)
    assert sum(period.energy_mwh for period in parts) == sum(period.energy_mwh for period in used)
    lasted = sum(period.end_s - period.start_s for period in parts)
    assert lasted == sum(period.duration_s for period in used)


@given(tariffs(), samples())
def test_a_stored_snapshot_prices_the_same(tariff: Tariff, session: Session) -> None:
    start, measured = session
    stored = json.loads(json.dumps(write_snapshot(Snapshot("drawn", 3, tariff))))
    again = read_snapshot(stored)
    assert again == Snapshot("drawn", 3, tariff)
    assert price(again.tariff, start, measured) == price(tariff, start, measured)


def holds(conditions: dict[str, Any], local: datetime, elapsed_s: int, kwh: Fraction) -> bool:
    """The conditions of a document as a reader of docs/tariffs.md takes them."""
    at = f"{local:%H:%M}"
    if "from" in conditions:
        begins, ends = conditions["from"], conditions["to"]
        if begins < ends or ends == "00:00":
            if not begins <= at < (ends if ends != "00:00" else "24:00"):
                return False
        elif ends <= at < begins:
            return False
    for name, value in (("elapsed_s", elapsed_s), ("kwh", kwh)):
        if not conditions.get(f"from_{name}", 0) <= value < conditions.get(f"below_{name}", 10**9):
            return False
    is_day = local.isoweekday() in conditions.get("days", range(1, 8))
    return is_day and local.date().isoformat() >= conditions.get("from_date", "")


@given(
    documents(step=1, power=False),
    st.sampled_from(STARTS),
    st.integers(1, 2500),
    st.sampled_from((0, 1_000, 8_000, 20_000)),  # a whole kWh takes whole seconds
)
def test_the_price_is_that_of_each_second_alone(
    document: dict[str, Any], at: datetime, duration_s: int, mwh_per_s: int
) -> None:
    """Against another reading: second by second, by the wall clock of the zone."""
    for name in ("minimum", "maximum", "discount", "parking_maximum", "bills_parking"):
        document.pop(name, None)
    document["prices_include_tax"] = True
    zone = ZoneInfo(document["time_zone"])
    total = Fraction(0)
    for second in range(duration_s):
        local = (at + timedelta(seconds=second)).astimezone(zone)
        kwh = Fraction(second * mwh_per_s, 10**6)
        for name, amount in (
            ("energy_per_kwh", Fraction(mwh_per_s, 10**6)),
            ("time_per_hour", Fraction(1, 3600)),
            ("flat", Fraction(second == 0)),
        ):
            for element in document["elements"]:
                if name in element["prices"] and holds(element["if"], local, second, kwh):
                    total += Fraction(element["prices"][name]) * amount
                    break
    used = MeteredPeriod(int(at.timestamp()), duration_s, duration_s * mwh_per_s)
    cost, _ = priced(read_tariff(document), [used])
    assert cost.total_minor == (total * 100 + Fraction(1, 2)).__floor__()
