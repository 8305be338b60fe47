"""How the work of a function grows with its input."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_TIMES = 3  # the least of them counts: what else runs on the machine only adds
_LONGER = 4
_MOST = 10  # times as long for an input four times as long: linear takes 4, quadratic 16


def assert_linear(work: Callable[[T], object], make: Callable[[int], T], size: int) -> None:
    """Asserts that the CPU time of `work` grows with the size of its input, not with its square."""
    short_s, long_s = _cpu_s(work, make(size)), _cpu_s(work, make(_LONGER * size))
    assert long_s < _MOST * short_s, f"{short_s:.6f} s for {size}, {long_s:.6f} s for {_LONGER}x"


def _cpu_s(work: Callable[[T], object], value: T) -> float:
    least_s = float("inf")
    for _ in range(_TIMES):
        began_s = time.thread_time()
        work(value)
        least_s = min(least_s, time.thread_time() - began_s)
    return least_s
