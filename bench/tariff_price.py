"""What it costs to price a session: the whole of it, and one more meter value of it."""

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from bench.harness import Bar, Row
from bench.rig import Rig
from evpower.charging.limits import Flow, Limits, stop_due_at
from evpower.tariffs import (
    Pricer,
    Sample,
    begin,
    forecast,
    next_period,
    price,
    read_tally,
    read_tariff,
    write_tally,
)

_START: Final = datetime(2026, 1, 9, 12, tzinfo=UTC)
_FEW: Final = 500
_MANY: Final = 5_000
_ROUNDS: Final = 25
_LEAST_S: Final = 0.02  # of a round
_LIMITS: Final = Limits(None, None, None, 500_000)
_TARIFF: Final[dict[str, Any]] = {
    "name": "by the hour, the power, the time, idle",
    "elements": [
        {"prices": {"energy_per_kwh": "10"}, "if": {"from": "22:00", "to": "06:00"}},
        {"prices": {"energy_per_kwh": "14", "flat": "5"}, "if": {"below_kw": 50}},
        {"prices": {"energy_per_kwh": "18", "flat": "5"}},
        {"prices": {"time_per_minute": "0.5", "parking_per_minute": "3"}},
    ],
    "parking_grace_minutes": 10,
    "parking_maximum": "500",
}


async def tariff_price(_: Rig) -> list[Row]:
    """A tariff of four elements, samples each 10 seconds, some above 50 kW, some while idle."""
    tariff = read_tariff(_TARIFF)
    many, few = _samples(_MANY), _samples(_FEW)
    pricer = Pricer(tariff)
    whole = _quickest(lambda: price(tariff, _START, many), lambda: price(tariff, _START, few))
    added = _quickest(_one_more(pricer, few, _FEW - 1), _one_more(pricer, few, 4))
    few_name = f"the same with {_FEW} samples"
    note = "the running cost and the limit's time after one more meter value"
    return [
        Row("tariff_5000_samples", whole[0], "ms", few_name, whole[1], Bar("<=", 12)),
        Row(
            "tariff_sample_500",
            added[0],
            "ms",
            "the same on sample 5",
            added[1],
            Bar("<=", 2),
            note,
        ),
    ]


def _samples(count: int) -> list[Sample]:
    samples: list[Sample] = []
    energy_wh = 0
    for number in range(1, count + 1):
        is_parked = number % 100 >= 95
        power_w = 0 if is_parked else 40_000 + number % 7 * 4_000
        energy_wh += power_w // 360
        at = _START + timedelta(seconds=10 * number)
        samples.append(Sample(at, energy_wh, power_w, is_parked=is_parked))
    return samples


def _one_more(pricer: Pricer, samples: Sequence[Sample], index: int) -> Callable[[], object]:
    """Returns what each meter value of a running session does, from its stored tally on."""
    tally = begin(_START)
    for sample in samples[:index]:
        tally = pricer.advance(tally, [next_period(tally, sample)])[0]
    stored = orjson.dumps(write_tally(tally))

    def step() -> object:
        known = read_tally(orjson.loads(stored))
        later = pricer.add(known, next_period(known, samples[index]))
        cost_minor = forecast(pricer).total_minor(later)
        flow = Flow(samples[index].at, later, samples[index].energy_wh, cost_minor, 50_000)
        due_at = stop_due_at(pricer, _LIMITS, flow, 60_000)
        return due_at, orjson.dumps(write_tally(later))

    return step


def _quickest(*works: Callable[[], object]) -> list[float]:
    """Returns for each work the milliseconds of CPU of its quickest round; they take turns."""
    quickest = [math.inf] * len(works)
    for _ in range(_ROUNDS):
        for number, work in enumerate(works):
            repeats = 0
            begun_s = time.thread_time()
            while (elapsed_s := time.thread_time() - begun_s) < _LEAST_S or not repeats:
                work()
                repeats += 1
            quickest[number] = min(quickest[number], elapsed_s / repeats * 1000)
    return quickest
