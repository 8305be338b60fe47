"""Rows, bars, and taking turns: what every benchmark is made of."""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Measure = Callable[[], Awaitable[float]]
Lags = Sequence[float]  # sorted
# Only sizes and counts may have a bar of their own: times and rates depend on what else runs.
_SIZES = {"KiB/socket", "B/transaction", "B/frame"}
_QUIET = 0.15  # of all cores busy with other work: as little as that does not disturb
_SAMPLE_S = 0.2
_WAIT_LIMIT_S = 30.0  # waited for quiet in a whole run


@dataclass(frozen=True, slots=True)
class Bar:
    """What a row must reach: its ratio, or the value of a size, against a figure."""

    sign: Literal[">=", "<="]
    figure: float
    of: Literal["ratio", "value"] = "ratio"

    def __str__(self) -> str:
        return f"{self.sign} {self.figure:g}" + (" x" if self.of == "ratio" else "")

    def met(self, value: float, ratio: float | None) -> bool:
        """Whether the row is good enough; a ratio that is not there is not."""
        got = value if self.of == "value" else ratio
        if got is None:
            return False
        return got >= self.figure if self.sign == ">=" else got <= self.figure


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison, as it is printed; without a bar it only informs."""

    name: str
    value: float
    unit: str
    baseline: str
    baseline_value: float | None = None
    bar: Bar | None = None
    note: str = ""
    paired_ratio: float | None = None  # the median of the rounds' own ratios, where there were some

    def __post_init__(self) -> None:
        """Refuse an absolute bar on a time or a rate."""
        if self.bar is not None and self.bar.of == "value" and self.unit not in _SIZES:
            raise ValueError(f"{self.name}: {self.unit} needs a baseline of the same run")

    @property
    def ratio(self) -> float | None:
        """How many times the baseline's figure ours is."""
        if self.paired_ratio is not None:
            return self.paired_ratio
        return self.value / self.baseline_value if self.baseline_value else None

    @property
    def ok(self) -> bool:
        """True when the bar is met or there is none."""
        return self.bar is None or self.bar.met(self.value, self.ratio)

    def as_json(self) -> str:
        """One line for machines."""
        fields = asdict(self)
        fields["value"] = _short(self.value)
        fields["baseline_value"] = (
            None if self.baseline_value is None else _short(self.baseline_value)
        )
        del fields["paired_ratio"]
        fields["ratio"] = None if self.ratio is None else _short(self.ratio)
        fields["bar"] = None if self.bar is None else str(self.bar)
        fields["ok"] = self.ok
        order = (
            "name",
            "value",
            "unit",
            "baseline",
            "baseline_value",
            "ratio",
            "bar",
            "ok",
            "note",
        )
        return json.dumps({key: fields[key] for key in order if key != "note" or fields["note"]})

    def cells(self) -> tuple[str, ...]:
        """The cells of the table."""
        return (
            self.name,
            f"{_short_text(self.value)} {self.unit}",
            self.baseline,
            ""
            if self.baseline_value is None
            else f"{_short_text(self.baseline_value)} {self.unit}",
            "" if self.ratio is None else f"{_short_text(self.ratio)} x",
            "" if self.bar is None else str(self.bar),
            "" if self.bar is None else ("yes" if self.ok else "NO"),
        )


HEADINGS = ("benchmark", "ours", "baseline or limit", "the baseline's", "ratio", "bar", "met")


def table(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    body = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in body) for column in range(len(HEADINGS))]
    lines = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in body
    ]
    return "\n".join(
        [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
    )


@dataclass(frozen=True, slots=True)
class Turns:
    """What each side measured in each round."""

    sides: tuple[tuple[float, ...], ...]

    def __iter__(self) -> Iterator[float]:
        """Each side's median, to be unpacked and printed."""
        return iter([statistics.median(side) for side in self.sides])

    def ratio(self, ours: int = 0, theirs: int = 1) -> float:
        """The median of the rounds' ratios: what disturbs a round disturbs both of its sides."""
        pairs = zip(self.sides[ours], self.sides[theirs], strict=True)
        return statistics.median(our / their for our, their in pairs)


async def in_turn(*sides: Measure, rounds: int = 5) -> Turns:
    """Measure every side `rounds` times, A B, B A, A B, ...: neither is always the first.

    BENCH_ROUNDS sets another number: a comparison of two editions repeats whole runs instead.
    """
    rounds = int(os.environ.get("BENCH_ROUNDS", rounds))
    measured: list[list[float]] = [[] for _ in sides]
    for number in range(rounds):
        order = list(zip(measured, sides, strict=True))
        for values, side in order if number % 2 == 0 else reversed(order):
            await quiet()
            values.append(await side())
    for values in measured:
        say("    " + "  ".join(_short_text(value) for value in values))
    return Turns(tuple(tuple(values) for values in measured))


def p99(lags: Lags) -> float:
    """The 99th percentile of sorted lags."""
    return lags[int(len(lags) * 0.99)]


async def quiet() -> None:
    """Wait a little for a quiet moment; remember how busy it was in the end."""
    while (share := await _busy_share()) > _QUIET and _waited_s[0] < _WAIT_LIMIT_S:
        _waited_s[0] += _SAMPLE_S
    disturbance.append(share)
    if share > 2 * _QUIET:
        say(f"    the machine is {share:.0%} busy with other work: figures will be off")


disturbance: list[float] = []  # how busy the machine was before each measurement
_waited_s = [0.0]


async def _busy_share() -> float:
    try:
        idle, total = _jiffies()
        await asyncio.sleep(_SAMPLE_S)
        later_idle, later_total = _jiffies()
    except (OSError, ValueError):  # no /proc: nothing is known
        return 0.0
    return 1 - (later_idle - idle) / max(1, later_total - total)


def _jiffies() -> tuple[int, int]:
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return fields[3] + fields[4], sum(fields)


def say(text: str) -> None:
    """Progress, where it does not disturb the figures."""
    sys.stderr.write(f"[{time.strftime('%H:%M:%S')}] {text}\n")
    sys.stderr.flush()


def _short(value: float) -> float:
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value)


def _short_text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
