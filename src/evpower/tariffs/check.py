"""Whether a tariff may be saved: errors refuse it, warnings name what is perhaps unintended."""

from collections.abc import Iterator
from typing import Final

from evpower.foundation.money import CURRENCY
from evpower.tariffs.coverage import Coverage, TooComplex, cover
from evpower.tariffs.document import PRICE_NAMES
from evpower.tariffs.errors import InvalidTariff
from evpower.tariffs.matching import candidates_of
from evpower.tariffs.model import FLAT, OPEN, Conditions, Dimension, Element, Flaw, Tariff

# What charging meters. Idle fees and reservations come with fields of their own.
_SOLD: Final[frozenset[Dimension]] = frozenset({"energy", "time", "flat"})
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
    return [*_unreachable(tariff, coverages), *_doubtful(tariff)]


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
            detail = "the night ends at midnight: the hours after it are of the next day"
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
        if dimension == "time" and 0 < price_micro < _LEAST_PER_HOUR:
            yield Flaw("tariff_time_is_per_hour", where, "is of an hour, not of a minute")


def _places(tariff: Tariff) -> Iterator[tuple[str, Element]]:
    for number, element in enumerate(tariff.elements, 1):
        yield f"elements[{number}]", element
