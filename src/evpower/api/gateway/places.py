"""How many requests are served at once, and how many of them may be anonymous."""

from collections.abc import Callable
from typing import Final

from evpower.api import metrics
from evpower.foundation.errors import Unavailable

_RESERVED: Final = 4  # one place in four is reserved for callers with a verified credential
_IDENTIFYING: Final = 4  # times as many requests may be identified as may be served
_OVERLOADED_S: Final = 2.0  # after the last refusal


class Places:
    """The places of this process. Only a request whose body has arrived occupies one."""

    def __init__(self, total: int, now_s: Callable[[], float]) -> None:
        self._total = total
        self._for_strangers = max(1, total - total // _RESERVED)
        self._now_s = now_s
        self._serving = 0
        self._identifying = 0
        self._refused_s = float("-inf")

    @property
    def overloaded(self) -> bool:
        """Whether requests are refused for want of a place, now or a moment ago."""
        return self._serving >= self._total or self._now_s() - self._refused_s < _OVERLOADED_S

    def check(self) -> None:
        """Returns while there is a place. Raises Unavailable("overloaded")."""
        if self._serving >= self._total:
            self._refuse()

    def begin_identifying(self) -> None:
        """Counts a request whose credential is checked; the caller must call `end_identifying`.

        Raises Unavailable("overloaded").
        """
        if self._identifying >= self._total * _IDENTIFYING:
            self._refuse()
        self._identifying += 1

    def end_identifying(self) -> None:
        """Stops counting one."""
        self._identifying -= 1

    def enter(self, *, stranger: bool) -> None:
        """Occupies a place; the caller must call `leave`. Raises Unavailable("overloaded")."""
        if self._serving >= (self._for_strangers if stranger else self._total):
            self._refuse()
        self._serving += 1
        metrics.IN_FLIGHT.set(self._serving)

    def leave(self) -> None:
        """Frees the place."""
        self._serving -= 1
        metrics.IN_FLIGHT.set(self._serving)

    def _refuse(self) -> None:
        if self._serving >= self._total:
            self._refused_s = self._now_s()
        raise Unavailable("overloaded", "too many requests are being served", retry_after_s=2)
