"""Metrics of the old API."""

from typing import Final

from prometheus_client import Counter, Gauge

SOCKETS: Final = Gauge("evpower_old_sockets", "Open sockets of /api/v1/ws/locations")
REFUSED: Final = Counter(
    "evpower_old_sockets_refused_total", "Sockets closed by us, by reason", ["reason"]
)
WITHOUT_TOKEN: Final = Counter(
    "evpower_old_calls_without_token_total",
    "Calls of the old API without a token; not_listed: the switch is on, the client is not listed",
    ["family", "operation", "outcome"],
)
PUSHED: Final = Counter(
    "evpower_old_pushed_total",
    "Messages written to the sockets, of locations and of drivers' own sessions",
)
