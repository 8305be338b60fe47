"""A circuit breaker: while the target fails, only probes are sent, with growing pauses."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from evpower.foundation.backoff import Backoff
from evpower.foundation.clock import Clock

_BETWEEN_PROBES: Final = Backoff(0.25, 15.0)


class Breaker:
    """Opens at the first failure; then allows one probe at a time, with growing pauses."""

    def __init__(self, clock: Clock, jitter: Callable[[], float]) -> None:
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._probe_at: datetime | None = None
        self._probing = False

    @property
    def open(self) -> bool:
        """Whether the last call failed."""
        return self._probe_at is not None

    def allows(self) -> bool:
        """Returns whether a call may start now; when open, this call becomes the probe."""
        if self._probe_at is None:
            return True
        if self._probing or self._clock() < self._probe_at:
            return False
        self._probing = True
        return True

    def wait_s(self) -> float:
        """Returns the seconds until the next probe; 0 when closed or due."""
        if self._probe_at is None:
            return 0.0
        return max(0.0, (self._probe_at - self._clock()).total_seconds())

    def unused(self) -> None:
        """Gives the allowed call back: there was nothing to send."""
        self._probing = False

    def succeeded(self) -> None:
        """Closes the breaker: the target responded."""
        self._failures = 0
        self._probe_at = None
        self._probing = False

    def failed(self) -> None:
        """Counts one failure; calls already under way when it opened are not counted again."""
        if self._probe_at is not None and not self._probing:
            return
        self._failures += 1
        pause_s = _BETWEEN_PROBES.pause_s(self._failures, self._jitter)
        self._probe_at = self._clock() + timedelta(seconds=pause_s)
        self._probing = False
