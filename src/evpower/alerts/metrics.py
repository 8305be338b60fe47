"""Metrics of the alerts."""

from typing import Final

from prometheus_client import Counter, Gauge

OPENED: Final = Counter("evpower_alerts_opened_total", "Alerts that were opened", ("kind",))
OPEN: Final = Gauge("evpower_alerts_open", "Alerts that are open", ("kind",))
