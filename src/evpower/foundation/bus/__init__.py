"""The bus: "client c changed". A lost message is harmless: every subscriber also polls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

# As a key: any object of the topic may have changed.
EVERYTHING: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Topic:
    """The subject of a message; `code` is one byte, its name between nodes, and never changes."""

    name: str
    code: bytes


Listener = Callable[[Topic, UUID], None]


class Bus(Protocol):
    """Carries change messages from the publisher to all subscribers."""

    def publish(self, topic: Topic, key: UUID) -> None:
        """Announces a change; never waits, never fails."""
        ...

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Calls `listener` for every change. Returns a function that unsubscribes it.

        Listeners must return quickly.
        """
        ...


class LocalBus:
    """The bus of one process."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def publish(self, topic: Topic, key: UUID) -> None:
        """Calls every listener now."""
        for listener in tuple(self._listeners):
            listener(topic, key)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Adds a listener. Returns a function that removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
