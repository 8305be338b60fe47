"""Wakes requests that wait for a charging session to change."""

from collections.abc import Generator
from contextlib import contextmanager
from uuid import UUID

from evpower.charging import SESSION_CHANGED
from evpower.foundation.bus import Bus, Topic
from evpower.foundation.loops import Wakeup


class SessionChanges:
    """One subscription of this process for all its waiting requests."""

    def __init__(self, bus: Bus) -> None:
        self._waiting: dict[UUID, set[Wakeup]] = {}
        bus.subscribe(self._on_change)

    @contextmanager
    def watch(self, session_id: UUID) -> Generator[Wakeup]:
        """Returns what is woken by each change of the session."""
        wakeup = Wakeup()
        self._waiting.setdefault(session_id, set()).add(wakeup)
        try:
            yield wakeup
        finally:
            waiting = self._waiting[session_id]
            waiting.discard(wakeup)
            if not waiting:
                del self._waiting[session_id]

    def _on_change(self, topic: Topic, key: UUID) -> None:
        if topic == SESSION_CHANGED:
            for wakeup in self._waiting.get(key, ()):
                wakeup.notify()
