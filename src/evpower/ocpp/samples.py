"""What one sampled value measures, by its measurand, unit, context, phase and location.

The same few combinations come in every message, so each is looked up once.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

ENERGY: Final = "energy"
POWER: Final = "power"
CURRENT: Final = "current"
VOLTAGE: Final = "voltage"
SOC: Final = "soc"
TEMPERATURE: Final = "temperature"
BEGIN: Final = "Transaction.Begin"
END: Final = "Transaction.End"

_ENERGY_REGISTER: Final = "Energy.Active.Import.Register"
# The order in which contexts count as progress; any other word comes behind.
_ORDER: Final = {
    "Sample.Periodic": 0, "": 0, "Sample.Clock": 1, "Trigger": 2, "Interruption.Begin": 3,
    "Interruption.End": 3, END: 4, "Other": 5, BEGIN: 9,
}  # fmt: skip
_UNKNOWN_ORDER: Final = 6
_KINDS: Final = {
    _ENERGY_REGISTER: ENERGY, "Power.Active.Import": POWER, "Current.Import": CURRENT,
    "Voltage": VOLTAGE, "SoC": SOC, "Temperature": TEMPERATURE,
}  # fmt: skip
_KNOWN: Final = frozenset(_KINDS) | {
    "Energy.Active.Export.Register", "Energy.Reactive.Export.Register",
    "Energy.Reactive.Import.Register", "Energy.Active.Export.Interval",
    "Energy.Active.Import.Interval", "Energy.Reactive.Export.Interval",
    "Energy.Reactive.Import.Interval", "Power.Active.Export", "Power.Offered",
    "Power.Reactive.Export", "Power.Reactive.Import", "Power.Factor", "Current.Export",
    "Current.Offered", "Frequency", "RPM",
}  # fmt: skip
# Units, in lower case: what they measure, and the factor to Wh, W, mA, mV, percent.
_UNITS: Final[Mapping[str, tuple[str, int]]] = {
    "wh": (ENERGY, 1), "kwh": (ENERGY, 1000), "mwh": (ENERGY, 1_000_000),
    "w": (POWER, 1), "kw": (POWER, 1000),
    "a": (CURRENT, 1000), "ma": (CURRENT, 1),
    "v": (VOLTAGE, 1000), "kv": (VOLTAGE, 1_000_000), "mv": (VOLTAGE, 1),
    "percent": (SOC, 1), "%": (SOC, 1),
    "celsius": (TEMPERATURE, 1), "celcius": (TEMPERATURE, 1), "c": (TEMPERATURE, 1),
    "°c": (TEMPERATURE, 1), "fahrenheit": (TEMPERATURE, 1), "k": (TEMPERATURE, 1),
}  # fmt: skip
_BY_THE_BOOK: Final = frozenset({
    "Wh", "kWh", "varh", "kvarh", "W", "kW", "VA", "kVA", "var", "kvar", "A", "V", "K", "Celcius",
    "Celsius", "Fahrenheit", "Percent", "Hertz",
})  # fmt: skip
_WITHOUT_UNIT: Final = {
    ENERGY: 1, POWER: 1, CURRENT: 1000, VOLTAGE: 1000, SOC: 1, TEMPERATURE: 1
}  # fmt: skip
_PHASES: Final = frozenset({"L1", "L2", "L3", "L1-N", "L2-N", "L3-N"})
_ALL_PHASES: Final = _PHASES | {"N", "L1-L2", "L2-L3", "L3-L1"}
_CONTEXTS: Final = frozenset(_ORDER) - {""}
_LOCATIONS: Final = frozenset({"Cable", "EV", "Inlet", "Outlet", "Body"})
_SENSORS: Final = {"Body": 0, "Outlet": 1, "": 1, "Inlet": 2}
# What is measured at the outlet is what the car got; at the inlet it has the station's losses.
_PLACES: Final = {"Outlet": 0, "": 0, "Cable": 1, "Body": 2, "EV": 3, "Inlet": 4}
_UNKNOWN_PLACE: Final = 5
_KILO: Final = 1000
_MOST_MEANINGS: Final = 4096
_MOST_CHARS: Final = 200


class SampleMeaning(NamedTuple):
    """What a sampled value measures; `kind` None: nothing that is used."""

    kind: str | None
    context: str
    order: int  # of the context
    factor: int
    phase: str  # L1, L2 or L3; "": a total
    place: int  # the best one least
    sensor: int | None  # of a temperature: body, outlet, inlet
    is_in_car: bool
    unit: str  # in lower case
    notes: frozenset[str]
    members: int  # how many say so; 0: one of them is not by the book


_meanings: dict[tuple[object, ...], SampleMeaning] = {}


def meaning_of(sample: Mapping[str, Any]) -> SampleMeaning:
    """Returns what a sampled value measures."""
    key = (
        sample.get("measurand"), sample.get("unit"), sample.get("context"), sample.get("phase"),
        sample.get("location"),
    )  # fmt: skip
    try:
        known = _meanings.get(key)
    except TypeError:  # a list or an object where a text is due
        return _read(*(part if type(part) is str else None for part in key))
    if known is None:
        known = _read(*(part if type(part) is str else None for part in key))
        if len(_meanings) < _MOST_MEANINGS and sum(map(len, map(str, key))) < _MOST_CHARS:
            _meanings[key] = known
    return known


def _read(
    measurand: str | None,
    unit: str | None,
    context: str | None,
    phase: str | None,
    location: str | None,
) -> SampleMeaning:
    notes: set[str] = set()
    written = (unit or "").strip()
    members = _members(measurand, unit, context, phase, location)
    context = context or ""
    if context not in _ORDER:
        notes.add("context_unknown")
    if written and written not in _BY_THE_BOOK:
        notes.add("unit_unknown")
    kind, factor = _kind(measurand, written, context, notes)
    place = location or ""
    if phase == "N":
        kind = None
    if kind == ENERGY and factor == _KILO:
        notes.add("energy_in_kwh")
    return SampleMeaning(
        kind,
        context,
        _ORDER.get(context, _UNKNOWN_ORDER),
        factor,
        phase[:2] if phase in _PHASES else "",
        _PLACES.get(place, _UNKNOWN_PLACE),
        _SENSORS.get(place),
        place == "EV",
        written.lower(),
        frozenset(notes),
        members,
    )


def _members(
    measurand: str | None,
    unit: str | None,
    context: str | None,
    phase: str | None,
    location: str | None,
) -> int:
    """Returns how many members there are, and the value's; 0 if the schema refuses one."""
    by_the_book = (
        (measurand, _KNOWN), (unit, _BY_THE_BOOK), (context, _CONTEXTS), (phase, _ALL_PHASES),
        (location, _LOCATIONS),
    )  # fmt: skip
    given = [(member, words) for member, words in by_the_book if member is not None]
    return len(given) + 1 if all(member in words for member, words in given) else 0


def _kind(
    measurand: str | None, unit: str, context: str, notes: set[str]
) -> tuple[str | None, int]:
    """Returns what is measured and the factor of the unit."""
    measured, factor = _UNITS.get(unit.lower(), (None, 1))
    if measurand:
        kind = _KINDS.get(measurand)
        if kind is None:
            if measurand not in _KNOWN:
                notes.add("measurand_unknown")
        elif not unit:
            factor = _WITHOUT_UNIT[kind]
        elif measured != kind:
            notes.add("unit_of_another_measurand")
            kind = None
        return kind, factor
    # Without a measurand it is the energy register only if the unit is of energy or absent.
    if not unit:
        return ENERGY, 1
    if measured != ENERGY:
        notes.add("measurand_by_unit")
        if context not in _ORDER:
            return None, 1
    return measured, factor
