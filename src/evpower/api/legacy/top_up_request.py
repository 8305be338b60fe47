"""Parses a top-up request. Numbers stay exact: 0.1 is one tenth, 1e309 is no amount."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn
from uuid import UUID

from evpower.foundation.errors import Forbidden, Invalid
from evpower.foundation.json_reader import NotAnObject, NotJson, read_exact_object
from evpower.foundation.money import CURRENCY, to_minor
from evpower.foundation.text import checked

MAX_BYTES: Final = 16 * 1024
_MAX_DESCRIPTION: Final = 500


@dataclass(frozen=True, slots=True)
class TopUpRequest:
    """A requested top-up, in tyiyn."""

    amount_minor: int
    description: str | None
    speaks_for: str | None  # another id than the token's: an old one, or that of another client


def parse_top_up(raw: bytes, client_id: UUID, min_minor: int, max_minor: int) -> TopUpRequest:
    """Parses the body of a client's request.

    Raises Invalid("invalid_request" | "invalid_amount" | "minimum_amount_required" |
    "maximum_amount_exceeded"), Forbidden("forbidden") when the body's client_id is no text.
    """
    body = _object(raw)
    named_id = body.get("client_id")
    if named_id is not None and not isinstance(named_id, str):
        raise Forbidden("forbidden", "client_id is not the token's")
    own = named_id is None or named_id.strip().lower() == str(client_id)
    description = body.get("description")
    if description is not None:
        if not isinstance(description, str):
            raise Invalid("invalid_request", "description must be a text")
        checked(description, "description", most=_MAX_DESCRIPTION)
    currency = body.get("currency")
    if currency is not None and currency != CURRENCY:
        raise Invalid("invalid_request", f"the currency is {CURRENCY}")
    amount_minor = _amount(body.get("amount"), min_minor, max_minor)
    return TopUpRequest(amount_minor, description or None, None if own else named_id)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return read_exact_object(raw, _exact, constant=_exact)
    except NotAnObject as error:
        raise Invalid("invalid_request", "the body must be an object") from error
    except NotJson as error:
        raise Invalid("invalid_request", "the body is not JSON") from error


def _exact(text: str) -> Decimal:
    """Returns any number of JSON or JavaScript; NaN for one beyond all bounds."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("nan")


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
