"""Numbers of JSON, where 2 and 2.0 are the same number: some libraries write integers so."""

from typing import Final

_EXACT: Final = 2.0**53  # above it a float no longer identifies one integer


def whole(value: object) -> object:
    """Returns the int that an integral float means; other values as they are."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value
