"""Wakes requests that wait for a thing to change."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from uuid import UUID

from evpower.foundation.bus import EVERYTHING, Bus, Topic
from evpower.foundation.loops import Wakeup


class KeyWatch:
    """One subscription of this process to a topic, for all its waiting requests."""

    def __init__(self, bus: Bus, topic: Topic) -> None:
        self._topic = topic
        self._waiting: dict[UUID, set[Wakeup]] = {}
        bus.subscribe(self._on_change)

    @contextmanager
    def watch(self, *keys: UUID) -> Generator[Wakeup]:
        """Yields what is woken by each change of one of these keys."""
        wakeup = Wakeup()
        for key in keys:
            self._waiting.setdefault(key, set()).add(wakeup)
        try:
            yield wakeup
        finally:
            for key in set(keys):
                self._waiting[key].discard(wakeup)
                if not self._waiting[key]:
                    del self._waiting[key]

    def count(self, key: UUID) -> int:
        """Returns how many requests wait for this key."""
        return len(self._waiting.get(key, ()))

    def _on_change(self, topic: Topic, key: UUID) -> None:
        if topic == self._topic:
            for wakeup in self._woken(key):
                wakeup.notify()

    def _woken(self, key: UUID) -> Iterable[Wakeup]:
        if key == EVERYTHING:
            return {wakeup for waiting in self._waiting.values() for wakeup in waiting}
        return self._waiting.get(key, ())
