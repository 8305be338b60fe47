"""Prices an example by a tariff: what a session of so much energy and time would cost."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from evpower.foundation.clock import read_time, to_z
from evpower.foundation.errors import Invalid
from evpower.foundation.money import to_text
from evpower.tariffs.document import MICRO_DIGITS, decimal_text, scaled
from evpower.tariffs.model import (
    FLAT,
    Cost,
    CostPart,
    PricedPeriod,
    PricedSession,
    Sample,
    Tariff,
)
from evpower.tariffs.pricing import price

_MAX_SAMPLES: Final = 100_000
_MAX_WH: Final = 1_000_000
_MAX_MINUTES: Final = 7 * 24 * 60
_WH_DIGITS: Final = 3  # of kWh
_FIELDS: Final = frozenset({"at", "energy_kwh", "power_kw", "current_a", "parked"})


def quote_even(
    tariff: Tariff,
    *,
    started_at: datetime,
    energy_wh: int,
    minutes: int,
    parked_minutes: int = 0,
) -> PricedSession:
    """Prices a session whose energy flows evenly, and whose car then stays.

    Raises Invalid("tariff_example_invalid").
    """
    lasts = minutes + parked_minutes
    if not 0 <= energy_wh <= _MAX_WH or not 0 <= minutes <= lasts <= _MAX_MINUTES:
        raise Invalid("tariff_example_invalid", "at most 1000 kWh and 7 days")
    samples = [Sample(started_at + timedelta(minutes=minutes), energy_wh)]
    if parked_minutes:
        samples.append(Sample(started_at + timedelta(minutes=lasts), energy_wh, is_parked=True))
    return price(tariff, started_at, samples)


def quote_samples(tariff: Tariff, *, started_at: datetime, raw: object) -> PricedSession:
    """Prices a list of samples in JSON. Raises Invalid("tariff_example_invalid")."""
    if not isinstance(raw, list) or not 1 <= len(cast("list[object]", raw)) <= _MAX_SAMPLES:
        raise Invalid("tariff_example_invalid", f"a list of 1 to {_MAX_SAMPLES} samples is needed")
    zone = ZoneInfo(tariff.time_zone)
    samples = [
        _sample(item, f"samples[{number}]", zone)
        for number, item in enumerate(cast("list[object]", raw), 1)
    ]
    return price(tariff, started_at, samples)


def read_energy_wh(text: str) -> int:
    """Returns kWh as text in Wh. Raises Invalid("tariff_example_invalid")."""
    energy_wh = scaled(text, _WH_DIGITS)
    if energy_wh is None:
        raise Invalid("tariff_example_invalid", f"{text!a:.40} is no energy: kWh, 3 decimals")
    return energy_wh


def local_time(tariff: Tariff, text: str) -> datetime:
    """Returns a time in UTC; one without a zone is of the tariff's.

    Raises Invalid("tariff_example_invalid").
    """
    return _time(text, "the time", ZoneInfo(tariff.time_zone))


def cost_document(tariff: Tariff, session: PricedSession) -> dict[str, Any]:
    """Returns a cost as JSON: amounts in som, energy in kWh, times in UTC."""
    cost = session.cost
    return {
        "total": to_text(cost.total_minor, tariff.currency),
        "before_tax": to_text(cost.before_tax_minor, tariff.currency),
        "currency": tariff.currency,
        "energy_kwh": decimal_text(session.tally.energy_mwh, MICRO_DIGITS),
        "parts": [_part(tariff, part) for part in cost.parts],
        "periods": [_period(period) for period in session.periods],
    }


def cost_parts(tariff: Tariff, cost: Cost) -> list[dict[str, Any]]:
    """Returns the lines of a bill as JSON with numbers: som, kWh, seconds.

    `price` is that of a kWh, of an hour, or once.
    """
    numbers = ("amount", "price", "energy_kwh")
    return [
        {name: float(value) if name in numbers else value for name, value in row.items()}
        for row in (_part(tariff, part) for part in cost.parts)
    ]


def _part(tariff: Tariff, part: CostPart) -> dict[str, Any]:
    amount = {"kind": part.kind, "amount": to_text(part.amount_minor, tariff.currency)}
    if part.element is None or part.price_micro is None or part.quantity is None:
        return amount
    row = amount | {
        "element": part.element + 1,
        "price": decimal_text(part.price_micro, MICRO_DIGITS),
    }
    if part.kind == "energy":
        return row | {"energy_kwh": decimal_text(part.quantity, MICRO_DIGITS)}
    return row if part.kind in FLAT else row | {"duration_s": part.quantity}


def _period(period: PricedPeriod) -> dict[str, Any]:
    return {
        "start": to_z(datetime.fromtimestamp(period.start_s, UTC)),
        "end": to_z(datetime.fromtimestamp(period.end_s, UTC)),
        "kind": period.kind,
        "energy_kwh": decimal_text(period.energy_mwh, MICRO_DIGITS),
        "elements": {dimension: index + 1 for dimension, index in period.elements},
    }


def _sample(raw: object, where: str, zone: ZoneInfo) -> Sample:
    if not isinstance(raw, dict):
        raise Invalid("tariff_example_invalid", f"{where} must be an object")
    fields = cast("Mapping[str, Any]", raw)
    if unknown := sorted({*fields} - _FIELDS):
        raise Invalid("tariff_example_invalid", f"{where}: there is no field {unknown[0]!a:.40}")
    parked = fields.get("parked", False)
    if not isinstance(parked, bool):
        raise Invalid("tariff_example_invalid", f"{where}.parked must be true or false")
    energy_wh = _number(fields, "energy_kwh", where)
    if energy_wh is None or energy_wh > _MAX_WH:
        raise Invalid("tariff_example_invalid", f"{where}.energy_kwh must be 0 to 1000")
    return Sample(
        _time(fields.get("at"), f"{where}.at", zone),
        energy_wh,
        _number(fields, "power_kw", where),
        _number(fields, "current_a", where),
        parked,
    )


def _number(fields: Mapping[str, Any], name: str, where: str) -> int | None:
    if name not in fields:
        return None
    number = scaled(fields[name], _WH_DIGITS)
    if number is None:
        detail = f"{where}.{name} must be a number from 0 with at most {_WH_DIGITS} decimals"
        raise Invalid("tariff_example_invalid", detail)
    return number


def _time(raw: object, where: str, zone: ZoneInfo) -> datetime:
    try:
        return read_time(raw if isinstance(raw, str) else "", zone=zone)
    except ValueError as error:
        raise Invalid("tariff_example_invalid", f"{where} {error}") from error
