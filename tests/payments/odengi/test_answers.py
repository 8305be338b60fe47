"""The bank's answers in every form that was seen: words and numbers, texts and integers."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpower.payments.providers.odengi.answers import (
    BankAttempt,
    BankError,
    BillState,
    NewBill,
    NotAnAnswer,
    read_amount,
    read_answer,
    read_bill,
    read_bill_state,
)

ITEM = {"trans_id": "1009001", "status": "approved", "amount": "12550", "test": 0}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["data", "error", "desc", "payments", "status", "status_pay", "trans_id",
                         "amount", "amount_old", "test", "invoice_id", "qr", "code"]),
        inner, max_size=6,
    ),
    max_leaves=20,
)  # fmt: skip


def attempt(**changes: Any) -> BankAttempt:
    [read] = read_bill_state({"payments": [ITEM | changes]}).attempts
    return read


def answer(**members: Any) -> bytes:
    return json.dumps({"version": 1005, "cmd": "statusPayment", **members}).encode()


class TestStates:
    @pytest.mark.parametrize(
        ("status", "state"),
        [
            ("approved", "approved"), ("Approved", "approved"), (3, "approved"), ("3", "approved"),
            ("processing", "processing"), ("waitingauthcomplete", "processing"),
            ("9", "processing"), (9, "processing"), (1, "processing"), (4, "processing"),
            (8, "processing"), (0, "processing"), ("paid", "processing"), (7, "processing"),
            ("canceled", "canceled"), (2, "canceled"), ("2", "canceled"),
            (6, "partial_refund"), ("6", "partial_refund"),
            (None, "processing"), ("", "processing"), (3.0, "processing"), (True, "processing"),
            ([], "processing"), ({}, "processing"),
        ],
    )  # fmt: skip
    def test_a_word_or_a_number(self, status: object, state: str) -> None:
        read = attempt(status=status)
        assert (read.state, read.is_contradictory) == (state, False)

    def test_the_number_counts_where_the_word_is_missing(self) -> None:
        for status in (None, ""):
            assert attempt(status=status, status_pay=3).state == "approved"

    @pytest.mark.parametrize(
        ("word", "number", "state"),
        [
            ("approved", 2, "approved"), ("approved", 1, "approved"), ("approved", 4, "approved"),
            ("approved", "6", "approved"), ("processing", 3, "approved"),
            ("canceled", 3, "approved"), ("waitingauthcomplete", "3", "approved"),
            ("processing", 6, "partial_refund"), ("canceled", 1, "canceled"),
            ("paid", 3, "approved"), ("success", 2, "canceled"), (2, 3, "approved"),
        ],
    )  # fmt: skip
    def test_a_word_against_a_number_is_in_doubt(
        self, word: object, number: object, state: str
    ) -> None:
        read = attempt(status=word, status_pay=number)
        assert (read.state, read.is_contradictory) == (state, True)

    @pytest.mark.parametrize(
        ("word", "number"),
        [("approved", 3), ("approved", "3"), ("processing", 1), ("waitingauthcomplete", 4),
         ("canceled", 2), ("approved", None), ("approved", ""), (3, 3), ("paid", 1)],
    )  # fmt: skip
    def test_a_word_and_its_number_agree(self, word: object, number: object) -> None:
        assert not attempt(status=word, status_pay=number).is_contradictory


class TestAmounts:
    @pytest.mark.parametrize(
        ("amount", "before", "paid"),
        [
            ("12550", None, 12_550), (12_550, None, 12_550), ("12801", "12550", 12_550),
            (12_801, 12_550, 12_550), ("12550", 0, 12_550), ("12550", "", 12_550),
            ("12550", "0", 12_550), (None, "12550", 12_550), ("012550", None, 12_550),
            ("125.50", None, None), (125.5, None, None), (12_550.0, None, None), ("", None, None),
            (None, None, None), (True, None, None), (-1, None, None), ("-1", None, None),
            ("1e4", None, None), ("12550", "x", None), ("12550", 12_550.0, None),
            ("٣", None, None), (10**15, None, None), ([], None, None), ("12550", [], None),
        ],
    )  # fmt: skip
    def test_the_amount_before_a_commission_counts_first(
        self, amount: object, before: object, paid: int | None
    ) -> None:
        assert attempt(amount=amount, amount_old=before).paid_minor == paid

    @given(minor=st.integers(0, 10**11))
    def test_any_amount_is_the_same_as_text_and_as_number(self, minor: int) -> None:
        assert read_amount(minor) == read_amount(str(minor)) == minor


class TestBillState:
    def test_before_the_first_attempt_there_is_a_state_only(self) -> None:
        assert read_bill_state({"status": "processing"}) == BillState(None, False, False, ())
        assert read_bill_state({"status": "canceled", "invoice_id": 12}) == BillState(
            "12", True, False, ()
        )

    def test_every_attempt_is_read_and_a_state_may_be_missing(self) -> None:
        items = [ITEM | {"status": 2, "trans_id": 17}, ITEM, "x", ITEM | {"trans_id": "0012"}]
        state = read_bill_state({"payments": items})
        assert [(item.trans_id, item.state) for item in state.attempts] == [
            ("17", "canceled"), ("1009001", "approved"), ("0012", "approved"),
        ]  # fmt: skip
        assert not state.is_canceled

    def test_a_list_whose_numbers_have_a_gap(self) -> None:
        state = read_bill_state({"payments": {"0": ITEM, "2": ITEM | {"trans_id": "2"}}})
        assert [item.trans_id for item in state.attempts] == ["1009001", "2"]

    @pytest.mark.parametrize("listed", [[], None, ""])
    def test_no_attempts(self, listed: object) -> None:
        assert read_bill_state({"payments": listed, "status": "approved"}).is_approved

    @pytest.mark.parametrize("trans_id", [None, "", " ", [], True, "a\nb", "1" * 129])
    def test_an_attempt_without_an_id(self, trans_id: object) -> None:
        assert attempt(trans_id=trans_id).trans_id is None

    @pytest.mark.parametrize(("test", "is_test"), [(0, False), ("0", False), (None, False),
        ("", False), (1, True), ("1", True), (True, True), ("yes", True), ([1], True)])  # fmt: skip
    def test_a_test_payment(self, test: object, is_test: object) -> None:
        assert attempt(test=test).is_test is is_test

    def test_an_answer_without_a_state(self) -> None:
        with pytest.raises(NotAnAnswer):
            read_bill_state({"invoice_id": "1"})


class TestBill:
    def test_all_its_members(self) -> None:
        data = {
            "invoice_id": "001234567890",
            "qr": "https://test.example/qr.php?type=emvQr&data=0002D",
            "emv_qr": "https://test.example/qr.php",
            "emv_qr_data": "0002A",
            "qr_url": "https://api.example/#0002B",
            "paylink_url": "https://pay.example/1",
            "link_app": "https://o.kg/l/a?t=wl_unpbill&id=001234567890",
            "site_pay": "https://site.example/",
        }
        assert read_bill(data) == NewBill(
            "001234567890", ("0002A", "0002B", "0002D"), data["qr"], data["link_app"],
            data["paylink_url"],
        )  # fmt: skip

    def test_only_its_id(self) -> None:
        assert read_bill({"invoice_id": 12}) == NewBill("12", (), None, None, None)

    def test_a_picture_that_is_no_address(self) -> None:
        data = {"invoice_id": "1", "qr": "iVBORw0KGgo=", "emv_qr": "https://a.example/q"}
        assert read_bill(data).picture == "https://a.example/q"
        for bad in ("javascript:alert(1)", "https://a b", "http://", "https://" + "a" * 3000):
            assert read_bill({"invoice_id": "1", "qr": bad, "link_app": bad}).picture is None

    @pytest.mark.parametrize("invoice_id", [None, "", 1.5, [], {"a": 1}])
    def test_without_an_id_it_is_no_bill(self, invoice_id: object) -> None:
        with pytest.raises(NotAnAnswer):
            read_bill({"invoice_id": invoice_id, "qr": "https://a.example"})


class TestErrors:
    @pytest.mark.parametrize(
        ("members", "code", "description"),
        [
            ({"data": {"error": 45, "desc": "Счет оплачен"}}, "45", "Счет оплачен"),
            ({"data": {"error": "26", "desc": None}}, "26", ""),
            ({"data": {"error": 63}}, "63", ""),
            ({"error": {"code": 7, "message": "no"}}, "7", "no"),
            ({"error": 12, "desc": "x\ny", "data": []}, "12", "xy"),
            ({"data": {"error": {"code": "5", "message": "z"}}}, "5", "z"),
        ],
    )
    def test_an_error_wherever_it_stands(
        self, members: dict[str, Any], code: str, description: str
    ) -> None:
        with pytest.raises(BankError) as refused:
            read_answer(answer(**members))
        assert (refused.value.code, refused.value.description) == (code, description)

    @pytest.mark.parametrize("error", [None, 0, "0", ""])
    def test_no_error(self, error: object) -> None:
        assert read_answer(answer(data={"error": error, "status": "processing"}))

    def test_its_text_is_short(self) -> None:
        with pytest.raises(BankError) as refused:
            read_answer(answer(data={"error": 1, "desc": "x" * 5000}))
        assert len(str(refused.value)) < 300

    @pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"<html>", b"{}", b'{"cmd":"x"}'])
    def test_what_is_no_answer(self, raw: bytes) -> None:
        with pytest.raises(NotAnAnswer):
            read_answer(raw)

    def test_empty_data(self) -> None:
        assert read_answer(answer(data=[])) == {}


@given(members=st.dictionaries(st.sampled_from(["data", "error", "desc"]), JSON, max_size=3))
def test_any_answer_is_read_or_refused(members: dict[str, Any]) -> None:
    with contextlib.suppress(NotAnAnswer, BankError):
        data = read_answer(answer(**members))
        for read in (read_bill, read_bill_state):
            with contextlib.suppress(NotAnAnswer):
                read(data)
