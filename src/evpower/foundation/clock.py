"""Time as an argument: a Clock returns aware UTC. Texts are parsed to times only here."""

import os
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Final

Clock = Callable[[], datetime]
Sleep = Callable[[float], Awaitable[None]]  # asyncio.sleep, or what a test puts in its place

# RFC 3339, and what PostgreSQL writes: a space for the T, an offset of hours alone; apps leave out
# seconds. datetime.fromisoformat accepts much more, and each Python version something else.
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]((?:[01][0-9]|2[0-3]):[0-5][0-9])"
    r"(?::([0-9]{2})(?:[.,]([0-9]{1,30}))?)?"
    r"([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)
_NO_TIME: Final = "is no ISO 8601 time of the years 1 to 9999"


def utc_now() -> datetime:
    """The real clock; in a process of a test what `move_by` says later or earlier."""
    now = datetime.now(UTC)
    return now if _mover is None else now + _mover.by()


def move_by(path: Path) -> None:
    """Moves this process's clock by the seconds in a file, as they are at each moment.

    For tests alone. Monotonic clocks, the database's own and the tokens of others stay as they are.
    A file that is not there moves nothing. To change it, put another file in its place.
    """
    global _mover  # noqa: PLW0603 - one clock a process
    _mover = _Mover(path)


class _Mover:
    """The seconds in a file, read anew when another file stands there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._by = timedelta(0)

    def by(self) -> timedelta:
        """Returns by how much the clock is moved."""
        try:
            stands = os.stat(self._path)  # noqa: PTH116 - at each look at the clock
        except FileNotFoundError:
            return timedelta(0)
        if (stands.st_ino, stands.st_mtime_ns) != self._seen:
            self._seen = stands.st_ino, stands.st_mtime_ns
            self._by = timedelta(seconds=float(self._path.read_text()))
        return self._by


_mover: _Mover | None = None


def to_z(at: datetime) -> str:
    """Returns ISO 8601 in UTC ending in Z: the apps' schemas refuse an explicit +00:00."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return at.isoformat()[: -len("+00:00")] + "Z"


def read_time(text: str, *, zone: tzinfo | None = None) -> datetime:
    """Parses an ISO 8601 date and time to aware UTC, in microseconds.

    A leap second becomes the next second. `zone` is used for a time without one; without `zone`
    such a time is refused. Raises ValueError, whose text says what is wrong.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(_NO_TIME)
    date, minute, second, fraction, offset = match.groups()
    if offset is None and zone is None:
        raise ValueError("has no time zone: end it in Z or an offset")
    is_leap = second == "60"
    exact = f"{date}T{minute}:{'59' if is_leap else second or '00'}.{(fraction or '')[:6]:0<6}"
    try:
        at = datetime.fromisoformat(exact).replace(tzinfo=_zone(offset) if offset else zone)
        at = at.astimezone(UTC)
        if is_leap:
            at = at.replace(microsecond=0) + timedelta(seconds=1)
    except (ValueError, OverflowError) as error:
        raise ValueError(_NO_TIME) from error
    if is_leap and (at.hour, at.minute) != (0, 0):
        raise ValueError("has a second 60 that is no leap second")
    return at


def _zone(offset: str) -> tzinfo:
    if offset in "Zz":
        return UTC
    digits = offset[1:].replace(":", "")
    hours, minutes = int(digits[:2]), int(digits[2:] or "0")
    if minutes >= 60:  # noqa: PLR2004 - of an hour
        raise ValueError
    ahead = timedelta(hours=hours, minutes=minutes)
    return timezone(-ahead if offset[0] == "-" else ahead)
