"""`python -m bench --against CHECKOUT NAME ...`: this edition beside another, in turn.

Each round runs the named benchmarks once in both checkouts, each with its own code, interpreter and
baselines, and compares the rows' ratios (the values where a row has none). A row has become worse
when the whole 95 % interval of the rounds' paired ratios lies beyond 5 %.
"""

import asyncio
import json
import math
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.harness import quiet, say

ROUNDS: Final = 7
_HERE: Final = Path(__file__).resolve().parent.parent
_TOLERATED: Final = 0.05
_RUN_S: Final = 1800.0
# Student's t, two-sided 95 %, by degrees of freedom from 1.
_T: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
MAX_ROUNDS: Final = len(_T) + 1


@dataclass(frozen=True, slots=True)
class Compared:
    """How many times as good a row is here as there: below 1 it became worse."""

    name: str
    median: float
    low: float
    high: float

    @property
    def is_worse(self) -> bool:
        """Whether more than chance and 5 % stand between the editions."""
        return self.high < 1 - _TOLERATED

    def cells(self) -> tuple[str, ...]:
        """The row for people."""
        interval = f"{self.low:.3f} to {self.high:.3f}"
        return self.name, f"{self.median:.3f}", interval, "WORSE" if self.is_worse else "no worse"


def compare(name: str, ours: Sequence[float], theirs: Sequence[float], *, more: bool) -> Compared:
    """Return the paired comparison of one row; `more`: the higher figure is the better one.

    Raises ValueError if the rounds are fewer than two, more than `MAX_ROUNDS`, or not pairs.
    """
    if len(ours) != len(theirs) or not 2 <= len(ours) <= MAX_ROUNDS:
        raise ValueError(f"{name}: {len(ours)} and {len(theirs)} rounds")
    logs = [
        math.log(here / there) if more else math.log(there / here)
        for here, there in zip(ours, theirs, strict=True)
    ]
    mean, spread = statistics.mean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    wide = _T[len(logs) - 2] * spread
    return Compared(
        name, math.exp(statistics.median(logs)), math.exp(mean - wide), math.exp(mean + wide)
    )


async def against(checkout: Path, names: Sequence[str], rounds: int) -> int:
    """Run both editions alternately and print the comparison; 1 if a row became worse."""
    results: dict[Path, list[Mapping[str, dict[str, object]]]] = {_HERE: [], checkout: []}
    for number in range(rounds):
        order = [_HERE, checkout] if number % 2 == 0 else [checkout, _HERE]
        for folder in order:
            say(f"round {number + 1} of {rounds}: {folder}")
            await quiet()
            results[folder].append(await _measure(folder, names))
    compared = _compare_all(results[_HERE], results[checkout])
    print(_table(compared))
    worse = [row.name for row in compared if row.is_worse]
    if worse:
        say(f"became worse: {', '.join(worse)}")
    return 1 if worse or not compared else 0


def _compare_all(
    ours: Sequence[Mapping[str, dict[str, object]]],
    theirs: Sequence[Mapping[str, dict[str, object]]],
) -> list[Compared]:
    common = [key for key in ours[0] if all(key in rows for rows in (*ours, *theirs))]
    for key in {*ours[0], *theirs[0]} - set(common):
        say(f"not in both editions: {key}")
    return [
        compare(
            key,
            [_figure(rows[key]) for rows in ours],
            [_figure(rows[key]) for rows in theirs],
            more=_more_is_better(ours[0][key]),
        )
        for key in common
    ]


async def _measure(folder: Path, names: Sequence[str]) -> dict[str, dict[str, object]]:
    """Run the benchmarks of a checkout; returns its rows by name and baseline."""
    process = await asyncio.create_subprocess_exec(
        str(folder / ".venv" / "bin" / "python"), "-m", "bench", *names,
        cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "BENCH_ROUNDS": "1"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(_RUN_S):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    rows = [json.loads(line) for line in printed.decode().splitlines() if line.startswith("{")]
    if not rows:
        raise RuntimeError(f"no benchmark finished in {folder}: exit {process.returncode}")
    # An edition before 0.1.0 prints `peer`.
    return {f"{row['name']} / {row.get('baseline', row.get('peer'))}": row for row in rows}


def _figure(row: Mapping[str, object]) -> float:
    figure = row["value"] if row.get("ratio") is None else row["ratio"]
    return float(str(figure))


def _more_is_better(row: Mapping[str, object]) -> bool:
    bar = row.get("bar")
    return str(bar).startswith(">=") if bar else str(row["unit"]).endswith("/s")


def _table(compared: Sequence[Compared]) -> str:
    header = ("benchmark / baseline", "times as good", "95 % interval", "verdict")
    lines = [header, *(row.cells() for row in compared)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def checkout_folder(text: str) -> Path:
    """Read a folder that holds an installed checkout; exits with 2 otherwise."""
    folder = Path(text).resolve()
    if not (folder / ".venv" / "bin" / "python").exists():
        sys.stderr.write(f"{folder}: not a checkout with `make setup` done\n")
        sys.exit(2)
    return folder
