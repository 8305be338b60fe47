"""Metrics of the stations."""

from typing import Final

from prometheus_client import Gauge

STATIONS: Final = Gauge(
    "evpower_stations",
    "Stations in service, by connection: online (a frame or pong in 90 s), offline",
    ("connection",),
)
FAULTED: Final = Gauge(
    "evpower_stations_connectors_faulted",
    "Connectors in service that report faulted or unavailable",
)
