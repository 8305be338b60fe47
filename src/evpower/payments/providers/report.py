"""A provider's report as a table (CSV) -> its transactions. Which column means what is a setting.

No public source says what the columns of O!Dengi's report are called, so nothing is guessed: a
header without a needed column, or a word of the status that has no meaning yet, is refused with
what was named.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, cast
from zoneinfo import ZoneInfo

from evpower.foundation.clock import read_time
from evpower.foundation.errors import Invalid
from evpower.foundation.money import CURRENCY, MAX_MINOR, read_som, to_minor
from evpower.foundation.text import flaw
from evpower.payments.model import STATUSES, PaymentStatus
from evpower.payments.providers.protocol import HistoryItem

MAX_BYTES: Final = 20 * 1024 * 1024
MAX_LINES: Final = 200_000
_MAX_CELL: Final = 1000
_MAX_ID: Final = 128
_ZONE: Final = ZoneInfo("Asia/Bishkek")  # a report's times have no zone
# Three decimals may be thousands: 10.000 and 1,000 are refused.
_AMOUNT: Final = re.compile(
    r"(?P<whole>[0-9]{1,30}|[0-9]{1,3}(?:[ \u00a0][0-9]{3}){1,9})(?:[.,](?P<part>[0-9]{1,2}))?"
)
_DELIMITERS: Final = (";", "\t", ",")
_NEEDED: Final = ("trans_id", "order", "amount", "date", "status")
_EXTRA: Final = ("refunded", "currency")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LOCAL_DATE: Final = re.compile(
    r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})(?: ([0-9]{1,2})(:[0-9:]{2,5}))?"
)
# The words and numbers of O!Dengi's API; a report may have others.
_NAMES: Final[Mapping[str, str]] = {
    "trans_id": "trans_id", "order": "order_id", "amount": "amount", "date": "date_pay",
    "status": "status",
}  # fmt: skip
_WORDS: Final[Mapping[str, PaymentStatus]] = {
    "approved": "approved", "success": "approved", "3": "approved",
    "canceled": "canceled", "cancelled": "canceled", "2": "canceled",
    "processing": "processing", "1": "processing", "9": "processing",
    "refunded": "refunded", "partial_refund": "partial_refund",
}  # fmt: skip


class ReportError(ValueError):
    """A report that can't be read; the text is for an operator, and says what was named."""


@dataclass(frozen=True, slots=True)
class ReportColumns:
    """The names of a report's columns, the unit of its amounts, its words for a status."""

    names: Mapping[str, str] = field(default_factory=lambda: dict(_NAMES))
    unit: Literal["tyiyn", "som"] = "tyiyn"
    words: Mapping[str, PaymentStatus] = field(default_factory=lambda: dict(_WORDS))


def parse_columns(text: str) -> ReportColumns:
    """Parses the setting: `trans_id=ID;order=Order;...;unit=som;approved=Paid|Done`.

    What it leaves out is as in O!Dengi's API. `refunded` is a column, `refunded_words` are words.
    Raises ValueError.
    """
    columns = ReportColumns()
    names, words, unit = dict(columns.names), dict(columns.words), columns.unit
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        key, _, value = (side.strip() for side in part.partition("="))
        if not value:
            raise ValueError(f"{part!a:.60} is not name=column")
        if key in _NEEDED or key in _EXTRA:
            names[key] = value
        elif key == "unit" and value in {"tyiyn", "som"}:
            unit = cast('Literal["tyiyn", "som"]', value)
        elif (status := key.removesuffix("_words")) in STATUSES:
            words |= {word.strip().lower(): status for word in value.split("|")}
        else:
            known = ", ".join((*_NEEDED, *_EXTRA, "unit=tyiyn|som", *STATUSES))
            raise ValueError(f"{part!a:.60} is none of {known}")
    return ReportColumns(names, unit, words)


def read_report(raw: bytes, columns: ReportColumns) -> list[HistoryItem]:
    """Returns the transactions of a CSV. Raises ReportError."""
    if len(raw) > MAX_BYTES:
        raise ReportError(f"the report is larger than {MAX_BYTES >> 20} MB")
    lines = _lines(raw)
    header = next(lines, list[str]())
    places = _places(header, columns)
    items: list[HistoryItem] = []
    for number, cells in enumerate(lines, 2):
        if number > MAX_LINES:
            raise ReportError(f"the report has more than {MAX_LINES} lines")
        if not any(cell.strip() for cell in cells):
            continue
        try:
            if any(cell.strip() for cell in cells[len(header) :]):  # a comma inside an amount?
                raise ReportError("has more cells than there are columns")
            items.append(_item(cells, places, columns))
        except (ValueError, IndexError) as error:
            raise ReportError(f"line {number}: {error}") from error
    return items


def _lines(raw: bytes) -> Iterator[list[str]]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1251", errors="replace")
    first = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)


def _places(header: Sequence[str], columns: ReportColumns) -> dict[str, int]:
    """Returns the number of each column. Raises ReportError that names all columns named."""
    named = {name.strip().lower(): place for place, name in enumerate(header)}
    places = {
        key: named[name.lower()] for key, name in columns.names.items() if name.lower() in named
    }
    missing = [f"{key} ({columns.names[key]})" for key in columns.names if key not in places]
    if missing:
        listed = ", ".join(name.strip()[:60] for name in header[:50]) or "no columns"
        raise ReportError(
            f"the report has no column for {', '.join(missing)}. It has: {listed}. Say which is"
            " which in EVPOWER_PAYMENT_REPORT_COLUMNS (docs/reconciliation.md)"
        )
    return places


def _item(cells: Sequence[str], places: Mapping[str, int], columns: ReportColumns) -> HistoryItem:
    values = {key: cells[place].strip() for key, place in places.items()}
    for key, value in values.items():
        if wrong := flaw(value, most=_MAX_CELL):
            raise ReportError(f"{key} {wrong}")
    word = values["status"].lower()
    status = columns.words.get(word)
    if status is None:
        raise ReportError(
            f"the status {values['status']!a:.60} has no meaning yet: for example approved="
            f"{values['status']:.60} in EVPOWER_PAYMENT_REPORT_COLUMNS"
        )
    amount = _minor(values["amount"], columns.unit)
    refunded = _minor(values["refunded"], columns.unit) if values.get("refunded") else 0
    if status == "refunded":
        refunded = refunded or amount
    return HistoryItem(
        order_id=_id(values["order"], "order"),
        transaction_ref=_id(values["trans_id"], "trans_id"),
        status=status,
        amount_minor=amount,
        currency=values.get("currency") or CURRENCY,
        refunded_minor=(refunded or None) if status == "partial_refund" else refunded,
        at=_time(values["date"]),
    )


def _id(text: str, name: str) -> str | None:
    if len(text) > _MAX_ID:
        raise ReportError(f"{name} is longer than {_MAX_ID} characters")
    return text or None


def _minor(text: str, unit: Literal["tyiyn", "som"]) -> int:
    """Returns the amount in tyiyn. Raises ReportError for what can be read in two ways."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ReportError(f"{text!a:.40} is no amount: 1234, 1 234 or 1 234,50 is one")
    whole, part = match["whole"].replace(" ", "").replace("\u00a0", ""), match["part"]
    if unit == "som":
        try:
            return to_minor(read_som(f"{whole}.{part or '0'}"))
        except Invalid as error:
            raise ReportError(f"{text!a:.40}: {error.detail}") from error
    if part is not None:
        raise ReportError(
            f"{text!a:.40} is no number of tyiyn: unit=som in EVPOWER_PAYMENT_REPORT_COLUMNS?"
        )
    if int(whole) > MAX_MINOR:
        raise ReportError(f"{text!a:.40}: the amount is too large")
    return int(whole)


def _time(text: str) -> datetime | None:
    """Returns an ISO time, or a date as in 31.12.2026, with a time of day or without."""
    if not text:
        return None
    iso = text
    if _DATE.fullmatch(text):
        iso = f"{text} 00:00"
    elif local := _LOCAL_DATE.fullmatch(text):
        day, month, year, hour, minute = local.groups()
        iso = f"{year}-{month:0>2}-{day:0>2} {hour or '':0>2}{minute or ':00'}"
    try:
        return read_time(iso, zone=_ZONE)
    except ValueError as error:
        raise ReportError(f"{text!a:.40} is no date and time") from error
