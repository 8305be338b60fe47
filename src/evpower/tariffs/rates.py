"""Returns the prices that apply at a moment, to be shown; a bill is made by the price function."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from evpower.foundation.money import EXPONENTS
from evpower.tariffs.document import scale
from evpower.tariffs.matching import FOREVER, Matcher
from evpower.tariffs.model import PPM, Conditions, Dimension, Tariff

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


class RateCard:
    """The shown prices of one tariff."""

    def __init__(self, tariff: Tariff) -> None:
        self._tariff = tariff
        self._matcher = Matcher(tariff)
        self._prices = {
            (dimension, index): self._shown(index, dimension)
            for index, element in enumerate(tariff.elements)
            for dimension, _ in element.prices
        }
        is_constant = all(element.conditions == Conditions() for element in tariff.elements)
        self._constant = self._at(0, 0, 0) if is_constant else None

    def at(self, at: datetime, *, started_at: datetime | None = None, energy_wh: int = 0) -> Rates:
        """Returns the prices at a moment, of a session that began then or at `started_at`.

        Where a price depends on the power, which is unknown, the lowest one is shown, as billed.
        """
        if self._constant is not None:
            return self._constant
        at_s = int(at.timestamp())
        started_s = at_s if started_at is None else min(int(started_at.timestamp()), at_s)
        return self._at(at_s, started_s, energy_wh)

    def _at(self, at_s: int, started_s: int, energy_wh: int) -> Rates:
        match = self._matcher.match(at_s, started_s, energy_wh * 1000, None, None, is_timed=True)
        price = {dimension: self._prices[dimension, index] for dimension, index in match.elements}
        changes = match.until_s < FOREVER
        return self._rates(price, datetime.fromtimestamp(match.until_s, UTC) if changes else None)

    def of_element(self, index: int) -> Rates:
        """Returns the prices of one element, whether or not it applies now."""
        price = {
            dimension: self._prices[dimension, index]
            for dimension, _ in self._tariff.elements[index].prices
        }
        return self._rates(price, None)

    def _rates(self, price: Mapping[str, float], next_change_at: datetime | None) -> Rates:
        return Rates(
            per_kwh=price.get("energy", 0.0),
            per_minute=round(price.get("time", 0.0) / _MINUTES, _DECIMALS),
            parking_per_minute=round(price.get("parking", 0.0) / _MINUTES, _DECIMALS),
            session_fee=price.get("flat", 0.0),
            currency=self._tariff.currency,
            next_change_at=next_change_at,
        )

    def _shown(self, index: int, dimension: Dimension) -> float:
        if dimension == "parking" and not self._tariff.bills_parking:
            return 0.0
        component = dict(self._tariff.elements[index].prices)[dimension]
        tax_ppm = 0 if self._tariff.prices_include_tax else self._tariff.tax_ppm(component)
        discount = self._tariff.discount
        off_ppm = discount.rate_ppm if discount and dimension in discount.dimensions else 0
        exact = component.price_micro * (PPM + tax_ppm) * (PPM - off_ppm)
        return round(exact / (PPM * PPM * _MICRO), _DECIMALS)
