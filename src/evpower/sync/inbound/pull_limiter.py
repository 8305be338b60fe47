"""Limits how often notifications make a process pull, so that many at once are pulled together."""

import time
from collections.abc import Callable


class PullLimiter:
    """The first `burst` pulls follow their notifications at once, more come `per_s` a second."""

    def __init__(
        self, burst: int, per_s: float, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = float(burst)
        self._per_s = per_s
        self._now_s = now_s
        self._left = self._burst
        self._counted_at = now_s()

    def count(self) -> float:
        """Counts a pull. Returns the seconds to wait before the next one."""
        now_s = self._now_s()
        refilled = self._left + (now_s - self._counted_at) * self._per_s
        self._left, self._counted_at = min(self._burst, refilled) - 1, now_s
        return max(0.0, -self._left / self._per_s)
