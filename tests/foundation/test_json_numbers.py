"""A whole number may be written with a point."""

import pytest

from evpower.foundation.json_numbers import whole


@pytest.mark.parametrize(
    ("written", "meant"), [(2.0, 2), (-0.0, 0), (1e3, 1000), (2.0**53 - 1, 2**53 - 1), (7, 7)]
)
def test_a_whole_number_is_an_int(written: float, meant: int) -> None:
    assert whole(written) == meant
    assert type(whole(written)) is int


@pytest.mark.parametrize("other", [1.5, 2.0**53, 1e300, float("inf"), "1", True, None, [1.0]])
def test_anything_else_stays_as_it_came(other: object) -> None:
    assert whole(other) is other


def test_not_a_number_stays_as_it_came() -> None:
    nan = float("nan")
    assert whole(nan) is nan
