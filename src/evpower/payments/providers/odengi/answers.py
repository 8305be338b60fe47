"""Reads the bank's answers: an error, a new bill, the attempts to pay one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, cast
from zoneinfo import ZoneInfo

from evpower.foundation.clock import read_time
from evpower.foundation.json_reader import NotJson, as_object, read_json
from evpower.foundation.money import MAX_MINOR
from evpower.foundation.text import flaw

ZONE: Final = ZoneInfo("Asia/Bishkek")  # of the times the bank reads and writes
AttemptState = Literal["processing", "approved", "canceled", "partial_refund"]
_WORDS: Final[Mapping[str, AttemptState]] = {
    "processing": "processing",
    "approved": "approved",
    "canceled": "canceled",
    "waitingauthcomplete": "processing",  # held on a card, and not yet paid
}
# The bank's own table. Other sources give 1 and 4 other meanings: these credit nothing.
_NUMBERS: Final[Mapping[int, AttemptState]] = {
    2: "canceled",
    3: "approved",
    6: "partial_refund",
}
# Of two that contradict each other, the one that a person must look at.
_DECISIVE: Final[tuple[AttemptState, ...]] = ("approved", "partial_refund", "canceled")
_ABSENT: Final = (None, "", 0, "0")
_DIGITS: Final = re.compile(r"[0-9]{1,15}")
_SHORT: Final = 128
_ADDRESS: Final = 2048  # characters
_SHOWN: Final = 200  # characters of the bank's words about an error
_LINK: Final = re.compile(r"https?://[\x21-\x7e]+")
_DRAWN: Final = re.compile(r"[?&]data=([^&#]+)")  # in the address of a picture


class NotAnAnswer(ValueError):
    """The text is no answer of the bank; says why."""


@dataclass(frozen=True, slots=True)
class BankError(Exception):
    """The bank refused a command: its code, and its words."""

    code: str
    description: str

    def __str__(self) -> str:
        return f"the bank answered error {self.code}: {self.description}"


@dataclass(frozen=True, slots=True)
class NewBill:
    """A new bill. Of the texts the bank may leave out any but its id."""

    invoice_id: str
    texts: tuple[str, ...]  # that may be an ELQR, the best first
    picture: str | None
    app_link: str | None
    page: str | None  # with buttons of the banks


@dataclass(frozen=True, slots=True)
class BankAttempt:
    """One attempt to pay a bill. Amounts in tyiyn; None: unreadable."""

    trans_id: str | None
    state: AttemptState
    is_contradictory: bool  # its word and its number differ
    paid_minor: int | None
    currency: str | None
    is_test: bool
    paid_at: datetime | None


@dataclass(frozen=True, slots=True)
class BillState:
    """What the bank says about a bill: its own state, and every attempt."""

    invoice_id: str | None
    is_canceled: bool
    is_approved: bool  # the bill's own word
    attempts: tuple[BankAttempt, ...]


def read_answer(raw: bytes) -> dict[str, Any]:
    """Returns the members of `data`, none where it has none. Raises BankError, NotAnAnswer."""
    try:
        answer = as_object(read_json(raw))
    except NotJson as error:
        raise NotAnAnswer(str(error)) from error
    data = _members(answer.get("data"))
    for place in (data, answer):
        if (error := _error(place)) is not None:
            raise error
    if "data" not in answer:
        raise NotAnAnswer("has no data")
    return data


def read_bill(data: Mapping[str, Any]) -> NewBill:
    """Returns a new bill. Raises NotAnAnswer when it has no id."""
    invoice_id = _identifier(data.get("invoice_id"))
    if invoice_id is None:
        raise NotAnAnswer("names no bill")
    picture = _link(data, "qr", "emv_qr")
    drawn = [_DRAWN.search(_text(data.get(name))) for name in ("qr", "emv_qr")]
    texts = [
        _text(data.get("emv_qr_data")),
        _text(data.get("qr_url")).partition("#")[2],
        *(match[1] for match in drawn if match),
    ]
    return NewBill(
        invoice_id,
        tuple(text for text in texts if text),
        picture,
        _link(data, "link_app", "app_link"),
        _link(data, "paylink_url", "site_pay"),
    )


def read_bill_state(data: Mapping[str, Any]) -> BillState:
    """Returns a bill's state from either form of statusPayment's answer. Raises NotAnAnswer."""
    listed = data.get("payments")
    if isinstance(listed, dict):  # PHP writes a list so whose numbers have a gap
        listed = list(cast("dict[str, object]", listed).values())
    items = cast("list[object]", listed) if isinstance(listed, list) else []
    attempts = tuple(
        _attempt(cast("dict[str, Any]", item)) for item in items if isinstance(item, dict)
    )
    state, _ = _state(data)
    if not {"status", "status_pay", "payments"} & data.keys():
        raise NotAnAnswer("names no state")
    return BillState(
        _identifier(data.get("invoice_id")), state == "canceled", state == "approved", attempts
    )


def read_amount(value: object) -> int | None:
    """Returns an amount in whole tyiyn, a number or its digits as text; None: it is neither."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_MINOR:
        return None
    return value


def read_state(value: object) -> AttemptState | None:
    """Returns what a word or a number of the bank means; None: it is not there or is unknown."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _WORDS:
            return _WORDS[word]
        value = int(word) if _DIGITS.fullmatch(word) else None
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return _NUMBERS.get(value, "processing")


def _attempt(item: Mapping[str, Any]) -> BankAttempt:
    state, is_contradictory = _state(item)
    before = item.get("amount_old")
    counted = item.get("amount") if before in _ABSENT else before
    currency = item.get("currency")
    return BankAttempt(
        _identifier(item.get("trans_id")),
        state,
        is_contradictory,
        read_amount(counted),
        currency if isinstance(currency, str) and not flaw(currency, most=_SHORT) else None,
        is_test_payment(item.get("test")),
        _time(item.get("date_pay")),
    )


def _state(item: Mapping[str, Any]) -> tuple[AttemptState, bool]:
    """Returns the state, and whether the word and the number in it contradict each other."""
    word, number = item.get("status"), item.get("status_pay")
    states = {read_state(word), read_state(number)} - {None}
    has_unknown_word = bool(word) and read_state(word) is None
    for state in _DECISIVE:
        if state in states:
            return state, len(states) > 1 or has_unknown_word
    return "processing", False


def is_test_payment(value: object) -> bool:
    """Whether a member `test` says that no real money moved."""
    return value not in _ABSENT


def _error(members: Mapping[str, Any]) -> BankError | None:
    error, description = members.get("error"), members.get("desc")
    if isinstance(error, dict):  # {"code": ..., "message": ...}
        fields = cast("dict[str, object]", error)
        error, description = fields.get("code", ""), fields.get("message")
    if error in _ABSENT:
        return None
    return BankError(_shown(error), _shown(description))


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return "".join(letter for letter in text if letter.isprintable())[:_SHOWN]


def _members(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _identifier(value: object) -> str | None:
    """Returns an id as text; the bank sends it as a text or as a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or flaw(value, most=_SHORT):
        return None
    return value.strip()


def _time(value: object) -> datetime | None:
    """Returns the bank's local time; None if it can't be read: it is informative only."""
    if not isinstance(value, str):
        return None
    try:
        return read_time(value, zone=ZONE)
    except ValueError:
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _link(data: Mapping[str, Any], *names: str) -> str | None:
    """Returns the first of these members that is an address."""
    for name in names:
        value = _text(data.get(name))
        if len(value) <= _ADDRESS and _LINK.fullmatch(value):
            return value
    return None
