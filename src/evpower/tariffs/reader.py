"""Reads a tariff's JSON document into integers, collecting everything that is wrong in it.

Prices, energies and rates are decimal texts or JSON numbers; a number is read by its shortest
text, and what has more decimals than its unit allows is refused, never rounded.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from evpower.foundation.money import CURRENCY, EXPONENTS
from evpower.foundation.names import name_flaw, trim_name
from evpower.foundation.text import flaw
from evpower.foundation.time_zones import read_time_zone
from evpower.tariffs.document import (
    CURRENT,
    DATES,
    ELAPSED,
    ENERGY,
    LIMIT_NAMES,
    MICRO_DIGITS,
    MINUTE_PRICE_NAMES,
    POWER,
    PRICE_NAMES,
    RATE_DIGITS,
    RangeNames,
    scale,
    scaled,
)
from evpower.tariffs.errors import InvalidTariff
from evpower.tariffs.model import (
    FLAT,
    OPEN,
    PPM,
    Bounds,
    ClockBounds,
    Conditions,
    CostLimit,
    Dimension,
    Discount,
    Element,
    Flaw,
    PriceComponent,
    Tariff,
    Tax,
)

DEFAULT_TIME_ZONE: Final = "Asia/Bishkek"
MAX_ELEMENTS: Final = 100
_PRICES: Final = frozenset({*PRICE_NAMES.values(), *MINUTE_PRICE_NAMES.values()})
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY_S: Final = 86_400
_MINUTE_S: Final = 60
_MINUTES: Final = 60  # of an hour
_MAX_GRACE_MINUTES: Final = 24 * 60
_SUNDAY: Final = 7
_PRICE_DIGITS: Final = 4
_PRICE_UNIT: Final = scale(MICRO_DIGITS - _PRICE_DIGITS)
_MAX_PRICE_MICRO: Final = 10**12  # a million som
_MAX_NUMBER: Final = 10**12
_MAX_STEP: Final = 1_000_000
_MAX_TAXES: Final = 10
_MAX_NAME: Final = 200
_SHOWN: Final = 60
_FIELDS: Final = frozenset({
    "name", "owner", "currency", "time_zone", "prices_include_tax", "taxes", "elements",
    "parking_grace_minutes", *LIMIT_NAMES,
})  # fmt: skip
_FROZEN_FIELDS: Final = frozenset({"discount", "bills_parking"})
_CONDITIONS: Final = frozenset({
    "from", "to", "days", *DATES, *ELAPSED[:2], *ENERGY[:2], *POWER[:2], *CURRENT[:2],
})  # fmt: skip


def read_tariff(document: Mapping[str, Any], *, frozen: bool = False) -> Tariff:
    """Returns the tariff of a document. Raises InvalidTariff, which names every flaw.

    `frozen`: of a session's snapshot, which says more than a plan does.
    """
    reader = _Reader(frozen=frozen)
    tariff = reader.tariff(document)
    if reader.flaws:
        raise InvalidTariff(reader.flaws)
    return tariff


class _Reader:
    """Reads one document and collects what is wrong in it."""

    def __init__(self, *, frozen: bool = False) -> None:
        self.frozen = frozen
        self.flaws: list[Flaw] = []

    def refuse(self, code: str, where: str, detail: str) -> None:
        self.flaws.append(Flaw(code, where, detail))

    def tariff(self, raw: Mapping[str, Any]) -> Tariff:
        self.fields(raw, "", _FIELDS | _FROZEN_FIELDS if self.frozen else _FIELDS)
        currency = self.text(raw, "currency", CURRENCY, 3)
        if currency not in EXPONENTS:
            self.refuse("tariff_currency_unsupported", "currency", f"must be {CURRENCY}")
            currency = CURRENCY
        include_tax = raw.get("prices_include_tax", True)
        if not isinstance(include_tax, bool):
            self.refuse("tariff_field_invalid", "prices_include_tax", "must be true or false")
        tariff = Tariff(
            elements=self.elements(raw.get("elements")),
            currency=currency,
            time_zone=self.zone(raw),
            prices_include_tax=include_tax is True,
            taxes=self.taxes(raw.get("taxes", []), "taxes"),
            name=self.name(raw, "name"),
            owner=self.name(raw, "owner") if "owner" in raw else None,
        )
        minimum, maximum, parking_maximum = (self.limit(raw, name, tariff) for name in LIMIT_NAMES)
        if minimum and maximum and minimum.total_minor > maximum.total_minor:
            self.refuse("tariff_limits_contradict", "minimum", "is more than the maximum")
        return replace(
            tariff,
            minimum=minimum,
            maximum=maximum,
            parking_grace_s=self.grace_minutes(raw) * _MINUTE_S,
            parking_maximum=parking_maximum,
            discount=self.discount(raw["discount"]) if self.frozen and "discount" in raw else None,
            bills_parking=not self.frozen or raw.get("bills_parking", True) is True,
        )

    def grace_minutes(self, raw: Mapping[str, Any]) -> int:
        name = "parking_grace_minutes"
        minutes = raw.get(name, 0)
        if (
            isinstance(minutes, bool)
            or not isinstance(minutes, int)
            or not 0 <= minutes <= _MAX_GRACE_MINUTES
        ):
            self.refuse("tariff_field_invalid", name, "must be whole minutes, 1440 at most")
            return 0
        return minutes

    def fields(self, raw: Mapping[str, Any], where: str, known: frozenset[str] | set[str]) -> None:
        for name in raw:
            if name not in known:
                place = f"{where}.{name}" if where else name
                self.refuse("tariff_field_unknown", place[:100], "there is no such field")

    def text(self, raw: Mapping[str, Any], name: str, default: str | None, most: int) -> str:
        value = raw.get(name, default)
        if value is None:
            self.refuse("tariff_field_missing", name, "is missing")
            return ""
        wrong = flaw(value, most=most) if isinstance(value, str) else "must be a text"
        if wrong is not None or not value.strip():
            self.refuse("tariff_field_invalid", name, wrong or "is empty")
            return ""
        return value

    def name(self, raw: Mapping[str, Any], name: str) -> str:
        """Returns a name as people see it; of a snapshot as it was stored."""
        text = self.text(raw, name, None, _MAX_NAME)
        if self.frozen or not text:
            return text
        if wrong := name_flaw(text, most=_MAX_NAME):
            self.refuse("tariff_field_invalid", name, wrong)
        return trim_name(text)

    def zone(self, raw: Mapping[str, Any]) -> str:
        name = self.text(raw, "time_zone", DEFAULT_TIME_ZONE, 64)
        try:
            # A stored session goes on by the clocks it began with, however they are named.
            (ZoneInfo if self.frozen else read_time_zone)(name or DEFAULT_TIME_ZONE)
        except (ValueError, OSError, KeyError):
            self.refuse(
                "tariff_time_zone_unknown", "time_zone", f"this system has no {name[:64]!a}"
            )
        return name

    def taxes(self, raw: object, where: str) -> tuple[Tax, ...]:
        taxes: list[Tax] = []
        for place, item in self.items(raw, where, _MAX_TAXES):
            self.fields(item, place, {"name", "percent"})
            rate_ppm = scaled(item.get("percent"), RATE_DIGITS)
            if rate_ppm is None or rate_ppm > PPM:
                self.refuse("tariff_field_invalid", f"{place}.percent", "must be 0 to 100")
            name = item.get("name")
            if not isinstance(name, str) or not name.strip() or flaw(name, most=_MAX_NAME):
                self.refuse("tariff_field_invalid", f"{place}.name", "must be a text")
            elif not self.frozen and (wrong := name_flaw(name, most=_MAX_NAME)):
                self.refuse("tariff_field_invalid", f"{place}.name", wrong)
            taxes.append(Tax(str(name), rate_ppm or 0))
        return tuple(taxes)

    def items(self, raw: object, where: str, most: int) -> list[tuple[str, Mapping[str, Any]]]:
        if not isinstance(raw, list):
            self.refuse("tariff_field_invalid", where, "must be a list")
            return []
        values = cast("list[object]", raw)
        if len(values) > most:
            self.refuse("tariff_field_invalid", where, f"has more than {most} entries")
            return []
        places = [(f"{where}[{number}]", value) for number, value in enumerate(values, 1)]
        for place, value in places:
            if not isinstance(value, dict):
                self.refuse("tariff_field_invalid", place, "must be an object")
        return [
            (place, cast("Mapping[str, Any]", value))
            for place, value in places
            if isinstance(value, dict)
        ]

    def elements(self, raw: object) -> tuple[Element, ...]:
        if raw is None or raw == []:
            self.refuse("tariff_field_missing", "elements", "there is no price")
            return ()
        return tuple(
            self.element(item, place) for place, item in self.items(raw, "elements", MAX_ELEMENTS)
        )

    def element(self, raw: Mapping[str, Any], where: str) -> Element:
        self.fields(raw, where, {"prices", "if"})
        prices = self.members(raw.get("prices"), f"{where}.prices")
        if not prices:
            self.refuse("tariff_field_missing", f"{where}.prices", "there is no price")
        self.fields(prices, f"{where}.prices", _PRICES)
        components: list[tuple[Dimension, PriceComponent]] = []
        for dimension, name in PRICE_NAMES.items():
            place = f"{where}.prices.{name}"
            by_minute = MINUTE_PRICE_NAMES.get(dimension, "")
            if by_minute in prices:
                if name in prices:
                    self.refuse("tariff_field_invalid", place, f"is given by {by_minute} too")
                place = f"{where}.prices.{by_minute}"
                minute = self.component(prices[by_minute], dimension, place)
                hour = replace(minute, price_micro=minute.price_micro * _MINUTES)
                components.append((dimension, hour))
            elif name in prices:
                components.append((dimension, self.component(prices[name], dimension, place)))
        conditions = self.members(raw.get("if", {}), f"{where}.if")
        return Element(tuple(components), self.conditions(conditions, f"{where}.if"))

    def members(self, raw: object, where: str) -> Mapping[str, Any]:
        if not isinstance(raw, dict):
            self.refuse("tariff_field_invalid", where, "must be an object")
            return {}
        return cast("Mapping[str, Any]", raw)

    def component(self, raw: object, dimension: Dimension, where: str) -> PriceComponent:
        fields: Mapping[str, Any] = {"price": raw}
        if isinstance(raw, dict):
            fields = cast("Mapping[str, Any]", raw)
        known = {"price", "taxes"} if dimension in FLAT else {"price", "step", "taxes"}
        self.fields(fields, where, known)
        price = scaled(fields.get("price"), _PRICE_DIGITS)
        price_micro = (price or 0) * _PRICE_UNIT
        if price is None or price_micro > _MAX_PRICE_MICRO:
            detail = f"must be a price from 0 with at most {_PRICE_DIGITS} decimals"
            self.refuse("tariff_price_invalid", where, detail)
        step = fields.get("step", 1)
        if not isinstance(step, int) or isinstance(step, bool) or not 1 <= step <= _MAX_STEP:
            unit = "Wh" if dimension == "energy" else "seconds"
            self.refuse(
                "tariff_field_invalid", f"{where}.step", f"must be a whole number of {unit}"
            )
            step = 1
        taxes = self.taxes(fields["taxes"], f"{where}.taxes") if "taxes" in fields else None
        return PriceComponent(price_micro, step, taxes)

    def conditions(self, raw: Mapping[str, Any], where: str) -> Conditions:
        self.fields(raw, where, _CONDITIONS)
        return Conditions(
            clock=self.clock(raw, where),
            days=self.days(raw.get("days", []), f"{where}.days"),
            dates=self.bounds(raw, DATES, where, _date_ordinal),
            elapsed_s=self.range(raw, ELAPSED, where),
            energy_mwh=self.range(raw, ENERGY, where),
            power_w=self.range(raw, POWER, where),
            current_ma=self.range(raw, CURRENT, where),
        )

    def range(self, raw: Mapping[str, Any], names: RangeNames, where: str) -> Bounds:
        def read(value: object) -> int | None:
            number = scaled(value, names.digits)
            return None if number is None or number > _MAX_NUMBER else number

        return self.bounds(raw, (names.lower, names.upper), where, read)

    def bounds(
        self,
        raw: Mapping[str, Any],
        names: tuple[str, str],
        where: str,
        read: Callable[[object], int | None],
    ) -> Bounds:
        ends = [read(raw[name]) if name in raw else None for name in names]
        for name, end in zip(names, ends, strict=True):
            if name in raw and end is None:
                shown = f"{raw[name]!a}"[:_SHOWN]
                self.refuse("tariff_field_invalid", f"{where}.{name}", f"can't be {shown}")
        lower, upper = ends
        if upper is not None and upper <= (lower or 0):
            self.refuse("tariff_range_empty", f"{where}.{names[1]}", f"is not above {names[0]}")
        return Bounds(lower or None, upper) if lower or upper is not None else OPEN

    def clock(self, raw: Mapping[str, Any], where: str) -> ClockBounds | None:
        if "from" not in raw and "to" not in raw:
            return None
        seconds: list[int] = []
        for name in ("from", "to"):
            value = raw.get(name)
            matched = _CLOCK.fullmatch(value) if isinstance(value, str) else None
            if matched is None:
                detail = "must be HH:MM; from and to go together"
                self.refuse("tariff_time_invalid", f"{where}.{name}", detail)
                return None
            seconds.append(int(matched[1]) * 3600 + int(matched[2]) * 60)
        lower, upper = seconds[0], seconds[1] or _DAY_S
        if lower == upper:
            self.refuse("tariff_time_invalid", f"{where}.to", "is the same as from")
        return None if (lower, upper) == (0, _DAY_S) else ClockBounds(lower, upper)

    def days(self, raw: object, where: str) -> frozenset[int]:
        days = cast("list[object]", raw) if isinstance(raw, list) else [None]
        whole = [
            day
            for day in days
            if isinstance(day, int) and not isinstance(day, bool) and 1 <= day <= _SUNDAY
        ]
        if len(whole) != len(days) or len(set(whole)) != len(whole):
            self.refuse("tariff_field_invalid", where, "must be numbers from 1 (Monday) to 7, once")
        return frozenset(whole) if len(whole) < _SUNDAY else frozenset()

    def limit(self, raw: Mapping[str, Any], name: str, tariff: Tariff) -> CostLimit | None:
        if name not in raw:
            return None
        value, digits = raw[name], EXPONENTS[tariff.currency]
        if isinstance(value, dict):
            sides = cast("Mapping[str, Any]", value)
            self.fields(sides, name, {"before_tax", "total"})
            before, total = (scaled(sides.get(side), digits) for side in ("before_tax", "total"))
        else:
            before, total = _both_sides(scaled(value, digits), tariff)
        if before is None or total is None or not 0 <= before <= total <= _MAX_NUMBER:
            self.refuse(
                "tariff_price_invalid", name, f"must be an amount, {digits} decimals at most"
            )
            return None
        return CostLimit(before, total)

    def discount(self, raw: object) -> Discount | None:
        fields = self.members(raw, "discount")
        self.fields(fields, "discount", {"percent", "on"})
        rate_ppm = scaled(fields.get("percent"), RATE_DIGITS)
        listed = fields.get("on")
        dimensions = cast("list[object]", listed) if isinstance(listed, list) else []
        if rate_ppm is None or rate_ppm > PPM or not dimensions or {*dimensions} - {*PRICE_NAMES}:
            self.refuse("tariff_field_invalid", "discount", "must be a percent on dimensions")
            return None
        return Discount(rate_ppm, frozenset(cast("list[Dimension]", dimensions)))


def _both_sides(minor: int | None, tariff: Tariff) -> tuple[int | None, int | None]:
    """Returns an amount before and after the tariff's taxes; it is the side that prices are on."""
    if minor is None:
        return None, None
    rate_ppm = sum(tax.rate_ppm for tax in tariff.taxes)
    if tariff.prices_include_tax:
        whole = PPM + rate_ppm
        return (2 * minor * PPM + whole) // (2 * whole), minor
    return minor, (2 * minor * (PPM + rate_ppm) + PPM) // (2 * PPM)


def _date_ordinal(raw: object) -> int | None:
    if not isinstance(raw, str) or not _DATE.fullmatch(raw):
        return None
    try:
        return date.fromisoformat(raw).toordinal()
    except ValueError:
        return None
