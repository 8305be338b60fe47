"""Metrics of the alerts."""

from typing import Final

from prometheus_client import Counter, Gauge

OPENED: Final = Counter("evpower_alerts_opened_total", "Alerts that were opened", ("kind",))
OPEN: Final = Gauge("evpower_alerts_open", "Alerts that are open", ("kind", "severity"))
MESSAGES: Final = Counter(
    "evpower_alert_messages_total",
    "Attempts to send messages of alerts, by outcome: sent, failed (tried again), given_up",
    ("channel", "outcome"),
)
WAITING: Final = Gauge(
    "evpower_alert_messages_waiting", "Messages of alerts that wait to be sent", ("channel",)
)
OLDEST_SECONDS: Final = Gauge(
    "evpower_alert_messages_oldest_seconds",
    "Age of the oldest message of an alert that waits, quiet hours included",
    ("channel",),
)
