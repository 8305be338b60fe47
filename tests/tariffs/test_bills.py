"""Bills in som, worked out by hand from the tariffs that operators have."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import pytest

from evpower.tariffs import Sample, check, price, read_tariff
from tests.tariffs.examples import document

# Friday, 21:00 in Bishkek.
START: Final = datetime(2026, 1, 9, 15, tzinfo=UTC)
NIGHT: Final = {"from": "22:00", "to": "06:00"}
VAT: Final = [{"name": "VAT", "percent": "12"}]


class Step(NamedTuple):
    """What a meter showed after some minutes."""

    minute: float
    kwh: float
    is_parked: bool = False


def bill(raw: dict[str, Any], steps: Sequence[Step], *, saved: bool = True) -> dict[str, float]:
    """The lines of a bill in som, those of one kind together, and its total."""
    if saved:
        check(read_tariff(raw))
    tariff = read_tariff(raw, frozen=True)
    samples = [
        Sample(
            START + timedelta(minutes=step.minute), round(step.kwh * 1000), is_parked=step.is_parked
        )
        for step in steps
    ]
    cost = price(tariff, START, samples).cost
    lines: dict[str, float] = {}
    for part in cost.parts:
        lines[part.kind] = lines.get(part.kind, 0) + part.amount_minor
    lines["total"] = cost.total_minor
    return {kind: minor / 100 for kind, minor in lines.items()}


def full(*elements: dict[str, Any], **more: Any) -> dict[str, Any]:
    return document(*elements, **more)


DAY_NIGHT = full({"energy_per_kwh": "10", "if": NIGHT}, {"energy_per_kwh": "14", "flat": "5"})
WEEKEND = full(
    {"energy_per_kwh": "12", "if": {"days": [6, 7]}},
    {"energy_per_kwh": "11", "if": NIGHT | {"days": [5]}},
    {"energy_per_kwh": "15"},
)
POWER = full({"energy_per_kwh": "14", "if": {"below_kw": 50}}, {"energy_per_kwh": "18"})
BLOCKS = full({"energy_per_kwh": "13", "if": {"below_kwh": 20}}, {"energy_per_kwh": "16"})
MINUTES = full(
    {"energy_per_kwh": "12", "flat": "20"},
    {"time_per_minute": "0", "if": {"below_elapsed_s": 3600}},
    {"time_per_minute": "1.5"},
)
IDLE = full(
    {"energy_per_kwh": "14", "parking_per_minute": "3"},
    parking_grace_minutes=10,
    parking_maximum="150",
)
IDLE_BY_DAY = full(
    {"energy_per_kwh": "14"},
    {"parking_per_minute": "0", "if": NIGHT},
    {"parking_per_minute": "2"},
    parking_grace_minutes=15,
    parking_maximum="100",
)


@pytest.mark.parametrize(
    ("raw", "steps", "lines"),
    [
        # An hour by day, an hour by night, evenly: 20 kWh at 14, 20 at 10, the start fee.
        (DAY_NIGHT, [Step(120, 40)], {"flat": 5, "energy": 480, "total": 485}),
        # Three hours on Friday evening: 1 h at 15, 2 h at 11; then an hour of Saturday at 12.
        (WEEKEND, [Step(240, 40)], {"energy": 10 * 15 + 20 * 11 + 10 * 12, "total": 490}),
        # 60 kW for 20 minutes (20 kWh at 18), then 30 kW for 40 (20 kWh at 14).
        (POWER, [Step(20, 20), Step(60, 40)], {"energy": 640, "total": 640}),
        # 20 kWh at 13, the other 10.5 at 16, whenever the meter says so.
        (BLOCKS, [Step(7, 5.5), Step(60, 30.5)], {"energy": 260 + 168, "total": 428}),
        # 90 minutes: the last 30 cost 1.50 each; 18 kWh at 12; 20 for the start.
        (MINUTES, [Step(90, 18)], {"flat": 20, "energy": 216, "time": 45, "total": 281}),
        # Unplugged within the grace of 10 minutes.
        (IDLE, [Step(60, 20), Step(70, 20, True)], {"energy": 280, "total": 280}),
        # 25 minutes beyond it at 3 som.
        (IDLE, [Step(60, 20), Step(95, 20, True)], {"energy": 280, "parking": 75, "total": 355}),
        # 8 hours: 470 minutes at 3 would be 1410, the most is 150.
        (
            IDLE,
            [Step(60, 20), Step(540, 20, True)],
            {"energy": 280, "parking": 1410, "parking_maximum": -1260, "total": 430},
        ),
        # Twice done: each time 10 minutes are free. 5 and 15 minutes cost.
        (
            IDLE,
            [Step(60, 20), Step(75, 20, True), Step(80, 21), Step(105, 21, True)],
            {"energy": 294, "parking": 60, "total": 354},
        ),
        # A station's pause (no energy, and the car is not done) is charging: never idle.
        (IDLE, [Step(60, 20), Step(120, 20), Step(121, 20.5)], {"energy": 287, "total": 287}),
        # Done at 21:20; free until 21:35; 25 minutes at 2; from 22:00 on free.
        (
            IDLE_BY_DAY,
            [Step(20, 10), Step(300, 10, True)],
            {"energy": 140, "parking": 50, "total": 190},
        ),
        # What a car takes while it is done is energy as any other.
        (
            IDLE,
            [Step(60, 20), Step(80, 20.05, True)],
            {"energy": 280.7, "parking": 30, "total": 310.7},
        ),
    ],
)  # fmt: skip
def test_a_bill_by_hand(raw: dict[str, Any], steps: list[Step], lines: dict[str, float]) -> None:
    assert bill(raw, steps) == lines


@pytest.mark.parametrize(
    ("more", "lines"),
    [
        # 12.5% off 280 for energy, none off parking.
        (
            {"discount": {"percent": "12.5", "on": ["energy", "time"]}},
            {"energy": 280, "parking": 75, "discount": -35, "total": 320},
        ),
        # On parking too; the maximum of parking counts after it: 150 of 1410 less 50%.
        (
            {"discount": {"percent": "50", "on": ["parking"]}, "parking_maximum": "30"},
            {"energy": 280, "parking": 75, "discount": -37.5, "parking_maximum": -7.5,
             "total": 310},
        ),
        ({"discount": {"percent": "100", "on": ["energy", "parking"]}},
         {"energy": 280, "parking": 75, "discount": -355, "total": 0}),
        # The session's own minimum and maximum come last.
        ({"maximum": "300"}, {"energy": 280, "parking": 75, "maximum": -55, "total": 300}),
        (
            {"discount": {"percent": "100", "on": ["energy", "parking"]}, "minimum": "30"},
            {"energy": 280, "parking": 75, "discount": -355, "minimum": 30, "total": 30},
        ),
        # A station that can't tell when a car is done.
        ({"bills_parking": False}, {"energy": 280, "total": 280}),
    ],
)  # fmt: skip
def test_a_bill_with_a_discount(more: dict[str, Any], lines: dict[str, float]) -> None:
    assert bill(IDLE | more, [Step(60, 20), Step(95, 20, True)], saved=False) == lines


def test_idle_time_whose_end_is_unknown_costs_nothing() -> None:
    tariff = read_tariff(IDLE)
    done, stopped = START + timedelta(hours=1), START + timedelta(hours=20)
    samples = [Sample(done, 20_000), Sample(stopped, 20_000, is_parked=True, is_timed=False)]
    assert price(tariff, START, samples).cost.total_minor == 28_000


@pytest.mark.parametrize(
    ("with_tax", "total", "before_tax"),
    [("true", 430.00, 383.93), ("false", 481.60, 430.00)],
)
def test_the_maximum_of_parking_counts_before_tax_and_after(
    with_tax: str,
    total: float,
    before_tax: float,
) -> None:
    raw = IDLE | {"prices_include_tax": with_tax == "true", "taxes": VAT}
    samples = [
        Sample(START + timedelta(hours=1), 20_000),
        Sample(START + timedelta(hours=9), 20_000, is_parked=True),
    ]
    cost = price(read_tariff(raw), START, samples).cost
    assert (cost.total_minor / 100, cost.before_tax_minor / 100) == (total, before_tax)
