"""What two editions measured beside each other says of them."""

import pytest

from bench.against import compare


def test_a_rate_that_fell_in_every_round_became_worse() -> None:
    row = compare("relay", [0.80, 0.82, 0.81, 0.79], [1.0, 1.01, 0.99, 1.0], more=True)
    assert row.is_worse
    assert row.high < 0.95


def test_a_time_that_grew_in_every_round_became_worse() -> None:
    row = compare("lag", [5.0, 5.2, 5.1], [4.0, 4.1, 4.05], more=False)
    assert row.is_worse


def test_within_five_percent_is_no_worse() -> None:
    assert not compare("relay", [0.97, 0.96, 0.97], [1.0, 1.0, 1.0], more=True).is_worse


def test_what_scatters_more_than_it_fell_is_no_worse() -> None:
    assert not compare("relay", [0.5, 1.2, 0.6], [1.0, 0.9, 0.8], more=True).is_worse


def test_one_round_compares_nothing() -> None:
    with pytest.raises(ValueError, match="1 and 1 rounds"):
        compare("relay", [1.0], [1.0], more=True)
