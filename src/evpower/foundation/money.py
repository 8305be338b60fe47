"""Money: integer minor units inside, som with two decimals at the edge; converted only here."""

import json
from decimal import Decimal, InvalidOperation
from typing import Final

from evpower.foundation.errors import Invalid

CURRENCY: Final = "KGS"
EXPONENTS: Final = {"KGS": 2}  # ISO 4217: decimals of the minor unit
MAX_MINOR: Final = 100_000_000_000  # a billion som: anything above is somebody's mistake
_MAX_DIGITS: Final = 20


def to_minor(amount: Decimal | int | str, currency: str = CURRENCY) -> int:
    """Som to tyiyn, exactly: more decimals than the currency has are an error, never rounded.

    Raises Invalid("invalid_amount").
    """
    try:
        value = Decimal(amount)
        if value and abs(value.adjusted()) > _MAX_DIGITS:  # 1e999999 would become a number as long
            raise Invalid("invalid_amount", "the amount is too large or too small")
        scaled = value.scaleb(EXPONENTS[currency])
        minor = int(scaled)
    except (InvalidOperation, ValueError, OverflowError, ArithmeticError) as error:
        raise Invalid("invalid_amount", f"not an amount: {str(amount)[:40]!r}") from error
    if scaled != minor:
        raise Invalid(
            "invalid_amount", f"more than {EXPONENTS[currency]} decimals: {str(amount)[:40]}"
        )
    if abs(minor) > MAX_MINOR:
        raise Invalid("invalid_amount", "the amount is too large")
    return minor


def to_som(minor: int, currency: str = CURRENCY) -> float:
    """Tyiyn to a JSON number; exact to 2 decimals for every amount below MAX_MINOR."""
    return minor / 10 ** EXPONENTS[currency]


def to_text(minor: int, currency: str = CURRENCY) -> str:
    """Tyiyn to text as Supabase takes it: "12.50"."""
    return str(Decimal(minor).scaleb(-EXPONENTS[currency]))


def amount_from_json(raw: object) -> int:
    """A JSON amount (number or numeric string) to tyiyn. Floats are read by their shortest text."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | str | Decimal):
        raise Invalid("invalid_amount", "the amount must be a number")
    return to_minor(json.dumps(raw) if isinstance(raw, float) else raw)
