"""Tariffs and sessions drawn at random; their edges lie close, so that they meet often.

What is drawn from is built once: to build it takes longer than to draw.
"""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from hypothesis import strategies as st

from evpower.tariffs import Sample, Tariff, read_tariff
from evpower.tariffs.model import MeteredPeriod

ZONES = ("Asia/Bishkek", "Europe/Berlin", "UTC")
# Around a turn of Berlin's clocks, the end of a week and of a year.
STARTS = (
    datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
    datetime(2026, 10, 25, 0, 10, tzinfo=UTC),
    datetime(2026, 12, 31, 17, 40, tzinfo=UTC),
    datetime(2026, 1, 9, 17, 45, tzinfo=UTC),
)
PRICED = ("energy_per_kwh", "time_per_hour", "parking_per_hour", "flat")
# Soon after the starts, or anywhere.
clock = st.sampled_from(
    ("00:00", "00:45", "01:35", "02:00", "02:20", "03:00", "06:40", "07:00", "18:50", "23:55")
) | st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from((0, 15, 30)))


@cache
def prices(step: int) -> st.SearchStrategy[dict[str, Any]]:
    amount = st.builds("{}.{:04}".format, st.integers(0, 30), st.integers(0, 9999))

    def component(name: str) -> st.SearchStrategy[Any]:
        if name == "flat" or step == 1:
            return amount
        steps = st.sampled_from((1, 7, 60, step))
        return st.fixed_dictionaries({"price": amount, "step": steps})

    @cache
    def components(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries({name: component(name) for name in names})

    names = st.lists(st.sampled_from(PRICED), min_size=1, unique=True)
    return names.flatmap(lambda drawn: components(tuple(drawn)))


def _range(lower: str, upper: str, most: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(st.integers(0, most), st.integers(1, most), st.integers(0, 2)).map(
        lambda drawn: (
            {lower: drawn[0]},
            {upper: drawn[1]},
            {lower: drawn[0], upper: drawn[0] + drawn[1]},
        )[drawn[2]]
    )


@cache
def conditions(*, energy: bool = True, power: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    times = st.tuples(clock, clock).filter(lambda pair: pair[0] != pair[1])
    dates = st.integers(0, 8).map(lambda days: date(2025, 12, 31) + timedelta(days * 42))
    kinds = [
        times.map(lambda pair: {"from": pair[0], "to": pair[1]}),
        st.lists(st.integers(1, 7), min_size=1, unique=True).map(lambda days: {"days": days}),
        dates.map(lambda day: {"from_date": day.isoformat()}),
        _range("from_elapsed_s", "below_elapsed_s", 4000),
    ]
    if energy:
        kinds.append(_range("from_kwh", "below_kwh", 30))
    if power:
        kinds += [_range("from_kw", "below_kw", 60), _range("from_a", "below_a", 60)]

    @cache
    def together(chosen: tuple[int, ...]) -> st.SearchStrategy[dict[str, Any]]:
        return st.tuples(*(kinds[kind] for kind in chosen)).map(
            lambda parts: {name: value for part in parts for name, value in part.items()}
        )

    chosen = st.lists(st.sampled_from(range(len(kinds))), max_size=3, unique=True)
    return chosen.flatmap(lambda drawn: together(tuple(drawn)))


@cache
def elements(step: int, *, energy: bool, power: bool) -> st.SearchStrategy[list[dict[str, Any]]]:
    element = st.fixed_dictionaries(
        {"prices": prices(step), "if": conditions(energy=energy, power=power)}
    )
    return st.lists(element, min_size=1, max_size=6)


taxes: st.SearchStrategy[list[dict[str, str]]] = st.sampled_from(
    ([], [{"name": "VAT", "percent": "12"}])
)
discounted = st.lists(
    st.sampled_from(("energy", "flat", "time", "parking")), min_size=1, unique=True
)


@st.composite
def documents(
    draw: st.DrawFn, *, step: int = 900, energy: bool = True, power: bool = True
) -> dict[str, Any]:
    """A tariff's document, perhaps with holes."""
    document: dict[str, Any] = {
        "name": "drawn",
        "time_zone": draw(st.sampled_from(ZONES)),
        "prices_include_tax": draw(st.booleans()),
        "taxes": draw(taxes),
        "elements": draw(elements(step, energy=energy, power=power)),
    }
    if draw(st.booleans()):
        document["minimum"] = "3.5"
    if draw(st.booleans()):
        document["maximum"] = "90"
    if draw(st.booleans()):
        percent = draw(st.sampled_from(("0.0001", "12.5", "33.3333", "100")))
        on = draw(discounted)
        document["discount"] = {"percent": percent, "on": on}
    if draw(st.booleans()):
        document["parking_grace_minutes"] = draw(st.sampled_from((1, 5, 40, 1440)))
    if draw(st.booleans()):
        document["parking_maximum"] = draw(st.sampled_from(("0", "0.01", "2.5", "40")))
    if draw(st.integers(0, 4)) == 0:
        document["bills_parking"] = False
    return document


def tariffs(**how: Any) -> st.SearchStrategy[Tariff]:
    return documents(**how).map(lambda document: read_tariff(document, frozen=True))


@st.composite
def periods(draw: st.DrawFn, *, power: bool = True) -> list[MeteredPeriod]:
    """What a session used, in order, with gaps; each period is `parts` equal parts long."""
    at_s = int(draw(st.sampled_from(STARTS)).timestamp())
    drawn: list[MeteredPeriod] = []
    for _ in range(draw(st.integers(1, 5))):
        parts = draw(st.sampled_from((1, 2, 4, 8, 60)))
        duration_s = parts * draw(st.integers(0, 200))
        energy_mwh = parts * draw(st.integers(0, 40_000_000) | st.just(0)) // 8
        drawn.append(
            MeteredPeriod(
                at_s,
                duration_s,
                energy_mwh // parts * parts,
                draw(st.sampled_from(("charging", "charging", "parked"))),
                draw(st.none() | st.integers(0, 80_000)) if power else 20_000,
                draw(st.none() | st.integers(0, 80_000)) if power else 20_000,
            )
        )
        at_s += duration_s + draw(st.sampled_from((0, 0, 0, 17)))
    return drawn


@st.composite
def samples(draw: st.DrawFn) -> tuple[datetime, list[Sample]]:
    """The start of a session and its samples, in order."""
    start = draw(st.sampled_from(STARTS))
    at, energy_wh = start, 0
    drawn: list[Sample] = []
    for _ in range(draw(st.integers(1, 12))):
        at += timedelta(seconds=draw(st.integers(1, 1200)), milliseconds=draw(st.integers(0, 999)))
        energy_wh += draw(st.integers(0, 9000))
        is_parked = draw(st.booleans())
        drawn.append(Sample(at, energy_wh, is_parked=is_parked, is_timed=draw(st.booleans())))
    return start, drawn
