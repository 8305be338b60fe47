"""Whether a tariff may be saved: errors refuse it, warnings name what is perhaps unintended."""

from collections.abc import Iterator
from typing import Final

from evpower.foundation.money import CURRENCY
from evpower.tariffs.coverage import DAYS, Coverage, TooComplex, clock_text, cover
from evpower.tariffs.document import PRICE_NAMES
from evpower.tariffs.errors import InvalidTariff
from evpower.tariffs.matching import candidates_of
from evpower.tariffs.model import (
    FLAT,
    OPEN,
    ClockBounds,
    Conditions,
    Dimension,
    Element,
    Flaw,
    Tariff,
)

# What charging meters; reservations it does not.
_SOLD: Final[frozenset[Dimension]] = frozenset({"energy", "time", "parking", "flat"})
_SOM_MICRO: Final = 1_000_000
_LEAST_PER_KWH: Final = 1 * _SOM_MICRO
_MOST_PER_KWH: Final = 100 * _SOM_MICRO
_LEAST_PER_HOUR: Final = 20 * _SOM_MICRO


def check(tariff: Tariff) -> list[Flaw]:
    """Returns the warnings of a tariff that may be saved. Raises InvalidTariff."""
    errors = [*_unsupported(tariff)]
    coverages: dict[Dimension, Coverage] = {}
    for dimension, candidates in candidates_of(tariff).items():
        try:
            coverages[dimension] = cover(candidates)
        except TooComplex:
            name = PRICE_NAMES[dimension]
            errors.append(Flaw("tariff_too_complex", name, "has too many conditions to check"))
    errors += [
        Flaw("tariff_hole", PRICE_NAMES[dimension], f"has no price for {coverage.hole}")
        for dimension, coverage in coverages.items()
        if coverage.hole is not None
    ]
    if errors:
        raise InvalidTariff(errors)
    return [*_unreachable(tariff, coverages), *_doubtful(tariff), *_doubtful_parking(tariff)]


def _unsupported(tariff: Tariff) -> Iterator[Flaw]:
    if tariff.currency != CURRENCY:
        detail = f"wallets are in {CURRENCY}"
        yield Flaw("tariff_currency_unsupported", "currency", detail)
    for where, element in _places(tariff):
        for dimension, _ in element.prices:
            place = f"{where}.prices.{PRICE_NAMES[dimension]}"
            if dimension not in _SOLD:
                yield Flaw("tariff_dimension_unsupported", place, "is not billed by this version")
            elif dimension in FLAT and not _known_at_start(element.conditions):
                detail = "is charged at the start: only time of day, days and dates can count"
                yield Flaw("tariff_flat_condition", place, detail)


def _known_at_start(conditions: Conditions) -> bool:
    later = (
        conditions.elapsed_s, conditions.energy_mwh, conditions.power_w, conditions.current_ma,
    )  # fmt: skip
    return all(bounds == OPEN for bounds in later)


def _unreachable(tariff: Tariff, coverages: dict[Dimension, Coverage]) -> Iterator[Flaw]:
    for number, (where, element) in enumerate(_places(tariff)):
        for dimension, _ in element.prices:
            if number not in coverages[dimension].reached:
                place = f"{where}.prices.{PRICE_NAMES[dimension]}"
                detail = "never applies: elements before it match at all its moments"
                yield Flaw("tariff_element_unreachable", place, detail)


def _doubtful(tariff: Tariff) -> Iterator[Flaw]:
    prices = [
        (f"{where}.prices.{PRICE_NAMES[dimension]}", dimension, component)
        for where, element in _places(tariff)
        for dimension, component in element.prices
    ]
    per_kwh = [component.price_micro for _, dimension, component in prices if dimension == "energy"]
    if not any(per_kwh):
        yield Flaw("tariff_energy_free", "elements", "energy costs nothing")
    for where, element in _places(tariff):
        clock = element.conditions.clock
        if element.conditions.days and clock is not None and clock.upper < clock.lower:
            detail = _night_detail(element.conditions, clock)
            yield Flaw("tariff_night_ends_at_midnight", f"{where}.if", detail)
    for where, dimension, component in prices:
        if component.step > 1:
            detail = f"use is rounded up to {component.step}, at the last price"
            yield Flaw("tariff_step_rounds_up", where, detail)
        price_micro = component.price_micro
        if dimension == "energy" and price_micro > _MOST_PER_KWH:
            yield Flaw("tariff_price_unusual", where, "is high for a kWh")
        if dimension == "energy" and 0 < price_micro < _LEAST_PER_KWH:
            yield Flaw("tariff_price_unusual", where, "is low for a kWh")
        if dimension in {"time", "parking"} and 0 < price_micro < _LEAST_PER_HOUR:
            yield Flaw("tariff_time_is_per_hour", where, "is of an hour, not of a minute")


def _night_detail(conditions: Conditions, clock: ClockBounds) -> str:
    """Returns which hours a night with weekdays has, and which it lacks."""
    last = next(day for day in sorted(conditions.days) if day % 7 + 1 not in conditions.days)
    day, after = DAYS[last - 1], DAYS[last % 7]
    begins, ends = clock_text(clock.lower), clock_text(clock.upper)
    return (
        f"{day} {begins} to {ends} ends at midnight: {after} 00:00 to {ends} is not in it, write"
        f" that as an element of its own; {day} 00:00 to {ends} is"
    )


def _doubtful_parking(tariff: Tariff) -> Iterator[Flaw]:
    """Yields what may surprise a driver whose car is done, or an operator who waits for money."""
    is_priced = tariff.prices_parking
    if is_priced and not tariff.parking_grace_s:
        detail = "without it parking costs from the second in which the car is done"
        yield Flaw("tariff_parking_at_once", "parking_grace_minutes", detail)
    if is_priced and tariff.parking_maximum is None:
        detail = "without it a car that stands for days pays for days"
        yield Flaw("tariff_parking_unlimited", "parking_maximum", detail)
    if not is_priced and (tariff.parking_grace_s or tariff.parking_maximum):
        detail = "there is no price of parking that it could be of"
        yield Flaw("tariff_parking_free", "elements", detail)


def _places(tariff: Tariff) -> Iterator[tuple[str, Element]]:
    for number, element in enumerate(tariff.elements, 1):
        yield f"elements[{number}]", element
