"""Reads meter values: which number is energy, in which unit, in which context."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, NamedTuple

from evpower.charging import Reading, StationTime
from evpower.ocpp.times import read_time
from evpower.ocpp.values import items, number

_ENERGY: Final = "Energy.Active.Import.Register"
_BEGIN: Final = "Transaction.Begin"
_END: Final = "Transaction.End"
_PERIODIC: Final = "Sample.Periodic"
# The order in which contexts count as progress; any other word comes behind.
_ORDER: Final = {
    _PERIODIC: 0, "": 0, "Sample.Clock": 1, "Trigger": 2, "Interruption.Begin": 3,
    "Interruption.End": 3, _END: 4, "Other": 5, _BEGIN: 9,
}  # fmt: skip
_UNKNOWN_ORDER: Final = 6
_KINDS: Final = {
    _ENERGY: "energy", "Power.Active.Import": "power", "Current.Import": "current",
    "Voltage": "voltage", "SoC": "soc", "Temperature": "temperature",
}  # fmt: skip
_KNOWN: Final = frozenset(_KINDS) | {
    "Energy.Active.Export.Register", "Energy.Reactive.Export.Register",
    "Energy.Reactive.Import.Register", "Energy.Active.Export.Interval",
    "Energy.Active.Import.Interval", "Energy.Reactive.Export.Interval",
    "Energy.Reactive.Import.Interval", "Power.Active.Export", "Power.Offered",
    "Power.Reactive.Export", "Power.Reactive.Import", "Power.Factor", "Current.Export",
    "Current.Offered", "Frequency", "RPM",
}  # fmt: skip
_WH: Final = Decimal(1)
_KILO: Final = Decimal(1000)
# Units, in lower case: what they measure, and the factor to Wh, W, mA, mV, percent.
_UNITS: Final[Mapping[str, tuple[str, Decimal]]] = {
    "wh": ("energy", _WH), "kwh": ("energy", _KILO), "mwh": ("energy", _KILO * _KILO),
    "w": ("power", _WH), "kw": ("power", _KILO),
    "a": ("current", _KILO), "ma": ("current", _WH),
    "v": ("voltage", _KILO), "kv": ("voltage", _KILO * _KILO), "mv": ("voltage", _WH),
    "percent": ("soc", _WH), "%": ("soc", _WH),
    "celsius": ("temperature", _WH), "celcius": ("temperature", _WH), "c": ("temperature", _WH),
    "°c": ("temperature", _WH), "fahrenheit": ("temperature", _WH), "k": ("temperature", _WH),
}  # fmt: skip
_BY_THE_BOOK: Final = frozenset({
    "Wh", "kWh", "varh", "kvarh", "W", "kW", "VA", "kVA", "var", "kvar", "A", "V", "K", "Celcius",
    "Celsius", "Fahrenheit", "Percent", "Hertz",
})  # fmt: skip
_BLANK_UNIT: Final = {
    "energy": _WH, "power": _WH, "current": _KILO, "voltage": _KILO, "soc": _WH, "temperature": _WH
}  # fmt: skip
_PHASES: Final = frozenset({"L1", "L2", "L3", "L1-N", "L2-N", "L3-N"})
_PLACES: Final = {"Body": 0, "Outlet": 1, "": 1, "Inlet": 2}
# An energy register at the outlet is what the car got; at the inlet it has the station's losses.
_ENERGY_PLACES: Final = {"Outlet": 0, "": 0, "Cable": 1, "Body": 2, "EV": 3, "Inlet": 4}
_MAX_INT: Final = 2**31 - 1
_ABSOLUTE_ZERO: Final = Decimal("273.15")
_MAX_PERCENT: Final = 100
_SIGNED: Final = "SignedData"
_MOST_SAMPLES: Final = 10_000


class Readings(NamedTuple):
    """Meter values as read, in the order of the station, and the signed ones untouched."""

    readings: tuple[Reading, ...]
    signed: tuple[str, ...]


class _SampledValue(NamedTuple):
    kind: str
    value: Decimal
    step: Decimal
    phase: str
    place: str


def read_meter_values(
    value: object, *, since: datetime, now: datetime, notes: set[str]
) -> Readings:
    """Returns the meter values of a request; elements with the same time are one."""
    entries: dict[str | None, tuple[StationTime, dict[str, list[_SampledValue]]]] = {}
    signed: list[str] = []
    left = _MOST_SAMPLES
    for element in items(value, notes):
        time = read_time(element.get("timestamp"), since=since, now=now, notes=notes)
        _, contexts = entries.setdefault(time.raw, (time, {}))
        for sample in items(element.get("sampledValue"), notes):
            left -= 1
            if left < 0:
                notes.add("too_many_samples")
                break
            if sample.get("format") == _SIGNED:
                if isinstance(sample.get("value"), str):
                    signed.append(sample["value"])
                continue
            _add(sample, contexts, notes)
    readings = [
        reading
        for time, contexts in entries.values()
        for reading in _of_entry(time, contexts, notes)
    ]
    return Readings(tuple(readings), tuple(signed))


def _add(
    sample: Mapping[str, Any], contexts: dict[str, list[_SampledValue]], notes: set[str]
) -> None:
    context = sample.get("context")
    if type(context) is not str:
        context = ""
    elif context not in _ORDER:
        notes.add("context_unknown")
    meaning = _kind(sample.get("measurand"), sample.get("unit"), context, notes)
    if meaning is None:
        return
    value = number(sample.get("value"), notes)
    if value is None:
        return
    kind, factor = meaning
    exponent = value.as_tuple().exponent
    step = factor.scaleb(exponent) if isinstance(exponent, int) else factor
    if kind == "temperature":
        value = _celsius(value, str(sample.get("unit") or "").lower())
    phase, place = sample.get("phase"), sample.get("location")
    contexts.setdefault(context, []).append(
        _SampledValue(
            kind,
            value * factor,
            step,
            phase if type(phase) is str else "",
            place if type(place) is str else "",
        )
    )


def _kind(
    measurand: object, unit: object, context: str, notes: set[str]
) -> tuple[str, Decimal] | None:
    """Returns what a sample measures and the factor of its unit; None: nothing that is used."""
    written = unit.strip() if type(unit) is str else ""
    if written and written not in _BY_THE_BOOK:
        notes.add("unit_unknown")
    known = _UNITS.get(written.lower())
    if type(measurand) is str and measurand:
        return _named(measurand, written, known, notes)
    # Without a measurand it is the energy register only if the unit is of energy or absent.
    if not written:
        return "energy", _WH
    if known is None or known[0] != "energy":
        notes.add("measurand_by_unit")
    return known if context in _ORDER or (known and known[0] == "energy") else None


def _named(
    measurand: str, unit: str, known: tuple[str, Decimal] | None, notes: set[str]
) -> tuple[str, Decimal] | None:
    kind = _KINDS.get(measurand)
    if kind is None:
        if measurand not in _KNOWN:
            notes.add("measurand_unknown")
        return None
    if not unit:
        return kind, _BLANK_UNIT[kind]
    if known is not None and known[0] == kind:
        return known
    notes.add("unit_of_another_measurand")
    return None


def _of_entry(
    time: StationTime, contexts: dict[str, list[_SampledValue]], notes: set[str]
) -> list[Reading]:
    """Returns one reading of the context that counts, and one of the end beside it."""
    if not contexts:
        return []
    ordered = sorted(contexts, key=lambda context: _ORDER.get(context, _UNKNOWN_ORDER))
    registers = [
        context
        for context in ordered
        if any(sample.kind == "energy" for sample in contexts[context])
    ]
    if len(registers) > 1:
        notes.add("two_registers")
    chosen = registers[0] if registers else ordered[0]
    # What the chosen context does not measure comes from the next ones, the start's never.
    samples = list(contexts[chosen])
    measured = {sample.kind for sample in samples}
    for context in ordered:
        if context in (chosen, _BEGIN):
            continue
        more = [sample for sample in contexts[context] if sample.kind not in measured]
        samples += [sample for sample in more if sample.kind != "energy"]
        measured.update(sample.kind for sample in more)
    readings = [_reading(time, chosen, samples)]
    if _END in registers and chosen != _END:
        readings.append(_reading(time, _END, contexts[_END]))
    return readings


def _reading(time: StationTime, context: str, samples: Sequence[_SampledValue]) -> Reading:
    of: dict[str, list[_SampledValue]] = {}
    for sample in samples:
        of.setdefault(sample.kind, []).append(sample)
    energy, step = _energy(of.get("energy", ()))
    currents, voltages = of.get("current", ()), of.get("voltage", ())
    percent = _whole(_last(of.get("soc", ())))
    return Reading(
        time=time,
        context=context[:64],
        energy_wh=energy,
        resolution_wh=step,
        power_w=_whole(_total(of.get("power", ()))),
        current_ma=_highest(currents, in_car=False),
        voltage_mv=_highest(voltages, in_car=False),
        ev_current_ma=_highest(currents, in_car=True),
        ev_voltage_mv=_highest(voltages, in_car=True),
        soc_percent=percent if percent is not None and 0 <= percent <= _MAX_PERCENT else None,
        temperatures=_temperatures(of.get("temperature", ())),
    )


def _energy(samples: Sequence[_SampledValue]) -> tuple[Decimal | None, Decimal]:
    """Returns the register and its step: the total, else the sum of the phases."""
    if not samples:
        return None, _WH
    best = min(_ENERGY_PLACES.get(sample.place, 5) for sample in samples)
    here = [sample for sample in samples if _ENERGY_PLACES.get(sample.place, 5) == best]
    totals = [sample for sample in here if sample.phase not in _PHASES and sample.phase != "N"]
    if totals:
        return totals[-1].value, totals[-1].step
    phases = {sample.phase: sample for sample in here if sample.phase in _PHASES}
    if not phases:
        return None, _WH
    return sum((sample.value for sample in phases.values()), Decimal(0)), max(
        sample.step for sample in phases.values()
    )


def _total(samples: Sequence[_SampledValue]) -> Decimal | None:
    totals = [sample for sample in samples if sample.phase not in _PHASES and sample.phase != "N"]
    if totals:
        return totals[-1].value
    phases = {sample.phase: sample.value for sample in samples if sample.phase in _PHASES}
    return sum(phases.values(), Decimal(0)) if phases else None


def _highest(samples: Sequence[_SampledValue], *, in_car: bool) -> int | None:
    values = [sample.value for sample in samples if (sample.place == "EV") == in_car]
    return _whole(max(values)) if values else None


def _last(samples: Sequence[_SampledValue]) -> Decimal | None:
    return samples[-1].value if samples else None


def _temperatures(samples: Sequence[_SampledValue]) -> tuple[int | None, int | None, int | None]:
    places: list[int | None] = [None, None, None]
    for sample in samples:
        place = _PLACES.get(sample.place)
        if place is not None:
            places[place] = _whole(sample.value)
    return places[0], places[1], places[2]


def _celsius(value: Decimal, unit: str) -> Decimal:
    if unit == "k":
        return value - _ABSOLUTE_ZERO
    if unit == "fahrenheit":
        return (value - 32) * 5 / 9
    return value


def _whole(value: Decimal | None) -> int | None:
    if value is None:
        return None
    rounded = int(value.quantize(_WH, ROUND_HALF_UP))
    return rounded if -_MAX_INT <= rounded <= _MAX_INT else None
