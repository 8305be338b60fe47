"""Periods of a reconciliation: days of the books, in Asia/Bishkek."""

from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from evpower.foundation.clock import Clock
from evpower.foundation.errors import Invalid

ZONE: Final = ZoneInfo("Asia/Bishkek")  # of the books
LONGEST: Final = timedelta(days=93)
# A payment of this moment may stand in the provider's list before its notice is here.
SETTLING: Final = timedelta(minutes=10)
_FIRST: Final = date(2000, 1, 1)


def last_day(now: datetime) -> date:
    """Returns the last day that is over."""
    return day_of(now) - timedelta(days=1)


def day_of(at: datetime) -> date:
    """Returns the day of the books that a time belongs to."""
    return at.astimezone(ZONE).date()


def days(first: date, last: date) -> tuple[datetime, datetime]:
    """Returns the beginning of a day and the end of another. Raises Invalid."""
    if not _FIRST <= first <= last < date.max:
        raise Invalid("invalid_request", f"{first} to {last} is no period")
    return (
        datetime.combine(first, time(), ZONE),
        datetime.combine(last + timedelta(days=1), time(), ZONE),
    )


def settled(since: datetime, until: datetime, clock: Clock) -> datetime:
    """Returns the end of what of a period can be compared now. Raises Invalid."""
    end = min(until, clock() - SETTLING)
    if since >= end:
        raise Invalid("invalid_request", "the period has not begun, or began a few minutes ago")
    if end - since > LONGEST:
        raise Invalid("invalid_request", f"a period has at most {LONGEST.days} days")
    return end
