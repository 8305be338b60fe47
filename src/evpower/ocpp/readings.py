"""Reads meter values: which number is energy, in which unit, in which context."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import cache
from math import floor
from typing import Any, Final, NamedTuple, cast

from evpower.charging import Reading, StationTime
from evpower.ocpp.samples import (
    BEGIN,
    CURRENT,
    END,
    ENERGY,
    POWER,
    SOC,
    TEMPERATURE,
    VOLTAGE,
    SampleMeaning,
    meaning_of,
)
from evpower.ocpp.times import read_station_time
from evpower.ocpp.values import items, number_text, plain_number

_WH: Final = Decimal(1)
_NO_STEP: Final = Decimal(0)
_COARSE: Final = Decimal(10)
_MAX_INT: Final = 2**31 - 1
_ABSOLUTE_ZERO: Final = 273.15
_MAX_PERCENT: Final = 100
_TWO: Final = 2  # members of an element
_NOT_PLAIN: Final = frozenset({"list_empty", "list_form", "object_for_list", "time_missing"})
_SIGNED: Final = "SignedData"
_MOST_SAMPLES: Final = 10_000
_CONTEXT_CHARS: Final = 64
_MOST_SHAPES: Final = 1024
_MOST_OF_SHAPE: Final = 32  # samples
_MOST_SHAPE_CHARS: Final = 2_000
# Where a fact stands among those of a reading, by its kind and whether it is of the car.
_FACTS: Final = {
    (POWER, False): 0, (POWER, True): 0, (CURRENT, False): 1, (VOLTAGE, False): 2,
    (CURRENT, True): 3, (VOLTAGE, True): 4, (SOC, False): 5, (SOC, True): 5,
}  # fmt: skip
_SOC_FACT: Final = 5
_FIRST_SENSOR: Final = 6


class Readings(NamedTuple):
    """Meter values as read, in the order of the station, and the signed ones untouched."""

    readings: tuple[Reading, ...]
    signed: tuple[str, ...]
    is_by_the_book: bool  # by the schema; else it is not known


class _Shape(NamedTuple):
    """What the samples of an element measure: of one context, and each fact once.

    A station sends the same ones each time, so they are looked up together.
    """

    sizes: list[int]  # the members of each sample, all by the book
    context: str
    energy: tuple[int, SampleMeaning] | None  # which sample it is
    facts: tuple[tuple[int, int, int, str], ...]  # the sample, the fact, its factor and unit
    notes: frozenset[str]


_shapes: dict[tuple[object, ...], _Shape | None] = {}  # None: they are read one by one

# What was sampled in one context: what each sample means, and the text of its number.
_Samples = list[tuple[SampleMeaning, str]]
_Entry = tuple[StationTime, dict[str, _Samples]]


def read_meter_values(
    value: object, *, since: datetime, now: datetime, notes: set[str], zone: tzinfo = UTC
) -> Readings:
    """Returns the meter values of a request; elements with the same time are one.

    `zone`: of a time that names none.
    """
    usual = _read_usual(value, since, now, notes, zone)
    if usual is not None:
        return usual
    return read_each(value, since=since, now=now, notes=notes, zone=zone)


def read_each(
    value: object, *, since: datetime, now: datetime, notes: set[str], zone: tzinfo = UTC
) -> Readings:
    """Returns the same as `read_meter_values`, of samples that are read one by one."""
    entries: dict[str | None, _Entry] = {}
    signed: list[str] = []
    left = _MOST_SAMPLES
    elements = items(value, notes)
    is_plain = bool(elements) and not isinstance(value, dict)
    for element in elements:
        stamp, sampled = element.get("timestamp"), element.get("sampledValue")
        if not (isinstance(stamp, str) and isinstance(sampled, list) and len(element) == _TWO):
            is_plain = False
        time = read_station_time(stamp, since=since, now=now, notes=notes, zone=zone)
        entry = entries.get(time.raw)
        if entry is None:
            entry = entries[time.raw] = time, {}
        samples = items(element.get("sampledValue"), notes)
        if len(samples) > left:
            notes.add("too_many_samples")
            samples = samples[:left]
        left -= len(samples)
        is_plain = _add(samples, entry[1], signed, notes) and is_plain
    readings: list[Reading] = []
    for time, contexts in entries.values():
        _read_entry(time, contexts, readings, notes)
    if any(reading.resolution_wh >= _COARSE for reading in readings):
        notes.add("register_coarse")
    return Readings(tuple(readings), tuple(signed), is_plain and notes.isdisjoint(_NOT_PLAIN))


def _read_usual(
    value: object, since: datetime, now: datetime, notes: set[str], zone: tzinfo
) -> Readings | None:
    """Returns the values of one element by the book whose shape is known; None: look closer.

    It notes nothing unless it returns them.
    """
    if type(value) is not list or len(cast("list[object]", value)) != 1:
        return None
    element = cast("list[Any]", value)[0]
    if type(element) is not dict:
        return None
    members = cast("dict[str, Any]", element)
    stamp, samples = members.get("timestamp"), members.get("sampledValue")
    if type(stamp) is not str or type(samples) is not list or len(members) != _TWO:
        return None
    shape = _shape_of(cast("list[Any]", samples))
    texts = None if shape is None else _texts_of(cast("list[dict[str, Any]]", samples), shape)
    if shape is None or texts is None:
        return None
    time = read_station_time(stamp, since=since, now=now, notes=notes, zone=zone)
    if shape.notes:
        notes |= shape.notes
    energy, step = None, _WH
    if shape.energy is not None:
        place, meaning = shape.energy
        energy, step = _energy([(meaning, texts[place])])
        if step >= _COARSE:
            notes.add("register_coarse")
    facts: list[int | None] = [None] * (_FIRST_SENSOR + 3)
    for place, fact, factor, unit in shape.facts:
        number = float(texts[place]) * factor
        facts[fact] = _whole(_celsius(number, unit) if unit else number)
    power, current, voltage, ev_current, ev_voltage, percent, body, outlet, inlet = facts
    if percent is not None and not 0 <= percent <= _MAX_PERCENT:
        percent = None
    reading = Reading(
        time, shape.context, energy, step, power, current, voltage, ev_current, ev_voltage,
        percent, (body, outlet, inlet),
    )  # fmt: skip
    return Readings((reading,), (), notes.isdisjoint(_NOT_PLAIN))


def _shape_of(samples: list[Any]) -> _Shape | None:
    """Returns what samples measure together; None: they have to be read one by one."""
    try:
        key = tuple([
            (get("measurand"), get("unit"), get("context"), get("phase"), get("location"))
            for get in [sample.get for sample in samples]
        ])  # fmt: skip
        if key in _shapes:
            return _shapes[key]
    except (AttributeError, TypeError):  # no objects, or a list or an object in place of a text
        return None
    shape = _read_shape([meaning_of(sample) for sample in samples])
    chars = sum(len(str(part)) for parts in key for part in parts)
    if len(_shapes) < _MOST_SHAPES and chars < _MOST_SHAPE_CHARS:
        _shapes[key] = shape
    return shape


def _texts_of(samples: list[dict[str, Any]], shape: _Shape) -> list[str] | None:
    """Returns the numbers of samples by the book; None: one of them is not."""
    if [*map(len, samples)] != shape.sizes:
        return None
    texts = [sample.get("value") for sample in samples]
    for text in texts:
        if type(text) is not str or not plain_number(text):
            return None
    return cast("list[str]", texts)


def _read_shape(meanings: Sequence[SampleMeaning]) -> _Shape | None:
    contexts = {meaning.context for meaning in meanings}
    if len(contexts) != 1 or len(meanings) > _MOST_OF_SHAPE:
        return None
    energy: tuple[int, SampleMeaning] | None = None
    facts: dict[int, tuple[int, int, int, str]] = {}
    for place, meaning in enumerate(meanings):
        if not meaning.members or meaning.kind is None:
            return None
        if meaning.kind == ENERGY:
            if energy is not None:
                return None
            energy = place, meaning
            continue
        fact = _fact_of(meaning)
        if fact is None or fact in facts:
            return None
        unit = meaning.unit if meaning.kind == TEMPERATURE else ""
        facts[fact] = place, fact, meaning.factor, unit
    notes = frozenset[str]().union(*(meaning.notes for meaning in meanings))
    sizes = [meaning.members for meaning in meanings]
    return _Shape(sizes, contexts.pop()[:_CONTEXT_CHARS], energy, tuple(facts.values()), notes)


def _fact_of(meaning: SampleMeaning) -> int | None:
    """Returns which fact of a reading a sample is."""
    if meaning.kind == TEMPERATURE:
        return None if meaning.sensor is None else _FIRST_SENSOR + meaning.sensor
    return _FACTS.get((meaning.kind or "", meaning.is_in_car))


def _add(
    samples: Sequence[Mapping[str, Any]],
    contexts: dict[str, _Samples],
    signed: list[str],
    notes: set[str],
) -> bool:
    """Adds samples by context. Returns whether each is by the schema."""
    is_plain = bool(samples)
    for sample in samples:
        if sample.get("format") == _SIGNED:
            is_plain = False
            if isinstance(sample.get("value"), str):
                signed.append(sample["value"])
            continue
        meaning = meaning_of(sample)
        value = sample.get("value")
        if len(sample) != meaning.members or type(value) is not str:
            is_plain = False
        if meaning.notes:
            notes.update(meaning.notes)
        if meaning.kind is None:
            continue
        text = number_text(value, notes)
        if text is not None:
            of_context = contexts.get(meaning.context)
            if of_context is None:
                of_context = contexts[meaning.context] = []
            of_context.append((meaning, text))
    return is_plain


def _read_entry(
    time: StationTime,
    contexts: Mapping[str, _Samples],
    readings: list[Reading],
    notes: set[str],
) -> None:
    """Adds one reading of the context that counts, and those of begin and end beside it."""
    if len(contexts) == 1:
        for context, samples in contexts.items():
            readings.append(_reading(time, context, samples))
        return
    if not contexts:
        return
    ordered = sorted(contexts, key=lambda context: contexts[context][0][0].order)
    registers = [
        context
        for context in ordered
        if any(meaning.kind == ENERGY for meaning, _ in contexts[context])
    ]
    if len(registers) > 1:
        notes.add("two_registers")
    chosen = registers[0] if registers else ordered[0]
    # What the chosen context does not measure comes from the next ones, the start's never.
    samples = list(contexts[chosen])
    measured = {meaning.kind for meaning, _ in samples} | {ENERGY}
    for context in ordered:
        if context in (chosen, BEGIN):
            continue
        more = [sample for sample in contexts[context] if sample[0].kind not in measured]
        samples += more
        measured.update(meaning.kind for meaning, _ in more)
    if BEGIN in registers and chosen != BEGIN:
        readings.append(_reading(time, BEGIN, contexts[BEGIN]))
    readings.append(_reading(time, chosen, samples))
    if END in registers and chosen != END:
        readings.append(_reading(time, END, contexts[END]))


def _reading(time: StationTime, context: str, samples: _Samples) -> Reading:
    energies: _Samples = []
    powers: _Samples = []
    currents: _Samples = []
    voltage = ev_current = ev_voltage = soc = None
    temperatures: list[int | None] = [None, None, None]
    for sample in samples:
        meaning, text = sample
        kind = meaning.kind
        if kind == ENERGY:
            energies.append(sample)
            continue
        value = float(text) * meaning.factor
        if kind == POWER:
            powers.append(sample)
        elif kind == CURRENT:
            if meaning.is_in_car:
                ev_current = value if ev_current is None else max(ev_current, value)
            else:
                currents.append(sample)
        elif kind == VOLTAGE:
            if meaning.is_in_car:
                ev_voltage = value if ev_voltage is None else max(ev_voltage, value)
            else:
                voltage = value if voltage is None else max(voltage, value)
        elif kind == SOC:
            soc = value
        elif kind == TEMPERATURE and meaning.sensor is not None:
            temperatures[meaning.sensor] = _whole(_celsius(value, meaning.unit))
    energy, step = _energy(energies)
    percent = _whole(soc)
    return Reading(
        time,
        context[:_CONTEXT_CHARS],
        energy,
        step,
        _whole(_total(powers)),
        _whole(_highest(currents)),
        _whole(voltage),
        _whole(ev_current),
        _whole(ev_voltage),
        percent if percent is not None and 0 <= percent <= _MAX_PERCENT else None,
        (temperatures[0], temperatures[1], temperatures[2]),
    )


def _energy(samples: _Samples) -> tuple[Decimal | None, Decimal]:
    """Returns the register and its step: the total, else the sum of the phases."""
    if len(samples) > 1:
        best = min(meaning.place for meaning, _ in samples)
        samples = [sample for sample in samples if sample[0].place == best]
        whole = [sample for sample in samples if not sample[0].phase]
        samples = whole[-1:] or list({sample[0].phase: sample for sample in samples}.values())
    total: Decimal | None = None
    step = _NO_STEP
    for meaning, text in samples:
        factor = meaning.factor
        value = Decimal(text) if factor == 1 else Decimal(text) * factor
        total = value if total is None else total + value
        point = text.find(".")
        own = _step(factor, 0 if point < 0 else len(text) - point - 1)
        step = own if step is _NO_STEP else max(step, own)
    return total, _WH if step is _NO_STEP else step


@cache
def _step(factor: int, decimals: int) -> Decimal:
    return Decimal(factor).scaleb(-decimals)


def _total(samples: _Samples) -> float | None:
    """Returns what the station says of all phases, else their sum; of one phase the last counts."""
    if not samples:
        return None
    best = min(meaning.place for meaning, _ in samples)
    phases = {sample[0].phase: _value(sample) for sample in samples if sample[0].place == best}
    total = phases.get("")
    return sum(phases.values()) if total is None else total


def _highest(samples: _Samples) -> float | None:
    """Returns the current of the highest phase."""
    if not samples:
        return None
    best = min(meaning.place for meaning, _ in samples)
    return max(_value(sample) for sample in samples if sample[0].place == best)


def _value(sample: tuple[SampleMeaning, str]) -> float:
    return float(sample[1]) * sample[0].factor


def _celsius(value: float, unit: str) -> float:
    if unit == "k":
        return value - _ABSOLUTE_ZERO
    if unit == "fahrenheit":
        return (value - 32) * 5 / 9
    return value


def _whole(value: float | None) -> int | None:
    if value is None:
        return None
    rounded = floor(value + 0.5)
    return rounded if -_MAX_INT <= rounded <= _MAX_INT else None
