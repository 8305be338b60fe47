"""A tariff as a JSON document: the names of its fields, and the one form it is written in."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from evpower.foundation.money import EXPONENTS
from evpower.tariffs.model import (
    FLAT,
    Bounds,
    Conditions,
    Dimension,
    Element,
    Tariff,
    Tax,
)

MICRO_DIGITS: Final = 6
RATE_DIGITS: Final = 4  # of a percentage: millionths of the whole
PRICE_NAMES: Final[Mapping[Dimension, str]] = {
    "energy": "energy_per_kwh", "time": "time_per_hour", "parking": "parking_per_hour",
    "flat": "flat", "reservation": "reservation_per_hour", "reservation_flat": "reservation_flat",
    "expiry": "expiry_per_hour", "expiry_flat": "expiry_flat",
}  # fmt: skip
# What a price may be written as instead; it is stored by the hour.
MINUTE_PRICE_NAMES: Final[Mapping[Dimension, str]] = {
    "time": "time_per_minute", "parking": "parking_per_minute",
}  # fmt: skip
LIMIT_NAMES: Final = ("minimum", "maximum", "parking_maximum")
_DAY_S: Final = 86_400
_MINUTE_S: Final = 60
_KILO_DIGITS: Final = 3


class RangeNames(NamedTuple):
    """The ends of a range in a document, and how many decimals make our unit of it."""

    lower: str
    upper: str
    digits: int


ELAPSED: Final = RangeNames("from_elapsed_s", "below_elapsed_s", 0)
ENERGY: Final = RangeNames("from_kwh", "below_kwh", MICRO_DIGITS)
POWER: Final = RangeNames("from_kw", "below_kw", _KILO_DIGITS)
CURRENT: Final = RangeNames("from_a", "below_a", _KILO_DIGITS)
DATES: Final = ("from_date", "to_date")


def write_tariff(tariff: Tariff, *, frozen: bool = False) -> dict[str, Any]:
    """Returns the document of a tariff: equal tariffs have equal documents."""
    document: dict[str, Any] = {
        "name": tariff.name,
        "currency": tariff.currency,
        "time_zone": tariff.time_zone,
        "prices_include_tax": tariff.prices_include_tax,
        "taxes": _written_taxes(tariff.taxes),
        "elements": [_written_element(element) for element in tariff.elements],
    }
    if tariff.owner is not None:
        document["owner"] = tariff.owner
    digits = EXPONENTS[tariff.currency]
    if tariff.parking_grace_s:
        document["parking_grace_minutes"] = tariff.parking_grace_s // _MINUTE_S
    limits = (tariff.minimum, tariff.maximum, tariff.parking_maximum)
    for name, limit in zip(LIMIT_NAMES, limits, strict=True):
        if limit is not None:
            document[name] = {
                "before_tax": decimal_text(limit.before_tax_minor, digits),
                "total": decimal_text(limit.total_minor, digits),
            }
    if frozen and tariff.discount is not None:
        document["discount"] = {
            "percent": decimal_text(tariff.discount.rate_ppm, RATE_DIGITS),
            "on": sorted(tariff.discount.dimensions),
        }
    if frozen and not tariff.bills_parking:
        document["bills_parking"] = False
    return document


def scale(digits: int) -> int:
    """Returns how many units of a number's last decimal make a whole."""
    return 10**digits


def decimal_text(value: int, digits: int) -> str:
    """Returns an integer of small units as a decimal number: (13500000, 6) is "13.5"."""
    sign, value = ("-", -value) if value < 0 else ("", value)
    whole, rest = divmod(value, scale(digits))
    fraction = f"{rest:0{digits}}".rstrip("0") if digits else ""
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def scaled(raw: object, digits: int) -> int | None:
    """Returns a decimal text or JSON number as an integer of small units; None: it is none.

    None too for a sign, an exponent, or more than `digits` decimals.
    """
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        return None
    text = raw if isinstance(raw, str) else repr(raw)
    matched = re.fullmatch(r"([0-9]{1,15})(?:\.([0-9]{1,15}))?", text)
    if matched is None:
        return None
    whole, fraction = matched[1], (matched[2] or "").rstrip("0")
    return int(whole + fraction.ljust(digits, "0")) if len(fraction) <= digits else None


def _written_taxes(taxes: Sequence[Tax]) -> list[dict[str, str]]:
    return [{"name": tax.name, "percent": decimal_text(tax.rate_ppm, RATE_DIGITS)} for tax in taxes]


def _written_element(element: Element) -> dict[str, Any]:
    prices: dict[str, Any] = {}
    for dimension, component in element.prices:
        written: dict[str, Any] = {"price": decimal_text(component.price_micro, MICRO_DIGITS)}
        if dimension not in FLAT:
            written["step"] = component.step
        if component.taxes is not None:
            written["taxes"] = _written_taxes(component.taxes)
        prices[PRICE_NAMES[dimension]] = written
    conditions = _written_conditions(element.conditions)
    return {"prices": prices} | ({"if": conditions} if conditions else {})


def _written_conditions(conditions: Conditions) -> dict[str, Any]:
    written: dict[str, Any] = {}
    if conditions.clock is not None:
        names = ("from", "to")
        for name, second in zip(names, conditions.clock, strict=True):
            minute = second % _DAY_S // 60
            written[name] = f"{minute // 60:02}:{minute % 60:02}"
    if conditions.days:
        written["days"] = sorted(conditions.days)
    for name, ordinal in zip(DATES, conditions.dates, strict=True):
        if ordinal is not None:
            written[name] = date.fromordinal(ordinal).isoformat()
    return written | (
        _written_range(ELAPSED, conditions.elapsed_s)
        | _written_range(ENERGY, conditions.energy_mwh)
        | _written_range(POWER, conditions.power_w)
        | _written_range(CURRENT, conditions.current_ma)
    )


def _written_range(names: RangeNames, bounds: Bounds) -> dict[str, Any]:
    return {
        name: decimal_text(value, names.digits) if names.digits else value
        for name, value in ((names.lower, bounds.lower), (names.upper, bounds.upper))
        if value is not None
    }
