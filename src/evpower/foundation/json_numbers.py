"""Numbers of JSON, where 2 and 2.0 are the same number: some libraries write whole ones so."""

from typing import Final

_EXACT: Final = 2.0**53  # above it a float no longer says which whole number was meant


def whole(value: object) -> object:
    """Return the int a whole float means; whatever else it is, the value as it came."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value
