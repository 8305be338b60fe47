"""The back-off of every retry: pauses that double up to a limit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_MAX_DOUBLINGS: Final = 32  # a longer row of failures changes nothing, and no float overflows


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses from `first_s` seconds, doubled by each further failure, up to `longest_s`."""

    first_s: float
    longest_s: float

    def pause_s(self, failures: int, jitter: Callable[[], float] | None = None) -> float:
        """Returns the pause after this many failures in a row, in seconds; 1 is the first.

        `jitter` returns 0 to 1: the pause then lies between a half and one and a half of that, so
        that callers that failed together do not try again together.
        """
        doublings = min(max(failures, 1) - 1, _MAX_DOUBLINGS)
        pause_s = min(self.longest_s, self.first_s * 2.0**doublings)
        return pause_s if jitter is None else pause_s * (0.5 + jitter())
