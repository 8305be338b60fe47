"""A time in a request's body or query: ISO 8601 with a zone, turned to UTC."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime


def _to_utc(at: datetime) -> datetime:
    """Raises ValueError for a time that has no UTC: the years 1 and 9999 end at other places."""
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is no time of UTC") from error


UtcTime = Annotated[AwareDatetime, AfterValidator(_to_utc)]
