"""When a station's facts were: by its clock, which may be off, and by what we received."""

from datetime import datetime, timedelta
from typing import Final

from evpower.charging.events import StationTime
from evpower.charging.model import StationTransaction

SKEW_LIMIT: Final = timedelta(seconds=120)  # a clock that is further off is not priced by
_JUST_CAME: Final = timedelta(seconds=10)  # a stamp so near its receipt is that of a right clock
_NO_TIME: Final = timedelta()


def our_time(
    time: StationTime,
    received_at: datetime,
    transaction: StationTransaction,
    skew_s: int | None = None,
) -> datetime:
    """Returns when a frame's fact was: by the station's clock where it can be right, else by ours.

    Shifted as the start was, so that a span is that of the station's clock. `skew_s`: how far it is
    known to be off. Never before the start, never after it was received.
    """
    at = stamped_at(time, received_at, transaction, skew_s)
    if at is None:
        shift = shift_of(transaction, skew_s)
        at = received_at + shift if shift < -SKEW_LIMIT else received_at
    return max(min(at, received_at), transaction.started_at)


def stamped_at(
    time: StationTime,
    received_at: datetime,
    transaction: StationTransaction,
    skew_s: int | None = None,
) -> datetime | None:
    """Returns when a frame's fact was by its stamp, shifted as the start was; None: it can't be."""
    earliest = transaction.started_at - SKEW_LIMIT
    at = right_time(time, skew_s, received_at).at
    if at is not None and time.at is not None and at < earliest <= time.at:
        at = time.at  # its clock was set right since its offset was learned
    if at is None or time.at is None or not earliest <= at <= received_at + SKEW_LIMIT:
        return None
    return _shifted(at, time.at, received_at, transaction, skew_s)


def placed(
    station_at: datetime | None,
    received_at: datetime,
    transaction: StationTransaction,
    skew_s: int | None,
) -> datetime:
    """Returns when a stored value was; `station_at`: its stamp by a right clock, at most received.

    As `our_time` has it of a frame, so that values that came at once and late ones can be compared.
    """
    if station_at is None:
        return our_time(StationTime(None, None), received_at, transaction, skew_s)
    at = _shifted(station_at, station_at, received_at, transaction, skew_s)
    return max(min(at, received_at), transaction.started_at)


def _shifted(
    at: datetime,
    stamp: datetime,
    received_at: datetime,
    transaction: StationTransaction,
    skew_s: int | None,
) -> datetime:
    """Returns a time as it is moved with the start; `stamp`: as it was sent."""
    earliest = transaction.started_at - SKEW_LIMIT
    shift = shift_of(transaction, skew_s)
    if shift < -SKEW_LIMIT:
        is_of_start = at + shift < earliest  # its clock is still that of the start
        if skew_s is None:  # a boot forgot it, and may have left the clock as it was
            is_of_start = is_of_start or abs(received_at + shift - at) <= _JUST_CAME
        return at if is_of_start else at + shift
    if shift <= _NO_TIME and -_JUST_CAME <= stamp - received_at <= _JUST_CAME:
        return at  # it was ahead at the start, and was set right
    return at + shift


def shift_of(transaction: StationTransaction, skew_s: int | None) -> timedelta:
    """Returns by how much a start was moved from where the station's clock has it.

    Within the tolerance it was moved because that clock is off. So it was beyond it if it came
    live, by what is known of the clock since then: all that was before stands where the start does.
    Once known that stays, however the clock is set.
    """
    if transaction.start_shift_s is not None:
        return timedelta(seconds=transaction.start_shift_s)
    begun_at = transaction.start_station_at
    if skew_s:
        begun_at = right_time(StationTime(begun_at, None), skew_s).at
    if begun_at is None:
        return _NO_TIME
    shift = transaction.started_at - begun_at
    is_live = abs(transaction.received_at - begun_at) <= SKEW_LIMIT
    if abs(shift) <= SKEW_LIMIT or (skew_s and is_live):
        return shift
    return _NO_TIME


def right_time(
    time: StationTime, skew_s: int | None, received_at: datetime | None = None
) -> StationTime:
    """Returns a stamp as it would be if the station's clock were right.

    `received_at`: a stamp that would be later than its receipt is one of a clock that was set right
    since its offset was learned, and stays as it is.
    """
    if time.at is None or skew_s is None or abs(skew_s) <= SKEW_LIMIT.total_seconds():
        return time
    try:
        at = time.at + timedelta(seconds=skew_s)
    except OverflowError:
        return time._replace(at=None)
    if received_at is not None and time.at <= received_at + SKEW_LIMIT < at:
        return time
    return time._replace(at=at)
