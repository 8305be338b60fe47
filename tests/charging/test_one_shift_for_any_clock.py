"""Edge case 13 for any clock, delay and queue: the span of a session, computed as frames do it."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evpower.charging.course import Course, price_course
from evpower.charging.events import StationStart, StationStop, StationTime
from evpower.charging.model import StationTransaction
from evpower.charging.our_time import SKEW_LIMIT, right_time
from evpower.charging.running import (
    Progress,
    RunningSession,
    RunningTransaction,
    advance,
    begin_progress,
)
from evpower.charging.start_match import started_at
from evpower.charging.stop_transaction import ended_at
from evpower.tariffs import Sample, Snapshot, read_tariff, write_snapshot
from tests.charging.place import NOON, POWER_W, read

A_SOM_A_SECOND = read_tariff({"name": "t", "elements": [{"prices": {"time_per_minute": "60"}}]})
SESSION = RunningSession(
    id=UUID(int=1), client_id=UUID(int=2), state="charging", started_at=NOON, ended_at=None,
    energy_wh=0, cost_minor=0, limit_energy_wh=None, limit_amount_minor=None,
    limit_soc_percent=None, asked_to_end_at=None, stop_reason=None, is_estimated=False,
    quarantined_at=None, free_reason=None, station_lost_notified_at=None, held_minor=0,
    available_minor=0,
    snapshot=json.dumps(write_snapshot(Snapshot("t", 1, A_SOM_A_SECOND))),
)  # fmt: skip
SECOND = timedelta(seconds=1)


class Sent(NamedTuple):
    """A frame: its stamp by the station's clock, None if it has none, and when we received it."""

    at: datetime | None
    received_at: datetime


class Charge(NamedTuple):
    """A charge as its frames came."""

    requested_at: datetime | None  # None: by card
    frames: list[Sent]  # its start, its values, its stop
    skew_at_start_s: int | None = None
    skew_s: int | None = None


class Span(NamedTuple):
    begun_at: datetime
    ended_at: datetime
    cost_minor: int

    @property
    def seconds(self) -> float:
        return (self.ended_at - self.begun_at).total_seconds()


def seconds(least: int, most: int) -> st.SearchStrategy[timedelta]:
    return st.integers(least, most).map(lambda number: timedelta(seconds=number))


def stamp(at: datetime | None) -> StationTime:
    return StationTime(at, None if at is None else at.isoformat())


def billed(charge: Charge) -> Span:
    """Take the frames as `start_transaction`, `meter_values` and `stop_transaction` do."""
    first, *values, last = charge.frames
    start = StationStart(
        "S1", 1, "", Decimal(0), None, stamp(first.at), first.received_at
    )  # fmt: skip
    begun_at = started_at(start, charge.requested_at, charge.skew_at_start_s)
    transaction = transaction_of(start, begun_at)
    progress = begin_progress(begun_at, Decimal(0), start.time, start.received_at)
    samples: list[Sample] = []
    for number, value in enumerate(values, 1):
        running = running_of(transaction, progress, charge.skew_s)
        step = advance(running, [read(10 * number, value.at)], value.received_at)
        samples += [value.sample for value in step.values if value.sample is not None]
        progress = step.progress
    stop = StationStop(
        "S1", 1, None, None, Decimal(10 * len(values)), stamp(last.at), "Local", (), (),
        last.received_at,
    )  # fmt: skip
    ended = ended_at(running_of(transaction, progress, charge.skew_s), stop)
    samples = [sample for sample in samples if sample.at <= ended]
    course = Course(begun_at, [*samples, Sample(ended, 10 * len(values))])
    return Span(begun_at, ended, price_course(A_SOM_A_SECOND, course).cost_minor)


def transaction_of(start: StationStart, begun_at: datetime) -> StationTransaction:
    return StationTransaction(
        id=1, station_id="S1", connector=1, text_id=None, id_tag="", purpose="driver",
        session_id=None, meter_start_wh=start.meter_wh, started_at=begun_at,
        start_station_time=start.time.raw, start_station_at=start.time.at,
        received_at=start.received_at, start_shift_s=None, meter_stop_wh=None, ended_at=None,
        end_kind=None, is_end_timed=True, start_number=1, limit_energy_wh=None,
    )  # fmt: skip


def running_of(
    transaction: StationTransaction, progress: Progress, skew_s: int | None
) -> RunningTransaction:
    return RunningTransaction(transaction, SESSION, progress, POWER_W, skew_s)


@st.composite
def prompt_charges(draw: st.DrawFn) -> tuple[list[datetime], datetime | None]:
    """Return when a charge began, was measured and ended by our clock; when it was requested."""
    requested_at = draw(st.none() | st.just(NOON))
    moment = NOON + draw(seconds(0, 300))
    moments = [moment]
    for gap in draw(st.lists(seconds(0, 1_800), min_size=1, max_size=8)):
        moment += gap
        moments.append(moment)
    return moments, requested_at


@given(prompt_charges(), seconds(-110, 110))
@example(([NOON, NOON + 60 * SECOND], NOON), -8 * SECOND)
@example(([NOON, NOON + 60 * SECOND], NOON), 8 * SECOND)
def test_a_constant_offset_changes_no_bill(
    drawn: tuple[list[datetime], datetime | None], off: timedelta
) -> None:
    moments, requested_at = drawn
    own_s = (moments[-1] - moments[0]).total_seconds()
    span = billed(Charge(requested_at, [Sent(at + off, at) for at in moments]))
    exact = billed(Charge(requested_at, [Sent(at, at) for at in moments]))
    assert abs(span.seconds - own_s) <= 1
    assert span.cost_minor == exact.cost_minor


@given(prompt_charges(), seconds(-110, 110), seconds(0, 36_000))
def test_a_stop_that_waited_bills_the_span_of_the_station(
    drawn: tuple[list[datetime], datetime | None], off: timedelta, waited: timedelta
) -> None:
    """Unless it seems to come at once from a clock that was set right: then what was received."""
    moments, requested_at = drawn
    *prompt, last = [Sent(at + off, at) for at in moments]
    span = billed(Charge(requested_at, [*prompt, last._replace(received_at=moments[-1] + waited)]))
    own_s = (moments[-1] - moments[0]).total_seconds()
    assert own_s - 1 <= span.seconds
    most_s = own_s + 1
    if abs(waited - off) <= 10 * SECOND:
        most_s += min(waited, off + 10 * SECOND).total_seconds()
    assert span.seconds <= most_s


@st.composite
def any_charges(draw: st.DrawFn) -> Charge:
    """Return frames with any stamps, in the order in which they came."""
    requested_at = draw(st.none() | st.just(NOON))
    received_at, frames = NOON, list[Sent]()
    offs = st.sampled_from([0, 30, -30, 100, -100, 119, 120, 121, -120, -121, 21_600, -21_600])
    off_s, skew_s = draw(offs), draw(st.none() | offs)
    for _ in range(draw(st.integers(2, 6))):
        received_at += draw(seconds(0, 200) | seconds(0, 20_000))
        if draw(st.booleans()):  # the clock is set
            off_s = draw(offs)
        waited = draw(st.just(timedelta()) | seconds(0, 200) | seconds(0, 20_000))
        at = received_at - waited + timedelta(seconds=off_s)
        frames.append(Sent(draw(st.sampled_from([at, at, at, at, None])), received_at))
    return Charge(requested_at, frames, draw(st.none() | st.just(skew_s)), skew_s)


def before(charge: Charge) -> Span:
    """Return the span as it was when each end was placed by itself."""
    first, *values, last = charge.frames
    start = StationStart("S1", 1, "", Decimal(0), None, stamp(first.at), first.received_at)
    begun_at = started_at(start, charge.requested_at)
    places = list[datetime]()
    for frame in (*values, last):
        at = right_time(stamp(frame.at), charge.skew_s).at
        if at is None or not begun_at - SKEW_LIMIT <= at <= frame.received_at + SKEW_LIMIT:
            at = frame.received_at
        places.append(max(min(at, frame.received_at), begun_at))
    return Span(begun_at, max(places), 0)


@given(any_charges())
def test_no_clock_bills_more_than_before_and_its_offset(charge: Charge) -> None:
    span, earlier = billed(charge), before(charge)
    begun_at = right_time(stamp(charge.frames[0].at), charge.skew_s).at
    shift = 0.0 if begun_at is None else (span.begun_at - begun_at).total_seconds()
    shift_s = shift if 0 < shift <= SKEW_LIMIT.total_seconds() else 0
    known_s = (earlier.begun_at - span.begun_at).total_seconds()
    assert span.ended_at <= earlier.ended_at + timedelta(seconds=shift_s)
    # A start is earlier than before only by a clock that is known to be ahead.
    assert known_s <= max(-(charge.skew_at_start_s or 0), 0)


@given(any_charges())
def test_no_span_is_negative_or_longer_than_was_received(charge: Charge) -> None:
    span = billed(charge)
    assert span.begun_at <= span.ended_at <= charge.frames[-1].received_at
    assert span.begun_at <= charge.frames[0].received_at
    if charge.requested_at is not None:
        assert span.begun_at >= charge.requested_at


@pytest.mark.parametrize(("late_s", "span_s"), [(0, 240), (10, 240), (11, 190)])
def test_a_clock_that_was_ahead_is_right_where_its_stamp_is_received_in_10_s(
    late_s: int, span_s: int
) -> None:
    stop_at = NOON + 240 * SECOND
    frames = [Sent(NOON + 50 * SECOND, NOON), Sent(stop_at, stop_at + late_s * SECOND)]
    assert billed(Charge(None, frames)).seconds == span_s


@pytest.mark.parametrize(
    ("stamp_s", "skew_s", "begun_s"),
    [
        pytest.param(-600, 21_600, -600, id="set right, it was behind"),
        pytest.param(-600, -21_600, -600, id="set right, it was ahead"),
        pytest.param(50, -21_600, 0, id="set nearly right, it was ahead"),
        pytest.param(-100, 200, -100, id="set nearly right, it was behind"),
        pytest.param(-22_200, 21_600, -600, id="behind, and late"),
        pytest.param(21_000, -21_600, -600, id="ahead, and late"),
        pytest.param(-21_500, 21_600, 0, id="behind"),
        pytest.param(-600, None, -600, id="late"),
        pytest.param(121, None, 0, id="ahead, and not known"),
    ],
)
def test_a_start_is_where_a_known_clock_has_it_unless_it_was_set_since(
    stamp_s: int, skew_s: int | None, begun_s: int
) -> None:
    time = stamp(NOON + stamp_s * SECOND)
    start = StationStart("S1", 1, "", None, None, time, NOON)
    assert started_at(start, None, skew_s) == NOON + begun_s * SECOND
