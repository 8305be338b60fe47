"""What the relay and the puller share: their parts, the breaker, and the bus that wakes them."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import ClassVar, Final
from uuid import UUID

from evpower.config import Settings
from evpower.foundation.bus import Bus, Topic
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.loops import Wakeup
from evpower.sync import store_status
from evpower.sync.breaker import Breaker
from evpower.sync.store_status import TargetName
from evpower.sync.supabase_rpc import Rpc

_STATE_EVERY: Final = timedelta(seconds=30)


class SupabaseJob:
    """A background job that calls Supabase; without `bus` it only polls.

    All processes share one row with the state that this kind of job saw last. Each stores what its
    own calls saw, again and again: the process that stored the last state may be gone.
    """

    _target: ClassVar[TargetName]

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
        self._state_error: str | None = None
        self._stored_state = ""
        self._stored_at: datetime | None = None
        self._seen_since = False  # whether a call has seen the state since it was stored
        self._storing = asyncio.Lock()  # so that the last write has the last state

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

    def _saw(self, state: str, error: str | None) -> bool:
        """Takes the state that a call saw. Returns whether the call before saw another."""
        changed = state != self._state
        self._state, self._state_error, self._seen_since = state, error, True
        return changed

    async def _store_state(self) -> None:
        """Stores the state for other processes: a new one at once, else at most every 30 s."""
        async with self._storing:
            now = self._clock()
            if self._state == self._stored_state and not (
                self._seen_since
                and (self._stored_at is None or abs(now - self._stored_at) >= _STATE_EVERY)
            ):
                return
            state, self._seen_since = self._state, False
            try:
                async with self._db.connection() as connection:
                    await store_status.set_target(
                        connection, self._target, state, self._state_error
                    )
            except BaseException:
                self._seen_since = True
                raise
            self._stored_state, self._stored_at = state, now
