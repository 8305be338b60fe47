"""What a process of `evpower serve` does: requests, stations, background work, or all of it."""

from typing import Final, Literal

Role = Literal["all", "api", "stations", "worker"]
SERVING: Final = frozenset[Role]({"all", "api"})
WORKING: Final = frozenset[Role]({"all", "worker"})
STATIONS: Final = frozenset[Role]({"all", "stations"})
