"""Money: integer minor units inside, som with two decimals outside; converted only here."""

import re
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation
from typing import Final

from evpower.foundation.errors import Invalid

CURRENCY: Final = "KGS"
EXPONENTS: Final = {"KGS": 2}  # ISO 4217: decimals of the minor unit
MAX_MINOR: Final = 100_000_000_000  # a billion som: anything above is a mistake
_MAX_DIGITS: Final = 20
_SHOWN: Final = 40
_PRECISION: Final = 200  # digits; more than any text read here has
_EXACT: Final = Context(prec=_PRECISION, traps=[InvalidOperation, Inexact])
_ROUNDING: Final = Context(prec=_PRECISION, rounding=ROUND_HALF_UP)
# Decimal() accepts more: digits of other scripts, underscores, exponents it can't multiply then.
_SOM: Final = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,60})?")
_TINY: Final = re.compile(r"-?[0-9](?:\.[0-9]{1,60})?[eE]-(?:0[5-9]|[1-9][0-9]{1,2})")


def read_som(text: str) -> Decimal:
    """Parses an amount in som: digits 0 to 9, an optional minus, an optional point with decimals.

    Thousands separators, a comma, exponents and other digits are refused, not guessed. Raises
    Invalid("invalid_amount").
    """
    if not _SOM.fullmatch(text):
        raise Invalid(
            "invalid_amount",
            f"{text[:_SHOWN]!a} is no amount: write digits and at most one point, as in 250.50",
        )
    return Decimal(text)


def read_old_som(text: str) -> Decimal:
    """Parses an amount of a system that stored floats: a remainder such as 1.4e-14 is zero.

    Raises Invalid("invalid_amount").
    """
    return Decimal(0) if _TINY.fullmatch(text) else read_som(text)


def som_from_json(raw: object) -> Decimal:
    """Returns a JSON number, or a text as `read_som` parses it; a float by its shortest text.

    Raises Invalid("invalid_amount").
    """
    if isinstance(raw, str):
        return read_som(raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float | Decimal):
        raise Invalid("invalid_amount", "the amount must be a number")
    value = Decimal(repr(raw)) if isinstance(raw, float) else Decimal(raw)
    if not value.is_finite():
        raise Invalid("invalid_amount", "the amount must be a finite number")
    if value and abs(value.adjusted()) > _MAX_DIGITS:  # 1e999999 would become a number as long
        raise Invalid("invalid_amount", "the amount is too large or too small")
    return value


def to_minor(amount: Decimal | int | str, currency: str = CURRENCY) -> int:
    """Converts som to tyiyn exactly: more decimals than the currency has are an error.

    Raises Invalid("invalid_amount").
    """
    value = som_from_json(amount)
    try:
        scaled = value.scaleb(EXPONENTS[currency], _EXACT)
    except (InvalidOperation, Inexact) as error:
        raise Invalid("invalid_amount", "the amount has too many digits") from error
    minor = int(scaled)
    if scaled != minor:
        raise Invalid(
            "invalid_amount", f"more than {EXPONENTS[currency]} decimals: {str(value)[:_SHOWN]}"
        )
    if abs(minor) > MAX_MINOR:
        raise Invalid("invalid_amount", "the amount is too large")
    return minor


def rounded_minor(som: Decimal, currency: str = CURRENCY) -> int:
    """Converts som to tyiyn, rounded half away from zero as PostgreSQL does; for imports only.

    Raises Invalid("invalid_amount").
    """
    if not som.is_finite() or abs(som) > MAX_MINOR:
        raise Invalid("invalid_amount", "the amount is no number, or too large")
    scaled = som.scaleb(EXPONENTS[currency], _ROUNDING)
    minor = int(scaled.quantize(Decimal(1), context=_ROUNDING))
    if abs(minor) > MAX_MINOR:
        raise Invalid("invalid_amount", "the amount is too large")
    return minor


def to_som(minor: int, currency: str = CURRENCY) -> float:
    """Converts tyiyn to a JSON number, exact to 2 decimals for every amount below MAX_MINOR."""
    return minor / 10 ** EXPONENTS[currency]


def to_text(minor: int, currency: str = CURRENCY) -> str:
    """Converts tyiyn to text as Supabase stores it: "12.50"."""
    return str(Decimal(minor).scaleb(-EXPONENTS[currency]))


def amount_from_json(raw: object) -> int:
    """Converts a JSON amount (number or text) to tyiyn. Raises Invalid("invalid_amount")."""
    return to_minor(som_from_json(raw))
