"""The prices of a tariff by local time: which days, hours and dates have which."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from evpower.tariffs.matching import DAY_S, LocalTime
from evpower.tariffs.model import Bounds, ClockBounds, Conditions, Dimension, Element, Tariff
from evpower.tariffs.rates import RateCard, Rates

_DAYS: Final = range(1, 8)
_Price = TypeVar("_Price")


def prices_by_time(
    card: RateCard, of: Callable[[Rates], _Price], *, most: int
) -> list[tuple[Conditions, _Price]] | None:
    """Returns each price with the local times that have it, which are each in one entry alone.

    `of` chooses what is compared of the highest prices that a session may have at a time. Clocks
    past midnight are only of entries of every day. None: there are more entries than `most`.
    """
    conditions = [element.conditions for element in card.tariff.elements]
    seconds = sorted({0, *(s for c in conditions for s in c.clock or () if s < DAY_S)})
    edges = sorted({date for c in conditions for date in c.dates if date is not None})
    tried = _DAYS if any(c.days for c in conditions) else _DAYS[:1]
    spans: dict[tuple[_Price, frozenset[int], ClockBounds | None], list[int]] = {}
    entries = 0
    # A date of each span; before the first edge there is one, too.
    for number, date in enumerate((edges[0] - 1 if edges else 1, *edges)):
        bands: dict[tuple[_Price, frozenset[int]], list[int]] = {}
        for band, second in enumerate(seconds):
            days_of: dict[_Price, set[int]] = {}
            for day in tried:
                price = of(card.by_local_time(LocalTime(second, day, date)))
                days_of.setdefault(price, set()).add(day)
            for price, days in days_of.items():
                every = len(days) == len(tried)
                which = frozenset[int]() if every else frozenset(days)
                bands.setdefault((price, which), []).append(band)
        for (price, which), indexes in bands.items():
            for clock in _clocks(seconds, indexes, past_midnight=not which):
                numbers = spans.setdefault((price, which, clock), [])
                entries += not numbers or numbers[-1] < number - 1
                numbers.append(number)
        if entries > most:
            return None
    return [
        (Conditions(clock=clock, days=days, dates=dates), price)
        for (price, days, clock), numbers in spans.items()
        for dates in _dates(edges, numbers)
    ]


def from_date(tariff: Tariff, ordinal: int) -> Tariff:
    """Returns a tariff as it is from a local date on, without the conditions on those before."""
    elements: list[Element] = []
    for element in tariff.elements:
        lower, upper = element.conditions.dates
        if upper is not None and upper <= ordinal:
            continue
        dates = Bounds(None if lower is None or lower <= ordinal else lower, upper)
        elements.append(replace(element, conditions=replace(element.conditions, dates=dates)))
    return replace(tariff, elements=tuple(elements))


def only(tariff: Tariff, dimension: Dimension) -> Tariff:
    """Returns a tariff with the prices of one dimension alone, and their conditions."""
    return replace(
        tariff,
        elements=tuple(
            replace(element, prices=priced)
            for element in tariff.elements
            if (priced := tuple(entry for entry in element.prices if entry[0] == dimension))
        ),
    )


def _clocks(
    seconds: Sequence[int], bands: Sequence[int], *, past_midnight: bool
) -> list[ClockBounds | None]:
    """Returns the times of these bands of the day; None is all of it."""
    if len(bands) == len(seconds):
        return [None]
    ends = [*seconds, DAY_S]
    clocks = [ClockBounds(seconds[first], ends[last + 1]) for first, last in _runs(bands)]
    first, last = clocks[0], clocks[-1]
    if past_midnight and not first.lower and last.upper == DAY_S and first != last:
        return [*clocks[1:-1], ClockBounds(last.lower, first.upper)]
    return [*clocks]


def _dates(edges: Sequence[int], spans: Sequence[int]) -> Iterator[Bounds]:
    for first, last in _runs(spans):
        yield Bounds(
            edges[first - 1] if first else None, edges[last] if last < len(edges) else None
        )


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yields the first and the last of each run of ascending numbers without a gap."""
    first = last = numbers[0]
    for number in numbers[1:]:
        if number > last + 1:
            yield first, last
            first = number
        last = number
    yield first, last
