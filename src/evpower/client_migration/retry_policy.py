"""Calls Supabase Auth at a limited rate, and retries with back-off while it is busy or down."""

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from evpower.client_migration.model import NotMoved, RunStopped
from evpower.client_migration.rate_limiter import RateLimiter
from evpower.foundation.backoff import Backoff
from evpower.foundation.errors import Unavailable
from evpower.identity import AuthBusy, AuthDenied, AuthOutcomeUnknown

T = TypeVar("T")
_TRIES: Final = 6
_RETRY: Final = Backoff(0.5, 30.0)
_MAX_RETRY_AFTER_S: Final = 300.0  # a longer Retry-After is cut
_FAILURES_IN_A_ROW: Final = 20


class RetryPolicy:
    """Shared by all workers, so that a Retry-After for one call delays all."""

    def __init__(
        self, rate_limiter: RateLimiter, jitter: Callable[[], float] = random.random
    ) -> None:
        self._rate_limiter = rate_limiter
        self._jitter = jitter
        self._failures = 0

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Returns the result of `call`.

        Raises NotMoved("auth_failed") when Auth fails on this call repeatedly, RunStopped when it
        fails on all calls or refuses the key; other errors of `call` are passed on.
        """
        last_error, was_unanswered = "", False
        for attempt in range(1, _TRIES + 1):
            await self._rate_limiter.acquire()
            delay_s = _RETRY.pause_s(attempt, self._jitter)
            try:
                result = await call()
            except AuthDenied as error:
                raise RunStopped(f"Supabase refuses the key: {error}") from error
            except AuthBusy as error:  # all workers wait
                was_unanswered, last_error = False, str(error)
                self._rate_limiter.pause(max(delay_s, _retry_after_s(error)))
            except Unavailable as error:
                was_unanswered, last_error = isinstance(error, AuthOutcomeUnknown), str(error)
                if retry_after_s := _retry_after_s(error):
                    self._rate_limiter.pause(max(delay_s, retry_after_s))
                else:
                    await self._rate_limiter.sleep(delay_s)
            else:
                self._failures = 0
                return result
        self._failures += 1
        if was_unanswered and self._failures < _FAILURES_IN_A_ROW:
            raise NotMoved("auth_failed", last_error)
        raise RunStopped(last_error)


def _retry_after_s(error: Unavailable) -> float:
    pause_s = error.pause_s if isinstance(error, (AuthBusy, AuthOutcomeUnknown)) else None
    return min(pause_s or 0.0, _MAX_RETRY_AFTER_S)
