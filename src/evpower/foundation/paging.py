"""Pages of a list: a cursor is the place of the last row in the list's order, opaque to callers."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, Final, Generic, TypeVar, cast

import orjson
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from evpower.foundation.errors import Invalid
from evpower.foundation.json_reader import NotJson, read_json
from evpower.foundation.request_time import UtcTime

T = TypeVar("T")
P = TypeVar("P", bound=tuple[Any, ...])
LIMIT_DEFAULT: Final = 50
LIMIT_MOST: Final = 500
_CURSOR_MAX: Final = 2_000
# The time of a place: one without a zone is no place of ours.
PlaceTime = UtcTime


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    next: Annotated[
        str | None, Field(description="`cursor` of the next page; null: this is the last one")
    ]


def write_cursor(place: tuple[object, ...]) -> str:
    """Returns a place as a cursor; it is valid for lists of this kind of place only."""
    raw = orjson.dumps([type(place).__name__, *place], default=str)  # a UUID of asyncpg
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_cursor(cursor: str | None, kind: type[P]) -> P | None:
    """Returns the place of a cursor, None without one. Raises Invalid("invalid_cursor")."""
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        parts = read_json(base64.b64decode(padded, b"-_", validate=True), max_bytes=_CURSOR_MAX)
        if not isinstance(parts, list):
            raise Invalid("invalid_cursor", "not a cursor of ours")
        name, *place = cast("list[object]", parts)
        if name != kind.__name__ or "\x00" in str(place):
            raise Invalid("invalid_cursor", "not a cursor of this list")
        return TypeAdapter(kind).validate_python(place)
    except (UnicodeEncodeError, binascii.Error, NotJson, ValueError, ValidationError) as error:
        raise Invalid("invalid_cursor", "not a cursor of ours") from error


def cut(rows: Sequence[T], limit: int) -> tuple[list[T], T | None]:
    """Returns the rows of a page, and its last row where there are more than `limit`."""
    page = list(rows[:limit])
    return page, page[-1] if len(rows) > limit else None
