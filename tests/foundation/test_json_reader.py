"""JSON from outside is bounded, and what is wrong with it is said."""

import math
from decimal import Decimal

import pytest

from evpower.foundation.json_reader import (
    NotAnObject,
    NotJson,
    read_exact_object,
    read_handwritten_json,
    read_json,
    read_object,
    read_stored_json,
)

BROKEN = [b"", b"{", b"[1,]", b'{"a":1}x', b"\xff", b'{"a":NaN}', b"[" * 5000 + b"]" * 5000]


@pytest.mark.parametrize("raw", BROKEN)
def test_what_is_no_json_is_refused_by_every_reader(raw: bytes) -> None:
    for read in (
        read_json, read_object, read_handwritten_json, lambda text: read_exact_object(text, str)
    ):  # fmt: skip
        with pytest.raises(NotJson):
            read(raw)


@pytest.mark.parametrize("raw", [raw for raw in BROKEN if b"NaN" not in raw])
def test_stored_json_is_refused_too(raw: bytes) -> None:
    with pytest.raises(NotJson):
        read_stored_json(raw)


def test_the_reason_names_the_place() -> None:
    with pytest.raises(NotJson, match=r"is not JSON: .*line 1 column 8"):
        read_json(b'{"a":1}x')


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"text"'])
def test_another_value_than_an_object_is_told_apart(raw: bytes) -> None:
    for read in (read_object, lambda text: read_exact_object(text, str)):
        with pytest.raises(NotAnObject):
            read(raw)


def test_a_text_over_the_bound_is_not_read() -> None:
    assert read_json(b'"1234"', max_bytes=6) == "1234"
    for read in (read_json, read_object, read_stored_json):
        with pytest.raises(NotJson, match="larger than 5 bytes"):
            read(b'"1234"', max_bytes=5)


def test_a_number_postgresql_can_hold_and_no_float_hides_nothing_beside_it() -> None:
    read = read_stored_json(b'{"far": 1e400, "version": 9007199254740993}')
    assert read == {"far": math.inf, "version": 2**53 + 1}


def test_numbers_are_read_as_the_caller_wants() -> None:
    assert read_exact_object(b'{"a": 0.1, "b": 7}', Decimal) == {
        "a": Decimal("0.1"),
        "b": Decimal(7),
    }


def test_constants_are_refused_unless_they_are_asked_for() -> None:
    with pytest.raises(NotJson):
        read_exact_object(b'{"a": NaN}', str)
    assert read_exact_object(b'{"a": NaN}', str, constant=str) == {"a": "NaN"}


def test_a_member_that_a_person_wrote_twice_is_refused() -> None:
    assert read_handwritten_json(b'[{"a":1},{"a":0.5}]') == [{"a": 1}, {"a": 0.5}]
    with pytest.raises(NotJson, match="the member 'b' occurs twice"):
        read_handwritten_json(b'{"a":{"b":1,"c":2,"b":3}}')
