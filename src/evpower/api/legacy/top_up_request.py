"""Parses a top-up request. Numbers stay exact: 0.1 is one tenth, 1e309 is no amount."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NoReturn

from evpower.api.legacy.charging_request import client_of, read_object
from evpower.foundation.errors import Invalid
from evpower.foundation.money import CURRENCY, to_minor
from evpower.foundation.text import checked

MAX_BYTES: Final = 16 * 1024
_MAX_DESCRIPTION: Final = 500


@dataclass(frozen=True, slots=True)
class TopUpRequest:
    """A requested top-up, in tyiyn."""

    amount_minor: int
    description: str | None
    client: str | None  # whom the body names, as older apps do


def parse_top_up(raw: bytes, min_minor: int, max_minor: int) -> TopUpRequest:
    """Parses the body of a client's request.

    Raises Invalid("invalid_request" | "invalid_amount" | "minimum_amount_required" |
    "maximum_amount_exceeded"), Forbidden("forbidden") when the body's client_id is no text.
    """
    body = read_object(raw)
    client = client_of(body)
    description = body.get("description")
    if description is not None:
        if not isinstance(description, str):
            raise Invalid("invalid_request", "description must be a text")
        checked(description, "description", most=_MAX_DESCRIPTION)
    currency = body.get("currency")
    if currency is not None and currency != CURRENCY:
        raise Invalid("invalid_request", f"the currency is {CURRENCY}")
    amount_minor = _amount(body.get("amount"), min_minor, max_minor)
    return TopUpRequest(amount_minor, description or None, client)


def _amount(value: object, min_minor: int, max_minor: int) -> int:
    if not isinstance(value, Decimal):
        _refuse("the amount must be a number")
    amount_minor = to_minor(value)
    if amount_minor <= 0:
        _refuse("the amount must be more than nothing")
    if amount_minor < min_minor:
        raise Invalid("minimum_amount_required", "too little", params={"min_som": min_minor // 100})
    if amount_minor > max_minor:
        raise Invalid("maximum_amount_exceeded", "too much", params={"max_som": max_minor // 100})
    return amount_minor


def _refuse(detail: str) -> NoReturn:
    raise Invalid("invalid_amount", detail)
