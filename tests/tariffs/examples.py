"""Short ways to write tariffs and sessions in tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from evpower.tariffs import Pricer, Sample, Tally, Tariff, begin, price, read_tariff
from evpower.tariffs.model import Cost

# Monday, 10:00 in Bishkek.
START = datetime(2026, 1, 5, 4, tzinfo=UTC)


def document(*elements: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A tariff's document; an element is its prices, with its conditions under "if"."""
    written = [
        {
            "prices": {name: value for name, value in element.items() if name != "if"},
            "if": element.get("if", {}),
        }
        for element in elements
    ]
    return {"name": "test", "elements": written} | more


def tariff(*elements: dict[str, Any], **more: Any) -> Tariff:
    return read_tariff(document(*elements, **more), frozen=True)


def cost(priced: Tariff, energy_wh: int, minutes: float = 0, **more: Any) -> Cost:
    """What energy costs that flows evenly from START."""
    return price(priced, START, [Sample(after(minutes), energy_wh, **more)]).cost


def after(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def kinds(of: Cost) -> dict[str, int]:
    return {part.kind: part.amount_minor for part in of.parts}


def fold(priced: Tariff, *periods: Any) -> Tally:
    return Pricer(priced).advance(begin(START), periods)[0]
