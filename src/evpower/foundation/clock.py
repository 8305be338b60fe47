"""Time comes in as an argument: a Clock gives aware UTC."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


def to_z(at: datetime) -> str:
    """ISO 8601 in UTC ending in Z, as the apps' schemas demand (an explicit +00:00 breaks them)."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
