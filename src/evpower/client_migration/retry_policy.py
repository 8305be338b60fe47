"""Calls of Supabase Auth in turn, and again after a while when it is busy or does not answer."""

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from evpower.client_migration.model import NotMoved, Stopped
from evpower.client_migration.rate_limiter import RateLimiter
from evpower.foundation.backoff import Backoff
from evpower.foundation.errors import Unavailable
from evpower.identity.errors import AuthBusy, AuthDenied, AuthOutcomeUnknown

T = TypeVar("T")
_TRIES: Final = 6
_RETRY: Final = Backoff(0.5, 30.0)
_MAX_TOLD_S: Final = 300.0  # longer than that a Retry-After is not waited for at once
_FAILURES_IN_A_ROW: Final = 20


class RetryPolicy:
    """Shared by all who call, so that one who is told to wait holds everybody back."""

    def __init__(self, pace: RateLimiter, jitter: Callable[[], float] = random.random) -> None:
        self._pace = pace
        self._jitter = jitter
        self._failures = 0

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Answer what `call` does.

        Raises NotMoved("auth_failed") when Auth fails on this one again and again, Stopped when it
        fails on everything or takes no calls; whatever else `call` raises goes through.
        """
        last, answered = "", False
        for attempt in range(1, _TRIES + 1):
            await self._pace.turn()
            delay_s = _RETRY.pause_s(attempt, self._jitter)
            try:
                answer = await call()
            except AuthDenied as error:
                raise Stopped(f"Supabase refuses the key: {error}") from error
            except AuthBusy as error:  # everybody waits
                answered, last = False, str(error)
                self._pace.pause(max(delay_s, _told_s(error)))
            except Unavailable as error:
                answered, last = isinstance(error, AuthOutcomeUnknown), str(error)
                if told_s := _told_s(error):
                    self._pace.pause(max(delay_s, told_s))
                else:
                    await self._pace.sleep(delay_s)
            else:
                self._failures = 0
                return answer
        self._failures += 1
        if answered and self._failures < _FAILURES_IN_A_ROW:
            raise NotMoved("auth_failed", last)
        raise Stopped(last)


def _told_s(error: Unavailable) -> float:
    told = error.pause_s if isinstance(error, (AuthBusy, AuthOutcomeUnknown)) else None
    return min(told or 0.0, _MAX_TOLD_S)
