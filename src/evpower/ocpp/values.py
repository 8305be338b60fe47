"""Reads single members of a station's request, whatever form they came in."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple, cast

from evpower.ocpp.repair import clean

_NUMBER: Final = re.compile(r"[+-]?(?:\d{1,24}(?:[.,]\d{0,12})?|[.,]\d{1,12})")
plain_number: Final = re.compile(r"-?\d{1,24}(?:\.\d{1,12})?").fullmatch
_INTEGER: Final = re.compile(r"[+-]?\d{1,24}(?:\.0*)?")
_NO_ID: Final = frozenset({"", "0", "-1", "null", "none", "undefined"})
_MAX_INT32: Final = 2**31 - 1
_MOST_CONNECTORS: Final = 1000
_MAX_TEXT_ID: Final = 64
_MAX_INT_CHARS: Final = 24


class TransactionId(NamedTuple):
    """A transaction's id as a station sent it: in the range of ours, or a text; both None: none."""

    number: int | None
    text: str | None


def number_text(value: object, notes: set[str]) -> str | None:
    """Returns a number's text with a decimal point, or None: absent or unusable."""
    if type(value) is str and plain_number(value):
        return value
    if type(value) is int or type(value) is float:
        notes.add("value_number")
        value = repr(value)
    if type(value) is not str:
        if value is not None:
            notes.add("value_unreadable")
        return None
    text = value.strip()
    if not text:
        notes.add("value_blank")
        return None
    if _NUMBER.fullmatch(text) is None:
        notes.add("value_unreadable")
        return None
    if "," in text:
        notes.add("decimal_comma")
        text = text.replace(",", ".")
    return text


def integer(value: object, notes: set[str], kind: str) -> int | None:
    """Returns an integer, or None; `kind` is counted if it came in another form."""
    if type(value) is int:
        return value
    if value is None:
        return None
    notes.add(kind)
    if type(value) is float:
        return int(value) if value.is_integer() else None
    if type(value) is str and _INTEGER.fullmatch(value.strip()):
        return int(value.strip().partition(".")[0])
    return None


def connector(value: object, notes: set[str]) -> int:
    """Returns a connector's number; 0: the station as a whole, or none that can be."""
    number = integer(value, notes, "connector_form")
    if number is None or not 0 <= number <= _MOST_CONNECTORS:
        notes.add("connector_missing")
        return 0
    return number


def register(value: object, notes: set[str]) -> Decimal | None:
    """Returns a meter register in Wh (meterStart, meterStop), or None."""
    if type(value) is int:
        return Decimal(value)
    if value is None:
        notes.add("register_missing")
        return None
    notes.add("register_form")
    text = number_text(value, set())
    return None if text is None else Decimal(text)


def text(value: object, notes: set[str], *, most: int, limit: int | None = None) -> str | None:
    """Returns a text without control characters, of at most `most` characters; None: absent.

    Longer than `limit`, that of the protocol, is counted.
    """
    if value is None:
        return None
    if type(value) is not str:
        notes.add("text_form")
        if isinstance(value, dict | list | bool):
            return None
        value = str(value)
    if limit is not None and len(value) > limit:
        notes.add("text_too_long")
    if not value.isprintable():
        value = "".join(char for char in str(clean(value)) if char.isprintable())
    return value.strip()[:most]


def transaction_id(value: object, notes: set[str]) -> TransactionId:
    """Returns a transaction's id; 0, -1, null and blank are none."""
    if type(value) is int and 0 < value <= _MAX_INT32:
        return TransactionId(value, None)
    if value is None:
        return TransactionId(None, None)
    if type(value) is float and value.is_integer():
        value = int(value)
    shown = str(value).strip() if type(value) in (str, int) else ""
    if shown.lower() in _NO_ID:
        notes.add("transaction_id_none")
        return TransactionId(None, None)
    if len(shown) <= _MAX_INT_CHARS and _INTEGER.fullmatch(shown):
        whole = int(shown.partition(".")[0])
        if 0 < whole <= _MAX_INT32:
            notes.add("transaction_id_form")
            return TransactionId(whole, None)
        if whole <= 0:
            notes.add("transaction_id_none")
            return TransactionId(None, None)
        notes.add("transaction_id_large")
    else:
        notes.add("transaction_id_form")
    return TransactionId(None, text(shown, notes, most=_MAX_TEXT_ID) or None)


def items(value: object, notes: set[str]) -> Sequence[Mapping[str, Any]]:
    """Returns the objects of a list; an object in the list's place is a list of one."""
    if isinstance(value, dict):
        notes.add("object_for_list")
        return [cast("dict[str, Any]", value)]
    if value is None:
        return []
    if not isinstance(value, list):
        notes.add("list_form")
        return []
    listed = cast("list[dict[str, Any]]", value)
    if not listed:
        notes.add("list_empty")
    objects = [item for item in listed if isinstance(item, dict)]  # pyright: ignore[reportUnnecessaryIsInstance]
    if len(objects) < len(listed):
        notes.add("list_form")
    return objects
