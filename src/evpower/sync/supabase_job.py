"""What the relay and the puller share: their parts, the breaker, and the bus that wakes them."""

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from evpower.config import Settings
from evpower.foundation.bus import Bus, Topic
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.loops import Wakeup
from evpower.sync.breaker import Breaker
from evpower.sync.supabase_rpc import Rpc


class SupabaseJob:
    """A background job that calls Supabase; without `bus` it only polls."""

    def __init__(
        self,
        db: Database,
        rpc: Rpc,
        settings: Settings,
        clock: Clock,
        bus: Bus | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._db = db
        self._rpc = rpc
        self._settings = settings
        self._clock = clock
        self._bus = bus
        self._jitter = jitter
        self._breaker = Breaker(clock, jitter)
        self._wakeup = Wakeup()
        self._state = ""  # of Supabase: up, down, misconfigured; "" before the first call

    @asynccontextmanager
    async def _woken_by(self, is_relevant: Callable[[Topic], bool]) -> AsyncGenerator[None]:
        """Wakes the job's loop by changes of these topics until the block ends."""

        def on_notification(topic: Topic, _key: UUID) -> None:
            if is_relevant(topic):
                self._wakeup.notify()

        unsubscribe = self._bus.subscribe(on_notification) if self._bus else None
        try:
            yield
        finally:
            if unsubscribe is not None:
                unsubscribe()
