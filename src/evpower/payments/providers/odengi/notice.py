"""Reads the bank's notices. None credits anything: each only causes a question to the bank."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from evpower.foundation.errors import Invalid, Unauthenticated
from evpower.foundation.json_reader import NotJson, read_exact_object
from evpower.foundation.text import flaw
from evpower.payments.providers.odengi import metrics
from evpower.payments.providers.odengi.client import Merchant
from evpower.payments.providers.odengi.signing import notice_is_signed
from evpower.payments.providers.protocol import NoticeRequest, Question

_OLD_HEADER: Final = "x-o-dengi-signature"  # of a scheme that no other merchant knows
_BILL: Final = re.compile(r"-[0-9]{1,3}$")
_MOST: Final = 128  # characters of an id
_MAX_FIELDS: Final = 64
_FORM: Final = "application/x-www-form-urlencoded"


def bank_order(order_id: str, bill: int) -> str:
    """Returns the order id of an order's n-th bill at the bank: the bank may refuse one twice."""
    return order_id if bill == 1 else f"{order_id}-{bill}"


def our_order(bank_order_id: str) -> str:
    """Returns our order id for the bank's, without the number of a further bill."""
    return _BILL.sub("", bank_order_id)


def read_notice(merchant: Merchant, request: NoticeRequest) -> Question:
    """Returns the question that a notice causes; trusted only with a right hash.

    Raises Unauthenticated("invalid_signature") when an untrusted one names no order,
    Invalid("invalid_webhook") for one that can't be read, or that says that no money moved.
    """
    is_form = request.headers.get("content-type", "").strip().lower().startswith(_FORM)
    if request.method != "POST" or is_form:
        return _question(_form_fields(request, is_form=is_form))
    fields = _json_fields(request.raw)
    if "hash" not in fields and any(name.lower() == _OLD_HEADER for name in request.headers):
        return _question(fields)
    if not (notice_is_signed(merchant.password, fields) and fields.get("site_id") == merchant.sid):
        metrics.HASHES.labels("notice", "wrong" if fields.get("hash") else "missing").inc()
        if not (fields.get("order_id") or fields.get("invoice_id")):
            raise Unauthenticated("invalid_signature", "the notice's hash is wrong")
        return _question(fields, refusal=True)
    metrics.HASHES.labels("notice", "right").inc()
    if fields.get("test", "") not in {"", "0"} and not merchant.is_test:
        raise Invalid("invalid_webhook", "a test notice")
    return _question(fields, trusted=True)


def _question(
    fields: Mapping[str, str], *, trusted: bool = False, refusal: bool = False
) -> Question:
    order, bill = _identifier(fields.get("order_id")), _identifier(fields.get("invoice_id"))
    if order is None and bill is None:
        raise Invalid("invalid_webhook", "the notice names no order")
    return Question(
        None if order is None else our_order(order),
        bill,
        trusted,
        "invalid_signature" if refusal else "",
    )


def _identifier(value: str | None) -> str | None:
    return value if value and not flaw(value, most=_MOST) else None


def _json_fields(raw: bytes) -> dict[str, str]:
    """Returns the text of each member as it was sent: 100.0 and 1e2 stay what they are."""
    try:
        members = read_exact_object(raw, str)
    except NotJson as error:
        raise Invalid("invalid_webhook", f"the notice {error}") from error
    texts: dict[str, str] = {}
    for name, value in members.items():
        if value is None or value is False:
            texts[name] = ""
        elif value is True:
            texts[name] = "1"
        elif isinstance(value, str):
            texts[name] = value
    return texts


def _form_fields(request: NoticeRequest, *, is_form: bool) -> dict[str, str]:
    try:
        text = request.raw.decode() if is_form else request.query
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise Invalid("invalid_webhook", "the notice's fields can't be read") from error
