"""Which moments of a session a tariff leaves without a price, and which prices never apply.

All moments are split along one condition at a time, at the edges that the elements have, until the
first element applies to all that is left of the moments, or no element is left: that is a hole.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final

from evpower.tariffs.document import MICRO_DIGITS, decimal_text
from evpower.tariffs.matching import Candidate, Moment, applies
from evpower.tariffs.model import OPEN, Bounds, Conditions

_MAX_STEPS: Final = 20_000
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_S: Final = 86_400


class TooComplex(Exception):
    """The conditions split the moments into too many kinds to look at each."""


@dataclass(slots=True)
class Coverage:
    """What is known of one dimension's elements."""

    hole: str | None = None  # an example of a moment without a price, in words
    reached: set[int] = field(default_factory=set[int])  # elements that apply at some moment


@dataclass(frozen=True, slots=True)
class _Axis:
    """One kind of condition: whether it is set, its edges, its verdict, a band in words."""

    is_set: Callable[[Conditions], bool]
    edges: Callable[[Conditions], Sequence[int]]
    has: Callable[[Conditions, int], bool]
    start: int  # its least value
    words: Callable[[int, int | None], str]


def _bounds_axis(get: Callable[[Conditions], Bounds], words: Callable[[int], str]) -> _Axis:
    def in_words(lower: int, upper: int | None) -> str:
        if upper is None:
            return f"from {words(lower)}"
        return f"{words(lower)} to {words(upper)}" if lower else f"below {words(upper)}"

    return _Axis(
        is_set=lambda c: get(c) != Bounds(),
        edges=lambda c: [edge for edge in get(c) if edge is not None],
        has=lambda c, value: get(c).has(value) is True,
        start=0,
        words=in_words,
    )


def _clock_words(lower: int, upper: int | None) -> str:
    ends = (lower, _DAY_S if upper is None else upper)
    return "-".join(map(clock_text, ends))


def clock_text(second: int) -> str:
    """Returns a second of the day as HH:MM."""
    return f"{second // 3600:02}:{second // 60 % 60:02}"


def _date_words(ordinal: int) -> str:
    return date.fromordinal(ordinal).isoformat()


_AXES: Final[tuple[_Axis, ...]] = (
    _Axis(
        is_set=lambda c: bool(c.days),
        edges=lambda c: range(1, 8) if c.days else (),
        has=lambda c, value: not c.days or value in c.days,
        start=1,
        words=lambda lower, _: DAYS[lower - 1],
    ),
    _Axis(
        is_set=lambda c: c.clock is not None,
        edges=lambda c: [edge for edge in c.clock or () if edge < _DAY_S],
        has=lambda c, value: c.clock is None or c.clock.has(value),
        start=0,
        words=_clock_words,
    ),
    _bounds_axis(lambda c: c.dates, _date_words),
    _bounds_axis(lambda c: c.elapsed_s, lambda value: f"{value} s"),
    _bounds_axis(lambda c: c.energy_mwh, lambda value: f"{decimal_text(value, MICRO_DIGITS)} kWh"),
    _bounds_axis(lambda c: c.power_w, lambda value: f"{decimal_text(value, 3)} kW"),
    _bounds_axis(lambda c: c.current_ma, lambda value: f"{decimal_text(value, 3)} A"),
)


def cover(candidates: Sequence[Candidate]) -> Coverage:
    """Returns what the elements of one dimension cover. Raises TooComplex."""
    coverage = Coverage()
    _visit(list(candidates), frozenset(), (), coverage, [_MAX_STEPS])
    return coverage


def possible(candidates: Sequence[Candidate], moment: Moment) -> frozenset[int]:
    """Returns which elements of one dimension may be the first that applies at a moment.

    What is None in the moment may be anything.
    """
    may_apply: list[Candidate] = []
    for candidate in candidates:
        matches = applies(candidate.conditions, moment)
        if matches is False:
            continue
        may_apply.append(candidate)
        if matches:
            break
    indexes = frozenset(candidate.index for candidate in may_apply)
    if len(may_apply) < 2:  # noqa: PLR2004 - one has none before it
        return indexes
    undecided = [
        replace(candidate, conditions=_undecided(candidate.conditions, moment))
        for candidate in may_apply
    ]
    try:
        return frozenset(cover(undecided).reached)
    except TooComplex:
        return indexes


def dearest_first(candidates: Sequence[Candidate], moment: Moment) -> int | None:
    """Returns the first element that matches, or the dearest of those that may be the first."""
    indexes = possible(candidates, moment)
    dearest = max(
        (candidate for candidate in candidates if candidate.index in indexes),
        key=lambda candidate: candidate.price,
        default=None,
    )
    return None if dearest is None else dearest.index


def _undecided(conditions: Conditions, moment: Moment) -> Conditions:
    """Returns conditions that hold as far as the moment is known, without those that do."""
    if moment.local is not None:
        conditions = replace(conditions, clock=None, days=frozenset(), dates=OPEN)
    known = {
        name: OPEN
        for name in ("elapsed_s", "energy_mwh", "power_w", "current_ma")
        if getattr(moment, name) is not None
    }
    return replace(conditions, **known)


def _visit(
    candidates: list[Candidate],
    split: frozenset[int],
    words: tuple[str, ...],
    coverage: Coverage,
    steps_left: list[int],
) -> None:
    steps_left[0] -= 1
    if not steps_left[0]:
        raise TooComplex
    if not candidates:
        coverage.hole = coverage.hole or ", ".join(words)
        return
    first = candidates[0]
    axes = [
        number
        for number, axis in enumerate(_AXES)
        if number not in split and axis.is_set(first.conditions)
    ]
    if not axes:
        coverage.reached.add(first.index)
        return
    axis = _AXES[axes[0]]
    edges = sorted({axis.start, *(edge for c in candidates for edge in axis.edges(c.conditions))})
    for edge in edges:
        after = bisect_right(edges, edge)
        upper = edges[after] if after < len(edges) else None
        _visit(
            [c for c in candidates if axis.has(c.conditions, edge)],
            split | {axes[0]},
            (*words, axis.words(edge, upper)),
            coverage,
            steps_left,
        )
