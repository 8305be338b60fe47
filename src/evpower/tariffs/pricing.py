"""The price of a charging session: one function for estimates, running costs and bills.

Exact integers from the meter to the last line; money is rounded once, half up, at the end. A
session is folded into a tally of what it used under each element of its tariff, so that a running
cost looks only at what is new.

Where a price changes inside a metered period, the period is cut there. Energy flows evenly within
it, and a cut stands on whole seconds and thousandths of a Wh, rounded down: the rest belongs to the
part after the cut, so nothing is lost or counted twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import prod
from operator import itemgetter
from typing import Final

from evpower.foundation.money import EXPONENTS
from evpower.tariffs.coverage import dearest_first
from evpower.tariffs.document import scale
from evpower.tariffs.fold import Fold
from evpower.tariffs.matching import DAY_S, Choice, Matcher
from evpower.tariffs.model import (
    DIMENSIONS,
    FLAT,
    MWH_PER_WH,
    PPM,
    Cost,
    CostPart,
    Dimension,
    MeteredPeriod,
    PriceComponent,
    PricedPeriod,
    PricedSession,
    RoundedGroup,
    Sample,
    Tally,
    Tariff,
    VolumeKey,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_S: Final = 3_600
# Before it is rounded, money is counted in 1 / (3600 * 10**12) of the currency's unit: that is a
# millionth's millionth (price times energy) as well as a millionth's 3600th (price times time).
UNIT: Final = _HOUR_S * 10**12
PER_MWH: Final = _HOUR_S  # times price_micro
PER_S: Final = 10**6
ONCE: Final = _HOUR_S * 10**6


def price(
    tariff: Tariff, started_at: datetime, samples: Sequence[Sample], *, is_foreseen: bool = False
) -> PricedSession:
    """Returns what a session costs, of which parts, and where its prices changed.

    `samples` in any order. `is_foreseen`: what is unknown of them may yet be measured, so the
    highest price that may apply counts, else the lowest. Raises ValueError for one that cannot be.
    """
    pricer = Pricer(tariff, dearest_first if is_foreseen else None)
    tally, periods = pricer.advance(begin(started_at), periods_of(started_at, samples))
    return PricedSession(pricer.cost(tally), tally, tuple(periods))


def begin(started_at: datetime) -> Tally:
    """Returns the tally of a session that has used nothing."""
    return Tally(started_s=_seconds(started_at))


def periods_of(started_at: datetime, samples: Iterable[Sample]) -> list[MeteredPeriod]:
    """Returns what happened between the samples, which may come in any order.

    The last one has the session's energy: no earlier one counts for more. A register never runs
    back. Times are whole seconds, rounded down. Raises ValueError for negative energy.
    """
    ordered = sorted(samples, key=itemgetter(0, 1))  # by time, then energy
    at_s, energy_wh = _seconds(started_at), 0
    total_wh = ordered[-1].energy_wh if ordered else 0
    periods: list[MeteredPeriod] = []
    for at, register_wh, power_w, current_ma, is_parked, is_timed in ordered:
        if register_wh < 0:
            raise ValueError("a sample has less energy than none")
        second = _seconds(at)
        end_s = second if second > at_s else at_s  # noqa: FURB136 - max() takes longer
        end_wh = register_wh if register_wh < total_wh else total_wh  # noqa: FURB136
        used_mwh = (end_wh - energy_wh) * MWH_PER_WH if end_wh > energy_wh else 0
        kind = "parked" if is_parked else "charging"
        periods.append(
            MeteredPeriod(at_s, end_s - at_s, used_mwh, kind, power_w, current_ma, is_timed)
        )
        at_s, energy_wh = end_s, energy_wh + used_mwh // MWH_PER_WH
    return periods


def next_period(tally: Tally, sample: Sample) -> MeteredPeriod:
    """Returns what happened between a running session's tally and its newest sample.

    A sample older than the tally takes no time, one with less energy uses none.
    """
    at_s = tally.started_s if tally.at_s is None else tally.at_s
    return MeteredPeriod(
        at_s,
        max(_seconds(sample.at) - at_s, 0),
        max(sample.energy_wh * MWH_PER_WH - tally.energy_mwh, 0),
        "parked" if sample.is_parked else "charging",
        sample.power_w,
        sample.current_ma,
        sample.is_timed,
    )


class Pricer:
    """The price function of one tariff, made ready. It keeps nothing of a session."""

    def __init__(self, tariff: Tariff, choose: Choice | None = None) -> None:
        """`choose`: of the elements that may apply to what is unknown; by default the cheapest."""
        self.tariff: Final = tariff
        self.matcher: Final = Matcher(tariff, choose)
        self.grace_s: Final = tariff.parking_grace_s if tariff.bills_parking else 0
        self.components: Final[dict[VolumeKey, PriceComponent]] = {
            (dimension, index): component
            for index, element in enumerate(tariff.elements)
            for dimension, component in element.prices
        }

    def advance(
        self, tally: Tally, periods: Iterable[MeteredPeriod]
    ) -> tuple[Tally, list[PricedPeriod]]:
        """Returns the tally after some more periods, and these with their prices, joined.

        Periods come in their order, gaps cost nothing. Raises ValueError for one that begins
        before the tally's end, or is negative.
        """
        fold = Fold(self.matcher, tally, self.tariff.bills_parking, self.grace_s)
        fold.use(periods)
        return fold.finish(), fold.priced

    def add(self, tally: Tally, period: MeteredPeriod) -> Tally:
        """Returns the tally after one more period, as `advance` does.

        A period of plain charging, at a price that holds until its end, takes few steps.
        """
        start_s, duration_s, used_mwh, kind, power_w, current_ma, is_timed = period
        matcher = self.matcher
        if (
            kind != "charging"
            or not tally.is_started
            or self.grace_s
            or matcher.power_edges
            or matcher.current_edges
            or tally.at_s is None
            or start_s < tally.at_s
            or duration_s < 0
            or used_mwh < 0
        ):
            return self.advance(tally, [period])[0]
        match = matcher.match(
            start_s, tally.started_s, tally.energy_mwh, power_w, current_ma, is_timed=is_timed
        )
        end_s, end_mwh = start_s + duration_s, tally.energy_mwh + used_mwh
        if match.until_s < end_s or match.until_mwh < end_mwh:
            return self.advance(tally, [period])[0]
        volumes, last = dict(tally.volumes), dict(tally.last)
        for key in match.elements:
            if key[0] == "energy" and used_mwh:
                volumes[key] = volumes.get(key, 0) + used_mwh
                last["energy"] = key
            elif key[0] == "time" and duration_s:
                volumes[key] = volumes.get(key, 0) + duration_s
                last["time"] = key
        return Tally(
            tally.started_s, end_s, end_mwh, tally.is_started, tally.parked_s, volumes, last
        )

    def cost(self, tally: Tally) -> Cost:
        """Returns what a tally costs: its parts, the discount, then the limits of the session."""
        tariff = self.tariff
        minor = UNIT * PPM * PPM // scale(EXPONENTS[tariff.currency])
        exact, rounded_minor = 0, 0
        discounted = parking = 0
        by_tax: dict[int, int] = {}  # what is billed, by tax rate
        parking_by_tax: dict[int, int] = {}  # the part of it that is for parking
        parts: list[CostPart] = []
        for line in self._lines(tally):
            with_tax = PPM if tariff.prices_include_tax else PPM + line.tax_ppm
            off_ppm = self._discount_ppm(line.key[0])
            billed = line.amount * (PPM - off_ppm)
            exact += line.amount * PPM * with_tax
            discounted += line.amount * off_ppm * with_tax
            by_tax[line.tax_ppm] = by_tax.get(line.tax_ppm, 0) + billed
            if line.key[0] == "parking":
                parking += billed * with_tax
                parking_by_tax[line.tax_ppm] = parking_by_tax.get(line.tax_ppm, 0) + billed
            # The total so far is rounded, not the line: the lines add up to the total.
            amount_minor = half_up(exact, minor) - rounded_minor
            rounded_minor += amount_minor
            parts.append(line.part(amount_minor))
        total_minor = half_up(exact - discounted, minor)
        if discounted:
            parts.append(CostPart("discount", total_minor - rounded_minor))
        most = tariff.parking_maximum
        if most is not None and parking > most.total_minor * minor:
            limited = exact - discounted - parking + most.total_minor * minor
            over_minor = total_minor - half_up(limited, minor)
            parts.append(CostPart("parking_maximum", -over_minor))
            total_minor -= over_minor
        before_tax_minor = self._before_tax(by_tax, parking_by_tax, minor)
        return _limited(tariff, tally, Cost(total_minor, before_tax_minor, tuple(parts)))

    def _before_tax(
        self, by_tax: Mapping[int, int], parking_by_tax: Mapping[int, int], minor: int
    ) -> int:
        # A sum of fractions with the denominators 1 + rate, on their product.
        common = prod(PPM + rate for rate in by_tax) if self.tariff.prices_include_tax else 1
        amount = self._untaxed(by_tax, common)
        if self.tariff.parking_maximum is not None:
            most = self.tariff.parking_maximum.before_tax_minor * minor * common
            amount -= max(self._untaxed(parking_by_tax, common) - most, 0)
        return half_up(amount, minor * common)

    def _untaxed(self, by_tax: Mapping[int, int], common: int) -> int:
        if not self.tariff.prices_include_tax:
            return sum(by_tax.values()) * PPM
        untaxed = sum(billed * PPM * (common // (PPM + rate)) for rate, billed in by_tax.items())
        return untaxed * PPM

    def _discount_ppm(self, dimension: Dimension) -> int:
        discount = self.tariff.discount
        return discount.rate_ppm if discount and dimension in discount.dimensions else 0

    def _lines(self, tally: Tally) -> Iterable["_Line"]:
        rounded_up = {key: self._surplus(group, tally) for group, key in tally.last.items()}
        ordered = sorted(tally.volumes, key=lambda key: (DIMENSIONS.index(key[0]), key[1]))
        for key in ordered:
            component = self.components[key]
            quantity = tally.volumes[key] + rounded_up.get(key, 0)
            yield _Line(key, component, quantity, self.tariff.tax_ppm(component))

    def _surplus(self, group: RoundedGroup, tally: Tally) -> int:
        """Returns what is billed beyond the use, at the last price, to reach a whole step."""
        last = tally.last[group]
        step = self.components[last].step * (MWH_PER_WH if group == "energy" else 1)
        used = sum(volume for key, volume in tally.volumes.items() if key[0] == last[0])
        return -used % step


@dataclass(frozen=True, slots=True)
class _Line:
    key: VolumeKey
    component: PriceComponent
    quantity: int
    tax_ppm: int

    @property
    def amount(self) -> int:
        """The exact amount in `UNIT`, as priced."""
        if self.key[0] in FLAT:
            return self.component.price_micro * ONCE
        per = PER_MWH if self.key[0] == "energy" else PER_S
        return self.component.price_micro * self.quantity * per

    def part(self, amount_minor: int) -> CostPart:
        dimension, index = self.key
        return CostPart(dimension, amount_minor, index, self.component.price_micro, self.quantity)


def _limited(tariff: Tariff, tally: Tally, cost: Cost) -> Cost:
    """Holds the cost of a session that began to the tariff's limits, before and after tax."""
    total_minor, before_tax_minor, parts = cost.total_minor, cost.before_tax_minor, cost.parts
    if tariff.minimum is not None and tally.is_started:
        missing_minor = tariff.minimum.total_minor - total_minor
        if missing_minor > 0:
            parts = (*parts, CostPart("minimum", missing_minor))
        total_minor = max(total_minor, tariff.minimum.total_minor)
        before_tax_minor = max(before_tax_minor, tariff.minimum.before_tax_minor)
    if tariff.maximum is not None:
        over_minor = total_minor - tariff.maximum.total_minor
        if over_minor > 0:
            parts = (*parts, CostPart("maximum", -over_minor))
        total_minor = min(total_minor, tariff.maximum.total_minor)
        before_tax_minor = min(before_tax_minor, tariff.maximum.before_tax_minor)
    return Cost(total_minor, before_tax_minor, parts)


def half_up(amount: int, unit: int) -> int:
    """Rounds an amount that is not negative to whole units, halves up."""
    return (2 * amount + unit) // (2 * unit)


def _seconds(at: datetime) -> int:
    since = at - _EPOCH
    return since.days * DAY_S + since.seconds
