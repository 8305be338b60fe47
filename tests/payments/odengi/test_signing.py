"""What is signed is what is sent, and a notice's hash is over the texts as they came."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpower.payments.providers.odengi.signing import (
    answer_hash,
    mktime,
    notice_is_signed,
    request_body,
    safe_text,
)
from tests.growth import assert_linear

PASSWORD = "ключ for tests only".encode()
NOW = datetime(2026, 11, 29, 12, 0, 0, 250_000, tzinfo=UTC)
DATA: dict[str, Any] = {"order_id": "qr_topup_abc", "amount": 12_550, "desc": "EvPower", "test": 0}
NOTICE = {
    "trans_id": "1009001",
    "status_pay": "3",
    "site_id": "4672496329",
    "order_id": "qr_topup_abc",
    "amount": "12550",
    "currency": "KGS",
    "mktime": "1795953600250",
    "test": "0",
}
# Letters that PHP and Python write alike; the rest is replaced before it is signed.
LETTERS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\u2028\u2029"), max_size=40
)
PLAIN = st.none() | st.integers(-(10**15), 10**15) | LETTERS


def body(data: dict[str, Any] = DATA, **changes: str) -> bytes:
    how = {"command": "createInvoice", "sid": "4672496329", "time": mktime(NOW, "ms"), **changes}
    return request_body(PASSWORD, data=data, **how)


def mac(message: str | bytes, password: bytes = PASSWORD) -> str:
    raw = message.encode() if isinstance(message, str) else message
    return hmac.new(password, raw, hashlib.md5).hexdigest()


def notice(*, password: bytes = PASSWORD, **changes: str) -> dict[str, str]:
    fields = NOTICE | changes
    return fields | {"hash": mac(":::".join(fields[name] for name in NOTICE), password)}


class TestRequest:
    def test_its_bytes_are_these(self) -> None:
        unsigned = (
            '{"cmd":"createInvoice","version":1005,"sid":"4672496329","mktime":"1795953600250",'
            '"lang":"ru","data":{"desc":"Зарядка №1/2 «Эл»","return_url":null,"amount":12550}}'
        )
        raw = body({"desc": "Зарядка №1/2 «Эл»", "return_url": None, "amount": 12_550})
        assert raw.decode() == unsigned[:-1] + f',"hash":"{mac(unsigned)}"}}'

    def test_a_computed_vector(self) -> None:
        raw = request_body(
            b"a password", command="statusPayment", sid="1", time="2", data={"order_id": "x"}
        )
        assert json.loads(raw)["hash"] == "8db71577a0468600fafd811473574bd1"  # by openssl

    def test_time_is_in_the_unit_of_the_setting(self) -> None:
        assert (mktime(NOW, "ms"), mktime(NOW, "s")) == ("1795953600250", "1795953600")

    @pytest.mark.parametrize(
        "value",
        [1.5, {}, {"a": {}}, {"a": 1.0}, "a\u2028b", "a\u2029b", "\ud800", [1], b"x", {1: "a"}],
        ids=repr,
    )
    def test_what_may_be_written_in_two_ways_is_not_sent(self, value: object) -> None:
        with pytest.raises(ValueError, match=r"line separator|empty|several ways"):
            body({"desc": value})

    def test_no_data_is_not_sent(self) -> None:
        with pytest.raises(ValueError, match="empty"):
            body({})

    @given(text=st.text(max_size=60))
    def test_a_driver_s_text_is_made_safe(self, text: str) -> None:
        safe = safe_text(text, most=30)
        assert len(safe) <= 30
        assert not set(safe) & set("\n\r\t\0\u2028\u2029")
        body({"desc": safe})

    def test_a_text_keeps_its_letters_and_inner_spaces(self) -> None:
        assert safe_text(" Тойота  Камри\u2028A\n", most=1000) == "Тойота  Камри A"

    @given(data=st.dictionaries(LETTERS, PLAIN, min_size=1, max_size=5))
    def test_any_request_is_read_back_and_signed_over_what_is_sent(
        self, data: dict[str, Any]
    ) -> None:
        raw = body(data)
        members = json.loads(raw)
        assert list(members)[-1] == "hash"
        assert members["data"] == data
        tail = b',"hash":"%b"}' % members["hash"].encode()
        assert raw.endswith(tail)
        assert members["hash"] == mac(raw.removesuffix(tail) + b"}")


class TestNotice:
    def test_the_right_hash_in_either_case(self) -> None:
        fields = notice()
        assert notice_is_signed(PASSWORD, fields)
        assert notice_is_signed(PASSWORD, fields | {"hash": fields["hash"].upper()})

    def test_missing_members_count_as_empty(self) -> None:
        fields = notice(currency="", test="")
        del fields["currency"], fields["test"]
        assert notice_is_signed(PASSWORD, fields)

    @pytest.mark.parametrize("name", NOTICE)
    def test_each_signed_member_counts(self, name: str) -> None:
        fields = notice()
        assert not notice_is_signed(PASSWORD, fields | {name: fields[name] + "0"})
        assert not notice_is_signed(PASSWORD, fields | {name: ""})

    def test_other_members_do_not_count(self) -> None:
        assert notice_is_signed(PASSWORD, notice() | {"mobile": "996555000000", "fname": "A"})

    @pytest.mark.parametrize("given", ["", "0", "я" * 32, "\ud800", "a" * 31])
    def test_another_hash(self, given: str) -> None:
        assert not notice_is_signed(PASSWORD, notice() | {"hash": given})

    def test_half_of_a_character_is_no_crash(self) -> None:
        assert not notice_is_signed(PASSWORD, NOTICE | {"order_id": "\ud800", "hash": "0" * 32})

    def test_another_password(self) -> None:
        assert not notice_is_signed(b"another", notice())


class TestAnswer:
    UNSIGNED = (
        '{"version":1005,"cmd":"statusPayment","data":{"desc":"\\/ \\u041e","hash":"of desc"}}'
    )

    def test_a_hash_over_the_text_as_sent(self) -> None:
        end = f',"hash":"{mac(self.UNSIGNED)}"}}'
        assert answer_hash(PASSWORD, (self.UNSIGNED[:-1] + end).encode()) == "right"
        spaced = (self.UNSIGNED[:-1] + end).replace(
            ',"hash":"' + end[9:12], ', "hash": "' + end[9:12]
        )
        assert answer_hash(PASSWORD, spaced.encode()) == "right"

    def test_a_hash_at_the_beginning(self) -> None:
        data = '{"data":{"status":"processing"}}'
        raw = f'{{"hash":"{mac(data)}",{data[1:]}'
        assert answer_hash(PASSWORD, raw.encode()) == "right"

    def test_a_wrong_and_a_missing_one(self) -> None:
        assert answer_hash(PASSWORD, b'{"data":{},"hash":"00"}') == "wrong"
        assert answer_hash(PASSWORD, b'{"data":{}}') == "missing"
        assert answer_hash(PASSWORD, b'{"data":{},"hash":null}') == "missing"

    @pytest.mark.parametrize(
        "unit", [b" ", b" ,", b'"hash"', b'"hash" : ', b'"hash":"', b'"hash":""']
    )
    def test_no_answer_takes_longer_than_its_length_explains(self, unit: bytes) -> None:
        assert_linear(lambda raw: answer_hash(PASSWORD, raw), lambda size: b"{" + unit * size, 150)

    @given(
        raw=st.binary(max_size=60)
        | st.from_regex(r'\{.{0,9},?"hash":"[^"]*"[,}].{0,9}').map(str.encode)
    )
    def test_any_bytes_are_judged(self, raw: bytes) -> None:
        assert answer_hash(PASSWORD, raw) in {"right", "wrong", "missing"}
