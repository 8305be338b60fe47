"""Which element of a tariff prices each dimension at a moment, and how far that holds.

Per dimension the first element whose conditions match counts. Where a condition can't be decided
(the time or the power is unknown) the cheapest of the elements that may be the first counts, and of
what is foreseen the dearest (coverage.dearest_first).
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from evpower.tariffs.model import OPEN, PPM, Bounds, Conditions, Dimension, Tariff

FOREVER: Final = 1 << 62
DAY_S: Final = 86_400
_HOUR_S: Final = 3_600
_MINUTE_S: Final = 60


class LocalTime(NamedTuple):
    """A moment on the clock and calendar of the tariff's time zone."""

    second: int  # of the day
    day: int  # ISO, 1 is Monday
    date: int  # ordinal


class Moment(NamedTuple):
    """A point of a session; None is unknown."""

    local: LocalTime | None
    elapsed_s: int | None
    energy_mwh: int | None
    power_w: int | None
    current_ma: int | None


Elements = tuple[tuple[Dimension, int], ...]


class Match(NamedTuple):
    """The element of each dimension that has a price, until a time and an energy."""

    elements: Elements
    until_s: int
    until_mwh: int


class Matcher:
    """A tariff made ready for matching. What it remembers depends on the tariff alone."""

    def __init__(self, tariff: Tariff, choose: "Choice | None" = None) -> None:
        self._choose = choose or cheapest_first
        conditions = [element.conditions for element in tariff.elements]
        self._zone = ZoneInfo(tariff.time_zone)
        self._clock = sorted({edge for c in conditions for edge in c.clock or ()})
        self._dates = _edges(c.dates for c in conditions)
        self._has_local = bool(self._clock or self._dates or any(c.days for c in conditions))
        self._elapsed = _edges(c.elapsed_s for c in conditions)
        self._energy = _edges(c.energy_mwh for c in conditions)
        self.power_edges = _edges(c.power_w for c in conditions)
        self.current_edges = _edges(c.current_ma for c in conditions)
        self._candidates = candidates_of(tariff)
        self._known: dict[tuple[object, ...], Elements] = {}
        self._local = LocalTime(0, 1, 1)
        self._local_from_s, self._local_until_s = 0, 0 if self._has_local else FOREVER
        edges = (self._elapsed, self._energy, self.power_edges, self.current_edges)
        self._always: Match | None = None  # of a tariff without conditions
        if not self._has_local and not any(edges):
            moment = Moment(None, None, 0, None, None)
            self._always = Match(self._elements((), moment), FOREVER, FOREVER)

    def match(
        self,
        at_s: int,
        started_s: int,
        energy_mwh: int,
        power_w: int | None,
        current_ma: int | None,
        *,
        is_timed: bool,
    ) -> Match:
        """Returns the elements that apply at a moment; `at_s` counts only where `is_timed`."""
        if self._always is not None:
            return self._always
        energy_band = bisect_right(self._energy, energy_mwh)
        until_mwh = self._energy[energy_band] if energy_band < len(self._energy) else FOREVER
        bands = (
            energy_band,
            band(self.power_edges, power_w),
            band(self.current_edges, current_ma),
        )
        if not is_timed:
            unknown = Moment(None, None, energy_mwh, power_w, current_ma)
            return Match(self._elements(bands, unknown), FOREVER, until_mwh)
        if self._has_local and not self._local_from_s <= at_s < self._local_until_s:
            self._read_clock(at_s)
        local, until_s = self._local, self._local_until_s
        elapsed_s = max(at_s - started_s, 0)
        elapsed_band = bisect_right(self._elapsed, elapsed_s)
        if elapsed_band < len(self._elapsed):
            until_s = min(until_s, started_s + self._elapsed[elapsed_band])
        key = (
            *bands,
            elapsed_band,
            bisect_right(self._clock, local.second),
            local.day,
            bisect_right(self._dates, local.date),
        )
        moment = Moment(local, elapsed_s, energy_mwh, power_w, current_ma)
        return Match(self._elements(key, moment), until_s, until_mwh)

    def local_time(self, at_s: int) -> tuple[LocalTime, int]:
        """Returns the local time, and until when no condition on time of day or date changes."""
        if self._has_local and not self._local_from_s <= at_s < self._local_until_s:
            self._read_clock(at_s)
        return self._local, self._local_until_s

    def _elements(self, key: tuple[object, ...], moment: Moment) -> Elements:
        known = self._known.get(key)
        if known is None:
            chosen: list[tuple[Dimension, int]] = []
            for dimension, candidates in self._candidates.items():
                index = self._choose(candidates, moment)
                if index is not None:
                    chosen.append((dimension, index))
            known = self._known[key] = tuple(chosen)
        return known

    def _read_clock(self, at_s: int) -> None:
        """Finds the local time, and until when it changes nothing: the next edge or midnight."""
        now = datetime.fromtimestamp(at_s, self._zone)
        second = now.hour * _HOUR_S + now.minute * _MINUTE_S + now.second
        later = bisect_right(self._clock, second)
        edge = self._clock[later] if later < len(self._clock) else DAY_S
        self._local = LocalTime(second, now.isoweekday(), now.toordinal())
        self._local_from_s = at_s
        self._local_until_s = self._offset_change(at_s, at_s + edge - second)

    def _offset_change(self, after_s: int, until_s: int) -> int:
        """Returns when the zone's clocks are turned within the time; `until_s` if they are not."""
        offset = self._offset(after_s)
        if self._offset(until_s - 1) == offset:
            return until_s
        same, other = after_s, until_s - 1
        while other - same > 1:
            middle = (same + other) // 2
            same, other = (middle, other) if self._offset(middle) == offset else (same, middle)
        return other

    def _offset(self, at_s: int) -> object:
        return datetime.fromtimestamp(at_s, self._zone).utcoffset()


@dataclass(frozen=True, slots=True)
class Candidate:
    """An element that has a price of a dimension."""

    index: int
    conditions: Conditions
    price: int  # with tax, to compare


# Chooses the element that prices a dimension at a moment; None: there is none.
Choice: TypeAlias = Callable[[Sequence[Candidate], Moment], int | None]


def candidates_of(tariff: Tariff) -> dict[Dimension, list[Candidate]]:
    """Returns the elements of each dimension, in the tariff's order."""
    by_dimension: dict[Dimension, list[Candidate]] = {}
    for index, element in enumerate(tariff.elements):
        for dimension, component in element.prices:
            tax_ppm = 0 if tariff.prices_include_tax else tariff.tax_ppm(component)
            price = component.price_micro * (PPM + tax_ppm)
            by_dimension.setdefault(dimension, []).append(
                Candidate(index, element.conditions, price)
            )
    return by_dimension


def cheapest_first(candidates: Sequence[Candidate], moment: Moment) -> int | None:
    """Returns the first element that matches, or the cheapest of those that may be the first."""
    cheapest: Candidate | None = None
    for candidate in candidates:
        matches = applies(candidate.conditions, moment)
        if matches is False:
            continue
        if cheapest is None or candidate.price < cheapest.price:
            cheapest = candidate
        if matches:
            break
    return None if cheapest is None else cheapest.index


def applies(conditions: Conditions, moment: Moment) -> bool | None:
    """Returns whether all conditions hold; None when that depends on what is unknown."""
    verdicts = (
        *_applies_locally(conditions, moment.local),
        conditions.elapsed_s.has(moment.elapsed_s),
        conditions.energy_mwh.has(moment.energy_mwh),
        conditions.power_w.has(moment.power_w),
        conditions.current_ma.has(moment.current_ma),
    )
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _applies_locally(conditions: Conditions, local: LocalTime | None) -> tuple[bool | None, ...]:
    if local is None:
        is_free = not conditions.clock and not conditions.days and conditions.dates == OPEN
        return (True if is_free else None,)
    return (
        conditions.clock is None or conditions.clock.has(local.second),
        not conditions.days or local.day in conditions.days,
        conditions.dates.has(local.date),
    )


def band(edges: Sequence[int], value: int | None) -> int:
    """Returns which of the bands between the edges has the value; -1: it is unknown."""
    return -1 if value is None else bisect_right(edges, value)


def _edges(bounds: Iterable[Bounds]) -> list[int]:
    return sorted({edge for bound in bounds for edge in bound if edge is not None})
