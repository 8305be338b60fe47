"""Metrics of the push messages."""

from typing import Final

from prometheus_client import Counter, Gauge

MESSAGES: Final = Counter(
    "evpower_push_messages_total",
    "Attempts to send push messages, by outcome: sent, unsubscribed (the device is removed),"
    " failed (tried again), refused, unknown (not repeated), given_up",
    ("kind", "event", "outcome"),
)
DEVICES: Final = Gauge("evpower_push_devices", "Devices of clients", ("kind",))
WAITING: Final = Gauge("evpower_push_messages_waiting", "Push messages that wait", ("kind",))
OLDEST_SECONDS: Final = Gauge(
    "evpower_push_messages_oldest_seconds", "Age of the oldest push message that waits", ("kind",)
)
