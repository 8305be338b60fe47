"""What a process of `evpower serve` does: requests, background work, or both."""

from typing import Final, Literal

Role = Literal["all", "api", "worker"]
SERVING: Final = frozenset[Role]({"all", "api"})
WORKING: Final = frozenset[Role]({"all", "worker"})
