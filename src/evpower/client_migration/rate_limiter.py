"""How often Supabase Auth is called, by all workers together."""

import asyncio
import time
from collections.abc import Awaitable, Callable


class RateLimiter:
    """Turns at an even rate; a pause holds everybody back."""

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

    async def turn(self) -> None:
        """Wait until the next call may be made."""
        now = self._now()
        at = max(now, self._next)
        self._next = at + self._every_s
        if at > now:
            await self.sleep(at - now)

    def pause(self, seconds: float) -> None:
        """No turn before then."""
        self._next = max(self._next, self._now() + seconds)
