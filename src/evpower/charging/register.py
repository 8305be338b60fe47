"""The energy of a session from a station's register, which may jump, wrap, reset and lie.

A number is believed only in context: one value that is too low or too high changes nothing; values
that agree with each other begin a new segment, until the register comes back. The energy is the sum
over the segments, and what lies between two of them is not billed. Registers are Wh.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from operator import attrgetter
from typing import Final, Literal, NamedTuple

from evpower.charging.events import Reading, StationTime
from evpower.foundation.value import Value

TOLERANCE_WH: Final = Decimal(20)  # or the register's step, where that is more
LOWER_AGREE: Final = 2  # so many lower values that agree begin a segment
HIGHER_AGREE: Final = 3  # so many values above what the connector can deliver
_MICROSECOND: Final = timedelta(microseconds=1)
_NO_TIME: Final = timedelta()
_TENTHS_PER_WH: Final = 10 * (timedelta(hours=1) // _MICROSECOND)
_EARLIEST: Final = datetime(2015, 1, 1, tzinfo=UTC)
# Which value of one entry counts for progress; an unknown context comes last.
_RANKS: Final = {
    "Sample.Periodic": 0, "": 0, "Sample.Clock": 1, "Trigger": 2, "Interruption.Begin": 3,
    "Interruption.End": 3, "Transaction.End": 4,
}  # fmt: skip
_UNRANKED: Final = 5

# trusted: it counts. suspect: it may begin a segment. history: it is older than what counts.
# segment, jump: it began one, after lower values, or after values above the connector's power.
# return: it counts, and the lower segment before it was wrong.
Outcome = Literal["trusted", "suspect", "history", "segment", "jump", "return"]
FOLLOWING: Final[frozenset[Outcome]] = frozenset({"trusted", "return"})  # it goes on from another
EnergyFlaw = Literal["implausible_energy", "negative_energy", "no_register"]


class MeterPoint(Value, frozen=True):
    """A register, and when it was read by both clocks."""

    wh: Decimal
    at: datetime  # received by EvPower
    station_at: datetime | None  # by the station's clock; None: unusable
    resolution_wh: Decimal = Decimal(1)


class MeterRegister(Value, frozen=True):
    """What is known of a transaction's register."""

    since: datetime | None = None  # when the transaction began, by our clock
    begun: MeterPoint | None = None  # where the present segment began
    last: MeterPoint | None = None  # the last trusted value; its register never falls in a segment
    closed_wh: Decimal = Decimal(0)  # the sum of the earlier segments
    has_values: bool = False  # a value after the start was trusted
    suspects: tuple[MeterPoint, ...] = ()  # in a row, agreeing with each other, on one side of last
    before: "MeterRegister | None" = None  # of lower values, as long as no energy flowed since them

    @property
    def exact_wh(self) -> Decimal:
        """The energy so far."""
        if self.begun is None or self.last is None:
            return self.closed_wh
        since_wh = self.last.wh - self.begun.wh
        return self.closed_wh + since_wh if since_wh > 0 else self.closed_wh

    @property
    def energy_wh(self) -> int:
        """The energy so far in whole Wh, rounded down."""
        return int(self.exact_wh)


class Observed(NamedTuple):
    """A register after a value, and what the value was taken for."""

    register: MeterRegister
    outcome: Outcome


class FinalEnergy(NamedTuple):
    """The energy of an ended transaction."""

    register: MeterRegister
    energy_wh: int
    is_estimated: bool  # no last value of the station says so
    flaw: EnergyFlaw | None  # why an operator should look at it; what is plausible is in energy_wh
    is_return: bool = False  # the lower segment before it was wrong


def begin(start: MeterPoint | None, since: datetime) -> MeterRegister:
    """Returns the register of a transaction; None: the station did not say where it began."""
    return MeterRegister(since, start, start)


def point(wh: Decimal, time: StationTime, at: datetime, resolution_wh: Decimal) -> MeterPoint:
    """Returns a value with both times; the station's only where it can be one."""
    station_at = time.at
    if station_at is not None:
        # A stamp ahead of its receipt is a wrong one, and would allow any energy.
        station_at = min(station_at, at) if station_at >= _EARLIEST else None
    return MeterPoint(wh, at, station_at, resolution_wh)


def observe(register: MeterRegister, value: MeterPoint, power_w: int) -> Observed:
    """Returns the register after one more value; `power_w` is what the connector can deliver."""
    last, begun = register.last, register.begun
    if last is None or begun is None:
        return Observed(register.replace(begun=value, last=value, has_values=True), "trusted")
    back = _back(register, value, power_w)
    if back is not None:
        return Observed(back, "return")
    if _follows(last, value, power_w) and _fits_session(register, value, power_w):
        if value.wh < last.wh:  # within the tolerance
            value = value.replace(wh=last.wh)
        trusted = MeterRegister(
            register.since, begun, value, register.closed_wh, has_values=True,
            before=register.before if value.wh - begun.wh <= TOLERANCE_WH else None,
        )  # fmt: skip
        return Observed(trusted, "trusted")
    if _is_history(begun, last, value):
        return Observed(register, "history")
    return _suspect(register, last, value, power_w)


def was_seen(value: MeterPoint, register: MeterRegister) -> bool:
    """Returns whether a value that may be a repeated one came before.

    It is not later than the last one that counts, by the station's clock, or is a suspect already.
    """
    last, at = register.last, value.station_at
    if at is None or last is None or last.station_at is None:
        return False
    return at <= last.station_at or any(
        (suspect.station_at, suspect.wh) == (at, value.wh) for suspect in register.suspects
    )


def finish(
    register: MeterRegister, stop: MeterPoint | None, end: MeterPoint | None, power_w: int
) -> FinalEnergy:
    """Returns the energy at the end of a transaction.

    `stop` is the register of the stop itself, `end` the station's closing meter value.
    """
    flaw: EnergyFlaw | None = None
    if stop is not None and register.last is not None and register.begun is not None:
        after, outcome = observe(register, stop, power_w)
        if outcome in FOLLOWING:  # up to the tolerance below the last value it is itself the bill
            assert after.begun is not None, "it has a value"  # noqa: S101
            energy_wh = int(after.closed_wh + max(stop.wh - after.begun.wh, Decimal(0)))
            return FinalEnergy(
                after, energy_wh, is_estimated=False, flaw=None, is_return=outcome == "return"
            )
        if outcome in {"segment", "jump"}:
            return FinalEnergy(after, after.energy_wh, is_estimated=False, flaw=None)
        if stop.wh > register.last.wh:
            flaw = "implausible_energy"
        elif stop.wh < register.begun.wh - tolerance_wh(register.begun, stop):
            flaw = "negative_energy"
    if end is not None and register.last is not None:
        after, outcome = observe(register, end, power_w)
        if outcome in FOLLOWING:
            return FinalEnergy(
                after, after.energy_wh, is_estimated=False, flaw=flaw,
                is_return=outcome == "return",
            )  # fmt: skip
    if flaw is None and not register.has_values:
        flaw = "no_register"
    return FinalEnergy(register, register.energy_wh, is_estimated=True, flaw=flaw)


def tolerance_wh(earlier: MeterPoint, later: MeterPoint) -> Decimal:
    """Returns by how much a register may seem to run back."""
    return max(TOLERANCE_WH, earlier.resolution_wh, later.resolution_wh)


def can_deliver(energy_wh: Decimal, earlier: MeterPoint, later: MeterPoint, power_w: int) -> bool:
    """Returns whether the connector can have delivered so much between two values.

    A tenth more than its power, and a step of the register.
    """
    step_wh = max(later.resolution_wh, earlier.resolution_wh)
    return _is_within(energy_wh, step_wh, _longer_span(earlier, later), power_w)


def most_wh(earlier: MeterPoint, later: MeterPoint, power_w: int) -> Decimal:
    """Returns the most that `can_deliver` takes."""
    step_wh = max(later.resolution_wh, earlier.resolution_wh)
    return Decimal(_most_tenths(_longer_span(earlier, later), power_w)) / _TENTHS_PER_WH + step_wh


def _is_within(energy_wh: Decimal, step_wh: Decimal, span: timedelta, power_w: int) -> bool:
    """Returns whether a power delivers so much in a time: a tenth more, and a register's step."""
    return (energy_wh - step_wh) * _TENTHS_PER_WH <= _most_tenths(span, power_w)


def _longer_span(earlier: MeterPoint, later: MeterPoint) -> timedelta:
    """Returns the time between two values by the clock that has the longer one."""
    span = later.at - earlier.at
    if later.station_at is None or earlier.station_at is None:
        return span
    return max(span, later.station_at - earlier.station_at)


def _most_tenths(span: timedelta, power_w: int) -> int:
    """Returns a tenth more than a power delivers, in W us / 10."""
    return power_w * (span // _MICROSECOND) * 11 if span > _NO_TIME else 0


def for_progress(readings: Sequence[Reading]) -> list[Reading]:
    """Returns one reading for each entry, the oldest first, with the value that counts.

    The value at a transaction's begin is never progress.
    """
    if len(readings) == 1:
        return [reading for reading in readings if reading.context != "Transaction.Begin"]
    if all(reading.time.at is not None for reading in readings):
        readings = sorted(readings, key=attrgetter("time.at"))
    merged: list[Reading] = []
    for raw, entry in groupby(readings, key=attrgetter("time.raw")):
        parts = [reading for reading in entry if reading.context != "Transaction.Begin"]
        merged += parts if raw is None else [_merge(parts)] if parts else []
    return merged


def at_begin(readings: Iterable[Reading]) -> Reading | None:
    """Returns the reading at the transaction's begin, which sets its start and nothing else."""
    for reading in readings:
        if reading.context == "Transaction.Begin" and reading.energy_wh is not None:
            return reading
    return None


def at_end(readings: Iterable[Reading]) -> Reading | None:
    """Returns the station's closing value; None: it sent none."""
    closing: Reading | None = None
    for reading in readings:
        if reading.context == "Transaction.End" and reading.energy_wh is not None:
            closing = reading
    return closing


def _merge(parts: Sequence[Reading]) -> Reading:
    """Returns one reading of an entry's parts: each fact from the part that ranks first."""
    ranked = sorted(parts, key=lambda part: _RANKS.get(part.context, _UNRANKED))
    best = next((part for part in ranked if part.energy_wh is not None), ranked[0])
    known: dict[str, object] = {}
    for name in (
        "power_w", "current_ma", "voltage_mv", "ev_current_ma", "ev_voltage_mv", "soc_percent",
    ):  # fmt: skip
        known[name] = next(
            (value for part in ranked if (value := getattr(part, name)) is not None), None
        )
    temperatures = tuple(
        next((value for value in values if value is not None), None)
        for values in zip(*(part.temperatures for part in ranked), strict=True)
    )
    return best.replace(**known, temperatures=temperatures)


def _follows(earlier: MeterPoint, later: MeterPoint, power_w: int) -> bool:
    """Returns whether the connector can have got from one value to the other."""
    grown_wh = later.wh - earlier.wh
    if grown_wh < 0 and grown_wh < -tolerance_wh(earlier, later):
        return False
    return can_deliver(grown_wh, earlier, later, power_w)


def _fits_session(register: MeterRegister, value: MeterPoint, power_w: int) -> bool:
    """Returns whether the connector can have delivered the whole energy since the start.

    Between two values either clock may be the right one. Over the session only ours is: a station
    whose clock is set right may seem to have charged for hours.
    """
    if register.since is None or register.begun is None:
        return True
    energy_wh = register.closed_wh + value.wh - register.begun.wh
    return _is_within(energy_wh, value.resolution_wh, value.at - register.since, power_w)


def _back(register: MeterRegister, value: MeterPoint, power_w: int) -> MeterRegister | None:
    """Returns the register before its lower values where a value goes on from there.

    They were wrong then. It may also have restarted and grown as far in one step: no energy is
    billed that may be billed already.
    """
    before = register.before
    last = None if before is None else before.last
    if before is None or last is None:
        return None
    before = before.replace(since=register.since)
    if not (_follows(last, value, power_w) and _fits_session(before, value, power_w)):
        return None
    value = value.replace(wh=max(value.wh, last.wh))
    back = before.replace(last=value, has_values=True)
    return back if back.exact_wh >= register.exact_wh else None


def _is_history(begun: MeterPoint, last: MeterPoint, value: MeterPoint) -> bool:
    """Returns whether a value is an older one of the present segment that came late."""
    return (
        value.station_at is not None
        and last.station_at is not None
        and value.station_at < last.station_at
        and begun.wh <= value.wh <= last.wh
    )


def _suspect(
    register: MeterRegister, last: MeterPoint, value: MeterPoint, power_w: int
) -> Observed:
    is_lower = value.wh < last.wh
    suspects = register.suspects
    is_same_side = bool(suspects) and (suspects[-1].wh < last.wh) == is_lower
    if is_same_side and _follows(suspects[-1], value, power_w):
        suspects = (*suspects, value)
    else:
        suspects = (value,)
    if len(suspects) < (LOWER_AGREE if is_lower else HIGHER_AGREE):
        return Observed(register.replace(suspects=suspects), "suspect")
    first, highest = suspects[0], value.replace(wh=max(suspect.wh for suspect in suspects))
    before = None
    if is_lower and highest.wh - first.wh <= TOLERANCE_WH:
        before = register.before or register.replace(suspects=())
    begun = MeterRegister(
        register.since, first, highest, register.exact_wh, has_values=True, before=before
    )
    return Observed(begun, "segment" if is_lower else "jump")
