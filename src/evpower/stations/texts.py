"""Texts and JSON that a station sent, in a form that every column can hold."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, cast

_MOST_LEVELS: Final = 20


def printable(text: str, most: int) -> str:
    """Returns at most so many characters of a text; what can't be printed is a question mark."""
    return "".join(char if char.isprintable() else "?" for char in text.strip()[:most])


def optional(text: str | None, most: int) -> str | None:
    """Returns the text as `printable` does; None for an absent or empty one."""
    return printable(text or "", most) or None


def storable(value: object, levels: int = _MOST_LEVELS) -> object:
    """Returns a JSON value without what jsonb refuses: unprintable text, infinity, great depth."""
    if isinstance(value, str):
        return value if value.isprintable() else printable(value, len(value))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        if levels == 0:
            return "..."
        return {
            printable(key, len(key)): storable(member, levels - 1)
            for key, member in members.items()
        }
    if isinstance(value, Sequence):
        entries = cast("Sequence[object]", value)
        return "..." if levels == 0 else [storable(entry, levels - 1) for entry in entries]
    return value
