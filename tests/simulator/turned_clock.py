"""Time that a test turns: sleepers wake in their order, each at its own moment."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

_ROUNDS = 20  # of the event loop after each step: what woke runs until it waits again


class TurnedClock:
    """A clock, and the sleep that goes with it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 5, 10, tzinfo=UTC)
        self._order = itertools.count()
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []

    def __call__(self) -> datetime:
        return self.now

    @property
    def pauses_s(self) -> list[float]:
        """How long each sleeper still sleeps."""
        return sorted(
            (due - self.now).total_seconds() for due, _, wake in self._sleepers if not wake.done()
        )

    async def sleep(self, seconds: float) -> None:
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due = self.now + timedelta(seconds=seconds)
        heappush(self._sleepers, (due, next(self._order), wake))
        await wake

    async def advance(self, seconds: float) -> None:
        """Turns the clock."""
        await self._run()
        end = self.now + timedelta(seconds=seconds)
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, wake = heappop(self._sleepers)
            if wake.done():
                continue
            self.now = max(self.now, due)
            wake.set_result(None)
            await self._run()
        self.now = end
        await self._run()

    async def _run(self) -> None:
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
