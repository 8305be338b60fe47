"""A connector's energy meter, exact: it counts microjoules in integers."""

from datetime import datetime, timedelta
from typing import Final

UJ_PER_WH: Final = 3_600_000_000


class Meter:
    """Sums power over time. The power is constant between two calls of `advance`."""

    def __init__(self, start_wh: int, now: datetime) -> None:
        self.total_uj = start_wh * UJ_PER_WH
        self.power_w = 0
        self._start_uj = self.total_uj
        self._at = now

    @property
    def register_wh(self) -> int:
        """The register, in whole Wh."""
        return self.total_uj // UJ_PER_WH

    @property
    def delivered_wh(self) -> int:
        """The growth of the register since the meter was made, in whole Wh."""
        return self.register_wh - self._start_uj // UJ_PER_WH

    def advance(self, now: datetime, most_uj: int | None = None) -> None:
        """Counts the energy since the last call, at most `most_uj` of it."""
        elapsed_us = max(0, (now - self._at) // timedelta(microseconds=1))
        energy_uj = elapsed_us * self.power_w
        self.total_uj += energy_uj if most_uj is None else min(energy_uj, max(0, most_uj))
        self._at = max(self._at, now)
