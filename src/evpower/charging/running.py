"""A transaction that runs: what is stored of it, and how meter values move it on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from evpower import tariffs
from evpower.charging.events import Reading, StationTime
from evpower.charging.limits import Flow, Limits
from evpower.charging.model import SessionState, StationTransaction, StopStep
from evpower.charging.our_time import SKEW_LIMIT, our_time, placed, right_time
from evpower.charging.parking import is_idle
from evpower.charging.register import (
    FOLLOWING,
    MeterPoint,
    MeterRegister,
    Outcome,
    for_progress,
    observe,
    point,
    was_seen,
)
from evpower.foundation.json_reader import read_stored_json
from evpower.foundation.value import Value
from evpower.tariffs import Pricer, Sample, Snapshot, Tally

_COUNTED: Final = FOLLOWING | {"segment", "jump"}
_LONGEST_INTERVAL_S: Final = 3_600
_INT2: Final = range(-(2**15), 2**15)
_INT4: Final = range(-(2**31), 2**31)
_HOUR_S: Final = 3_600
_SECOND: Final = timedelta(seconds=1)
_NO_TIME: Final = timedelta()
_USUAL_INTERVAL_S: Final = 60  # of a station whose own is not known yet


@dataclass(frozen=True, slots=True)
class RunningSession:
    """The session of a transaction, with its limits and the money it may use."""

    id: UUID
    client_id: UUID
    state: SessionState
    started_at: datetime
    ended_at: datetime | None
    energy_wh: int
    cost_minor: int
    limit_energy_wh: int | None
    limit_amount_minor: int | None
    limit_soc_percent: int | None
    asked_to_end_at: datetime | None  # by the first stop that is no limit's
    stop_reason: str | None
    is_estimated: bool
    quarantined_at: datetime | None
    free_reason: str | None
    station_lost_notified_at: datetime | None
    held_minor: int
    available_minor: int
    snapshot: str | None  # JSON; None: there was no tariff

    @property
    def limits(self) -> Limits:
        """What it may use."""
        return Limits(
            self.limit_energy_wh, self.limit_amount_minor, self.limit_soc_percent, self.held_minor
        )


class Facts(NamedTuple):
    """What was last measured; None: never."""

    power_w: int | None = None
    soc_percent: int | None = None
    current_ma: int | None = None
    voltage_mv: int | None = None
    ev_current_ma: int | None = None
    ev_voltage_mv: int | None = None
    body_temperature: int | None = None
    outlet_temperature: int | None = None
    inlet_temperature: int | None = None


class Progress(Value, frozen=True):
    """How far a transaction is."""

    register: MeterRegister
    tally: Tally
    cost_minor: int = 0
    facts: Facts = Facts()
    interval_s: int | None = None  # between the newest two values
    parked_since: datetime | None = None  # the car takes nothing
    last_value_at: datetime | None = None  # when a value counted last
    flowed_at: datetime | None = None  # when the energy grew or the car's pause ended last
    stop_due_at: datetime | None = None  # when a limit is reached at the present power
    stop_step: StopStep | None = None  # the newest step towards its end; its rows are in stop_steps
    close_due_at: datetime | None = None  # when it ends without a stop, and why
    close_reason: str | None = None
    rebill_due_at: datetime | None = None  # what came after an estimated end is billed then
    tail_wh: Decimal = Decimal(0)  # after the station's own stop; never billed
    after_end: MeterRegister | None = None  # as values after the end show it; None: as it ended

    @property
    def energy_wh(self) -> int:
        """The energy so far."""
        return self.register.energy_wh


class RunningTransaction(Value, frozen=True):
    """A transaction with everything that a frame of it needs, locked."""

    transaction: StationTransaction
    session: RunningSession | None
    progress: Progress
    rated_power_w: int
    skew_s: int | None = None  # how far the station's clock is off; None: not known

    @property
    def pricer(self) -> Pricer | None:
        """The price function of its session; None: it has no tariff."""
        if self.session is None or self.session.snapshot is None:
            return None
        return pricer_of(self.session.snapshot)

    @property
    def interval(self) -> timedelta:
        """So long it is from one of its values to the next, as far as is known."""
        return timedelta(seconds=self.progress.interval_s or _USUAL_INTERVAL_S)

    @property
    def flow(self) -> Flow:
        """What flows, for the limits."""
        progress = self.progress
        interval_s = progress.interval_s
        return Flow(
            progress.last_value_at or self.transaction.received_at,
            progress.tally,
            progress.energy_wh,
            progress.cost_minor,
            progress.facts.power_w if progress.last_value_at else None,
            progress.facts.soc_percent,
            progress.parked_since is not None,
            None if interval_s is None else timedelta(seconds=interval_s),
        )


class StoredValue(Value, frozen=True):
    """A meter value as it is stored: what was read, and what it counts for in the session."""

    reading: Reading
    outcome: Outcome | None = None  # None: it has no energy
    sample: Sample | None = None  # None: it does not count


class MeteredProgress(Value, frozen=True):
    """A transaction after some meter values."""

    progress: Progress
    values: list[StoredValue]

    @property
    def is_above_power(self) -> bool:
        """Whether the newest value is more than the connector can deliver."""
        suspects, last = self.progress.register.suspects, self.progress.register.last
        return bool(suspects) and last is not None and suspects[-1].wh > last.wh

    @property
    def outcomes(self) -> set[Outcome]:
        """What the values were taken for."""
        return {value.outcome for value in self.values if value.outcome is not None}


@lru_cache(maxsize=256)
def snapshot_of(text: str) -> Snapshot:
    """Returns a stored tariff."""
    return tariffs.read_snapshot(cast("Mapping[str, Any]", read_stored_json(text)))


@lru_cache(maxsize=256)
def pricer_of(text: str) -> Pricer:
    """Returns the price function of a stored tariff; one for all sessions that have the same."""
    return Pricer(snapshot_of(text).tariff)


def begin_progress(
    started_at: datetime, meter_wh: Decimal | None, time: StationTime, received_at: datetime
) -> Progress:
    """Returns the progress of a transaction that has used nothing."""
    start = None if meter_wh is None else point(meter_wh, time, received_at, Decimal(1))
    if start is not None:  # its own stamp may be one of a clock that is set right next
        start = start.replace(at=started_at, station_at=None)
    register = MeterRegister(started_at, start, start)
    return Progress(register, tariffs.begin(started_at))


def bounded(
    register: MeterRegister, transaction: StationTransaction, at: datetime, received_at: datetime
) -> MeterRegister:
    """Returns a register that takes what the connector can deliver in the session up to `at`.

    A start that came late may be days old, or of a clock that is days behind: then what was
    received since its receipt counts, or its own span, whichever is longer.
    """
    started_at, start_at = transaction.started_at, transaction.received_at
    if start_at - started_at <= SKEW_LIMIT:  # nearly always
        return register
    return register.replace(since=min(start_at, received_at - (at - started_at) - SKEW_LIMIT))


def advance(
    running: RunningTransaction,
    readings: Sequence[Reading],
    received_at: datetime,
    *,
    are_repeated: bool = False,
) -> MeteredProgress:
    """Returns the progress after these meter values, and what each of them counts for.

    `are_repeated`: a stop's, which repeats the values of its transaction. What was seen counts no
    more, whatever register it is of.
    """
    progress = running.progress
    values: list[StoredValue] = []
    for reading in for_progress(readings):
        progress, value = _advance_one(
            running, progress, reading, received_at, is_repeated=are_repeated
        )
        values.append(value)
    pricer = running.pricer
    if pricer is not None:
        tally = progress.tally
        for value in values:
            if value.sample is not None:
                tally = pricer.add(tally, tariffs.next_period(tally, value.sample))
        cost_minor = tariffs.forecast(pricer).total_minor(tally)
        progress = progress.replace(tally=tally, cost_minor=cost_minor)
    return MeteredProgress(progress, values)


def count_until(running: RunningTransaction, at: datetime) -> tuple[Progress, Sample]:
    """Returns the progress with the time up to a moment counted, as parked or charging as it was.

    No energy is known to have flowed: the next meter value has it.
    """
    progress = running.progress
    sample = Sample(at, progress.energy_wh, is_parked=progress.parked_since is not None)
    pricer = running.pricer
    if pricer is not None:
        tally = pricer.advance(progress.tally, [tariffs.next_period(progress.tally, sample)])[0]
        cost_minor = pricer.cost(tally).total_minor
        progress = progress.replace(tally=tally, cost_minor=cost_minor)
    return progress, sample


def _advance_one(
    running: RunningTransaction,
    progress: Progress,
    reading: Reading,
    received_at: datetime,
    *,
    is_repeated: bool,
) -> tuple[Progress, StoredValue]:
    facts = _measured(progress.facts, reading)
    if reading.energy_wh is None:
        return progress.replace(facts=facts), StoredValue(reading)
    value = point(
        reading.energy_wh, right_time(reading.time, running.skew_s, received_at), received_at,
        reading.resolution_wh,
    )  # fmt: skip
    if is_repeated and was_seen(value, progress.register):
        return progress.replace(facts=facts), StoredValue(reading, "history")
    at = our_time(reading.time, received_at, running.transaction, running.skew_s)
    earlier = bounded(progress.register, running.transaction, at, received_at)
    register, outcome = observe(earlier, value, running.rated_power_w)
    if outcome not in _COUNTED:
        progress = progress.replace(register=register, facts=facts)
        return progress, StoredValue(reading, outcome)
    interval_s = progress.interval_s
    span_s = _span_s(earlier.last, value)
    if progress.last_value_at is not None and 0 < span_s <= _LONGEST_INTERVAL_S:
        interval_s = span_s
    if outcome == "return" and earlier.before is not None:
        earlier = earlier.before  # what came since was wrong
        span_s = _span_s(earlier.last, value)
    exact_wh = register.exact_wh
    grown_wh = exact_wh - earlier.exact_wh
    if reading.power_w is None and span_s:
        facts = facts._replace(power_w=as_int4(int(grown_wh * _HOUR_S / span_s))[0])
    parked_since = progress.parked_since
    is_parked = ends_pause = False
    if parked_since is not None and at > parked_since:  # else what flowed before came late
        is_first = _placed(running, earlier.last) <= parked_since
        is_parked = is_idle(earlier, register, reading, span_s, is_first=is_first)
        ends_pause = not is_parked
        parked_since = parked_since if is_parked else None
        if is_parked and reading.power_w is None:
            facts = facts._replace(power_w=0)
    sample = Sample(
        at, int(exact_wh), reading.power_w, reading.current_ma, is_parked,
        is_timed=reading.time.at is not None,
    )  # fmt: skip
    progress = progress.replace(
        register=register,
        facts=facts,
        interval_s=interval_s,
        parked_since=parked_since,
        last_value_at=received_at,
        flowed_at=received_at if grown_wh > 0 or ends_pause else progress.flowed_at,
    )
    return progress, StoredValue(reading, outcome, sample)


def _placed(running: RunningTransaction, value: MeterPoint | None) -> datetime:
    """Returns when a value was that counted before; where none did, when the transaction began."""
    if value is None:
        return running.transaction.started_at
    return placed(value.station_at, value.at, running.transaction, running.skew_s)


def _span_s(earlier: MeterPoint | None, later: MeterPoint) -> int:
    """Returns the seconds between two values, by the station's clock where both have it."""
    if earlier is None:
        return 0
    if earlier.station_at is not None and later.station_at is not None:
        span = later.station_at - earlier.station_at
    else:
        span = later.at - earlier.at
    return span // _SECOND if span > _NO_TIME else 0


def _measured(known: Facts, reading: Reading) -> Facts:
    measured = (
        reading.power_w, reading.soc_percent, reading.current_ma, reading.voltage_mv,
        reading.ev_current_ma, reading.ev_voltage_mv, *reading.temperatures,
    )  # fmt: skip
    pairs = zip(as_int4(*measured), known, strict=True)
    return Facts._make([before if value is None else value for value, before in pairs])


def as_int4(*values: int | None) -> list[int | None]:
    """Returns numbers as columns of 4 bytes can have them."""
    return [
        value if value is None or value in _INT4 else max(_INT4[0], min(value, _INT4[-1]))
        for value in values
    ]


def as_int2(*values: int | None) -> list[int | None]:
    """Returns numbers as columns of 2 bytes can have them."""
    return [
        value if value is None or value in _INT2 else max(_INT2[0], min(value, _INT2[-1]))
        for value in values
    ]
