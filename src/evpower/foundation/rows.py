"""Rows of the database as dataclasses: each column goes to the field of its name."""

from dataclasses import fields
from typing import Any, ClassVar, Protocol, TypeVar

from evpower.foundation.db import Record

T = TypeVar("T")


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


def columns(kind: type[_Dataclass], table: str = "") -> str:
    """Returns the names of a dataclass's fields for a select list, of `table` where it is named."""
    return ", ".join(f"{table}.{field.name}" if table else field.name for field in fields(kind))


def read_row(kind: type[T], row: Record) -> T:
    """Returns the row as `kind`. Raises TypeError where it has other columns than fields."""
    return kind(**dict(row))
