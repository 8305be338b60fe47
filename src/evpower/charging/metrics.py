"""Metrics of charging."""

from typing import Final

from prometheus_client import Counter, Gauge

RECORDED: Final = Counter(
    "evpower_charging_recorded_total", "Reported sessions by outcome", ("outcome",)
)
ENERGY: Final = Counter(
    "evpower_charging_energy_wh_total", "Energy of recorded finished sessions, Wh"
)
SESSIONS: Final = Gauge(
    "evpower_charging_sessions", "Sessions that are not over, by state", ("state",)
)
POWER: Final = Gauge(
    "evpower_charging_power_watts", "Power of all open transactions, as the stations last said"
)
