"""Metrics of charging."""

from typing import Final

from prometheus_client import Counter

RECORDED: Final = Counter(
    "evpower_charging_recorded_total", "Reported sessions by outcome", ("outcome",)
)
ENERGY: Final = Counter(
    "evpower_charging_energy_wh_total", "Energy of recorded finished sessions, Wh"
)
