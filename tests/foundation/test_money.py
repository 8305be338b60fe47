"""Money crosses the edge exactly or not at all."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpower.foundation.errors import Invalid
from evpower.foundation.money import MAX_MINOR, amount_from_json, to_minor, to_som, to_text


@given(st.integers(min_value=-MAX_MINOR, max_value=MAX_MINOR))
def test_every_amount_survives_the_way_out_and_back(minor: int) -> None:
    assert to_minor(to_text(minor)) == minor
    assert amount_from_json(to_som(minor)) == minor


@pytest.mark.parametrize(
    "amount", ["0.001", "12.345", Decimal("0.005"), Decimal("1." + "0" * 400 + "1")]
)
def test_more_decimals_than_the_currency_has_are_refused(amount: Decimal | str) -> None:
    with pytest.raises(Invalid, match=r"decimals|digits"):
        to_minor(amount)


@pytest.mark.parametrize(
    "amount",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "sNaN",
        "",
        "ten",
        "1e309",
        "1e999999",
        "1e-999999",
        "1_000",
        "1e2",
    ],
)
def test_what_is_no_amount_is_refused_at_once(amount: str) -> None:
    with pytest.raises(Invalid):
        to_minor(amount)


@pytest.mark.parametrize("raw", [True, None, [], {}, float("nan"), float("inf"), "1e999990"])
def test_json_that_is_no_amount_is_refused(raw: object) -> None:
    with pytest.raises(Invalid):
        amount_from_json(raw)
