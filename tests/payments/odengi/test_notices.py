"""Any notice from any address: a question, or one of two refusals; trusted only by its hash."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from evpower.foundation.errors import Invalid, Unauthenticated
from evpower.payments.providers.odengi.client import Merchant
from evpower.payments.providers.odengi.notice import bank_order, our_order, read_notice
from evpower.payments.providers.protocol import NoticeRequest, Question
from tests.payments.odengi.test_signing import NOTICE, PASSWORD
from tests.payments.odengi.test_signing import notice as signed_notice

MERCHANT = Merchant("https://bank.example/json.php", NOTICE["site_id"], PASSWORD)
VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.just([1])
NAMES = st.sampled_from([*NOTICE, "hash", "invoice_id", "mobile"])
FORM = "application/x-www-form-urlencoded"


def read(raw: bytes, **how: Any) -> Question | str:
    fields: dict[str, Any] = {"method": "POST", "query": "", "headers": {}} | how
    request = NoticeRequest(path="/", host="", raw=raw, peer="", **fields)
    try:
        return read_notice(MERCHANT, request)
    except (Invalid, Unauthenticated) as refused:
        return refused.code


@given(raw=st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_any_bytes_are_answered(raw: bytes) -> None:
    for headers in ({}, {"content-type": FORM}, {"X-O-Dengi-Signature": "00"}):
        answered = read(raw, headers=headers)
        assert isinstance(answered, str) or not answered.trusted
    assert isinstance(read(raw, method="GET", query=raw.decode("latin-1")), str | Question)


def text_of(value: object) -> str:
    """The text that is signed."""
    if isinstance(value, bool):
        return "1" if value else ""
    return str(value) if isinstance(value, int | str) else ""


@given(changes=st.dictionaries(NAMES, VALUES, max_size=4))
def test_no_change_of_a_signed_notice_is_trusted(changes: dict[str, Any]) -> None:
    right = signed_notice()
    read_notice_again = read(json.dumps(right | changes).encode())
    texts = {name: text_of(value) for name, value in changes.items() if name in right}
    is_same = all(
        text.lower() == right[name] if name == "hash" else text == right[name]
        for name, text in texts.items()
    )
    if is_same:
        assert isinstance(read_notice_again, Question)
        assert (read_notice_again.order_id, read_notice_again.trusted) == (right["order_id"], True)
    else:
        assert isinstance(read_notice_again, str) or read_notice_again.refusal


@given(
    order=st.from_regex(r"(qr|card)_topup_[a-z0-9]{12}", fullmatch=True), bill=st.integers(1, 99)
)
def test_the_bank_s_order_leads_back_to_ours(order: str, bill: int) -> None:
    assert our_order(bank_order(order, bill)) == order
