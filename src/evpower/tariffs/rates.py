"""Returns the prices that apply at a moment, to be shown; a bill is made by the price function."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product
from typing import Final

from evpower.foundation.money import EXPONENTS
from evpower.tariffs.coverage import possible
from evpower.tariffs.document import scale
from evpower.tariffs.matching import FOREVER, LocalTime, Matcher, Moment, candidates_of
from evpower.tariffs.model import (
    MWH_PER_WH,
    PPM,
    Conditions,
    Dimension,
    Tally,
    Tariff,
    VolumeKey,
)

_MICRO: Final = 1_000_000
_MINUTES: Final = 60  # of an hour
_DECIMALS: Final = 4


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices with tax and after the discount, in units of the currency (som)."""

    per_kwh: float
    per_minute: float  # while charging
    parking_per_minute: float  # plugged in while the car takes nothing
    session_fee: float
    currency: str
    next_change_at: datetime | None  # by the clock; None: not before the session changes


def frozen_terms(tariff: Tariff) -> dict[str, float | int]:
    """Returns what a session's tariff has beside its prices: discount in percent, parking's terms.

    `parking_grace_minutes` and `parking_maximum` (som) only where parking costs.
    """
    terms: dict[str, float | int] = {}
    if tariff.discount is not None:
        terms["discount_percent"] = tariff.discount.rate_ppm * 100 / PPM
    if tariff.prices_parking and tariff.bills_parking:
        terms["parking_grace_minutes"] = tariff.parking_grace_s // _MINUTES
        if tariff.parking_maximum is not None:
            digits = EXPONENTS[tariff.currency]
            terms["parking_maximum"] = tariff.parking_maximum.total_minor / scale(digits)
    return terms


def highest(prices: Iterable[Rates]) -> Rates | None:
    """Returns the highest of each price, whichever of them it is from; None: there are none.

    A driver who may pay one or the other is never shown less than what is billed.
    """
    listed = list(prices)
    if not listed:
        return None
    changes = [rates.next_change_at for rates in listed if rates.next_change_at is not None]
    return Rates(
        per_kwh=max(rates.per_kwh for rates in listed),
        per_minute=max(rates.per_minute for rates in listed),
        parking_per_minute=max(rates.parking_per_minute for rates in listed),
        session_fee=max(rates.session_fee for rates in listed),
        currency=listed[0].currency,
        next_change_at=min(changes, default=None),
    )


class RateCard:
    """The shown prices of one tariff. Where several may apply, the highest is shown."""

    def __init__(self, tariff: Tariff) -> None:
        self.tariff: Final = tariff
        self._matcher = Matcher(tariff)
        self._candidates = candidates_of(tariff)
        self._prices = {
            (dimension, index): self._shown(index, dimension)
            for index, element in enumerate(tariff.elements)
            for dimension, _ in element.prices
        }
        is_constant = all(element.conditions == Conditions() for element in tariff.elements)
        self._constant = self.highest() if is_constant else None
        self._by_local_time: dict[LocalTime, Rates] = {}  # of a timetable's times alone
        self._ahead: tuple[int, int, Rates] | None = None  # of times from the first to the second

    def at(
        self,
        at: datetime,
        *,
        started_at: datetime | None = None,
        energy_wh: int = 0,
        power_w: int | None = None,
        current_ma: int | None = None,
    ) -> Rates:
        """Returns the prices at a moment, of a session that began then or at `started_at`.

        Where a price depends on a power or current that is unknown, the highest one is shown.
        """
        if self._constant is not None:
            return self._constant
        at_s = int(at.timestamp())
        started_s = at_s if started_at is None else min(int(started_at.timestamp()), at_s)
        energy_mwh = energy_wh * MWH_PER_WH
        match = self._matcher.match(at_s, started_s, energy_mwh, power_w, current_ma, is_timed=True)
        local, _ = self._matcher.local_time(at_s)
        moment = Moment(local, at_s - started_s, energy_mwh, power_w, current_ma)
        return self._rates(self._highest(moment), match.until_s)

    def as_billed(
        self,
        at: datetime,
        *,
        tally: Tally,
        energy_wh: int = 0,
        power_w: int | None = None,
        current_ma: int | None = None,
    ) -> Rates:
        """Returns the prices at a moment of a session that goes on as it was billed last.

        `power_w`, `current_ma`: its newest, which are of no bill yet. Energy whose price they do
        not explain is shown at the price of the powers and currents that do, the highest of them.
        """
        started_at = datetime.fromtimestamp(tally.started_s, UTC)
        newest = (power_w, current_ma)
        rates = self.at(
            at, started_at=started_at, energy_wh=energy_wh, power_w=power_w, current_ma=current_ma
        )
        billed, at_s = tally.last.get("energy"), tally.at_s
        if self._constant is not None or billed is None or at_s is None:
            return rates
        # The last second and energy of what was billed: there a price may end.
        last_s, last_mwh = max(at_s - 1, tally.started_s), max(tally.energy_mwh - 1, 0)
        used = [newest]
        if self._energy_key(tally, last_s, last_mwh, newest) != billed:
            powers = (0, *self._matcher.power_edges)
            currents = (None, 0, *self._matcher.current_edges)
            used = [
                flow
                for flow in product(powers, currents)
                if self._energy_key(tally, last_s, last_mwh, flow) == billed
            ]
        now_s, energy_mwh = max(int(at.timestamp()), last_s), energy_wh * MWH_PER_WH
        keys = [self._energy_key(tally, now_s, energy_mwh, flow) for flow in used]
        prices = [self._prices[key] for key in keys if key is not None]
        return replace(rates, per_kwh=max(prices, default=rates.per_kwh))

    def billed_per_kwh(self, element: int) -> float:
        """Returns the price of energy that an element has."""
        return self._prices["energy", element]

    def _energy_key(
        self, tally: Tally, at_s: int, energy_mwh: int, flow: tuple[int | None, int | None]
    ) -> VolumeKey | None:
        """Returns what a bill prices energy by at a moment, with a power and a current."""
        match = self._matcher.match(at_s, tally.started_s, energy_mwh, *flow, is_timed=True)
        return next((key for key in match.elements if key[0] == "energy"), None)

    def ahead(self, at: datetime) -> Rates:
        """Returns the highest prices that any moment of a session may have, by the clock at `at`.

        Its time so far, energy, power and current are those with the highest price.
        """
        if self._constant is not None:
            return self._constant
        at_s = int(at.timestamp())
        if self._ahead is None or not self._ahead[0] <= at_s < self._ahead[1]:
            local, until_s = self._matcher.local_time(at_s)
            rates = self._rates(self._highest(Moment(local, None, None, None, None)), until_s)
            self._ahead = (at_s, until_s, rates)
        return self._ahead[2]

    def ahead_until(self, at: datetime, until: datetime) -> Rates:
        """Returns the highest prices that a session may have at any time until another."""
        rates = first = self.ahead(at)
        change_at = first.next_change_at
        while change_at is not None and change_at < until:
            later = self.ahead(change_at)
            rates = highest((rates, later)) or rates
            change_at = later.next_change_at
        return replace(rates, next_change_at=first.next_change_at)

    def by_local_time(self, local: LocalTime) -> Rates:
        """Returns the highest prices that a session may have at a local time."""
        rates = self._by_local_time.get(local)
        if rates is None:
            moment = Moment(local, None, None, None, None)
            rates = self._by_local_time[local] = self._rates(self._highest(moment), None)
        return rates

    def highest(self) -> Rates:
        """Returns the highest prices that a session may have at any time."""
        return self._rates(self._highest(Moment(None, None, None, None, None)), None)

    def _highest(self, moment: Moment) -> dict[Dimension, float]:
        return {
            dimension: max(self._prices[dimension, index] for index in indexes)
            for dimension, candidates in self._candidates.items()
            if (indexes := possible(candidates, moment))
        }

    def _rates(self, price: Mapping[Dimension, float], until_s: int | None) -> Rates:
        change_s = None if until_s is None or until_s >= FOREVER else until_s
        return Rates(
            per_kwh=price.get("energy", 0.0),
            per_minute=round(price.get("time", 0.0) / _MINUTES, _DECIMALS),
            parking_per_minute=round(price.get("parking", 0.0) / _MINUTES, _DECIMALS),
            session_fee=price.get("flat", 0.0),
            currency=self.tariff.currency,
            next_change_at=None if change_s is None else datetime.fromtimestamp(change_s, UTC),
        )

    def _shown(self, index: int, dimension: Dimension) -> float:
        if dimension == "parking" and not self.tariff.bills_parking:
            return 0.0
        component = dict(self.tariff.elements[index].prices)[dimension]
        tax_ppm = 0 if self.tariff.prices_include_tax else self.tariff.tax_ppm(component)
        discount = self.tariff.discount
        off_ppm = discount.rate_ppm if discount and dimension in discount.dimensions else 0
        exact = component.price_micro * (PPM + tax_ppm) * (PPM - off_ppm)
        return round(exact / (PPM * PPM * _MICRO), _DECIMALS)
