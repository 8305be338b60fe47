"""Pauses double, end at a limit, and spread when asked to."""

import pytest

from evpower.foundation.backoff import Backoff

BACKOFF = Backoff(0.5, 30.0)


@pytest.mark.parametrize(
    ("failures", "pause_s"),
    [(0, 0.5), (1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (8, 30.0), (10**9, 30.0)],
)
def test_the_pause_doubles_up_to_the_longest(failures: int, pause_s: float) -> None:
    assert BACKOFF.pause_s(failures) == pause_s


@pytest.mark.parametrize(("jitter", "factor"), [(0.0, 0.5), (0.5, 1.0), (1.0, 1.5)])
def test_jitter_spreads_it_evenly_around_the_pause(jitter: float, factor: float) -> None:
    assert BACKOFF.pause_s(2, lambda: jitter) == factor
    assert BACKOFF.pause_s(9, lambda: jitter) == 30.0 * factor


def test_a_limit_below_the_first_pause_holds() -> None:
    assert Backoff(1.0, 0.01).pause_s(1) == 0.01
