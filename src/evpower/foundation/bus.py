"""The bus: "client c changed". A lost message is harmless, every reader also looks by itself."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal, Protocol
from uuid import UUID

# As a key: any may have changed, go and look. "supabase" has no other.
EVERYTHING: Final = UUID(int=0)
Topic = Literal["client", "session", "supabase"]
Listener = Callable[[Topic, UUID], None]


class Bus(Protocol):
    """What carries a change from the one who made it to those who tell others."""

    def publish(self, topic: Topic, key: UUID) -> None:
        """Say that it changed; never waits, never fails."""
        ...

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` for every change; the answer ends it. Listeners must be quick."""
        ...


class LocalBus:
    """The bus of one process."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def publish(self, topic: Topic, key: UUID) -> None:
        """Call every listener now."""
        for listener in tuple(self._listeners):
            listener(topic, key)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Listen until the answer is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


class Doorbell:
    """Wakes one loop: rings are merged, a ring during work is not lost."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiting loop, or the next wait."""
        self._event.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a ring, at most so long; true when it rang."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout_s)
        except TimeoutError:
            return False
        self._event.clear()
        return True

    async def wait_unless(self, stopping: "asyncio.Task[bool]", timeout_s: float) -> None:
        """Wait for a ring, at most so long, and no longer than until `stopping` is done."""
        ring = asyncio.create_task(self.wait(timeout_s))
        await asyncio.wait({ring, stopping}, return_when=asyncio.FIRST_COMPLETED)
        ring.cancel()
        with suppress(asyncio.CancelledError):
            await ring
