"""What a frame writes in a transaction that it shares with frames of other stations."""

from typing import NoReturn

from evpower.charging.running import Progress


class NeedsOwnTransaction(Exception):
    """The frame does more than store its values and progress."""


class SharedWrites:
    """Stands in the place of a connection: collects a frame's values and progress.

    Any other statement raises NeedsOwnTransaction: the frame is then done alone, by the same code.
    """

    def __init__(self) -> None:
        self.values: list[tuple[object, ...]] = []
        self.progress: Progress | None = None

    def __getattr__(self, name: str) -> NoReturn:
        raise NeedsOwnTransaction(name)
