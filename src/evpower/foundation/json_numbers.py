"""Numbers of JSON, where 2 and 2.0 are the same number: some libraries write integers so."""

from decimal import Decimal, InvalidOperation
from typing import Final

_EXACT: Final = 2.0**53  # above it a float no longer identifies one integer


def whole(value: object) -> object:
    """Returns the int that an integral float means; other values as they are."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value


def number(value: object) -> object:
    """Refuses texts: Decimal would read "1_0", and digits of other scripts. Raises ValueError."""
    if isinstance(value, str | bool):
        raise ValueError("must be a number")  # noqa: TRY004 - of a body, not of a call
    return value


def exact(text: str) -> Decimal:
    """Returns any number of JSON or JavaScript; NaN for one beyond all bounds."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("nan")
