"""The bus: "client c changed". A lost message is harmless, every reader also looks by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

# As a key: any may have changed, go and look.
EVERYTHING: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Topic:
    """What a message is about. `code` is one byte, its name between nodes: never changed."""

    name: str
    code: bytes


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
