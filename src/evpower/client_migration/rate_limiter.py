"""Limits how often all workers together call Supabase Auth."""

import asyncio
import time
from collections.abc import Awaitable, Callable


class RateLimiter:
    """Allows calls at an even rate; a pause delays all callers."""

    def __init__(
        self,
        per_second: float,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._every_s = 1 / per_second
        self._now = now
        self.sleep = sleep
        self._next = 0.0

    async def acquire(self) -> None:
        """Waits until the next call may be made."""
        now = self._now()
        at = max(now, self._next)
        self._next = at + self._every_s
        if at > now:
            await self.sleep(at - now)

    def pause(self, seconds: float) -> None:
        """Allows no call for so many seconds."""
        self._next = max(self._next, self._now() + seconds)
