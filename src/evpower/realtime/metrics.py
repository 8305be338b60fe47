"""Metrics of live updates."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

SOCKETS: Final = Gauge("evpower_realtime_sockets", "Open live sockets", ["state"])
SIGNED_IN: Final = SOCKETS.labels("signed_in")
WAITING: Final = SOCKETS.labels("waiting")
REFUSED: Final = Counter(
    "evpower_realtime_refused_total", "Handshakes refused, by reason", ["reason"]
)
CLOSED: Final = Counter(
    "evpower_realtime_closed_total", "Sockets closed, by code and reason", ["code", "reason"]
)
FRAMES: Final = Counter("evpower_realtime_frames_total", "Frames sent, by type", ["type"])
BALANCES_SENT: Final = FRAMES.labels("balance_update")
READIES_SENT: Final = FRAMES.labels("ready")
SESSIONS_SENT: Final = FRAMES.labels("charging_update")
PINGS_SENT: Final = FRAMES.labels("ping")
SUPERSEDED: Final = Counter(
    "evpower_realtime_superseded_total",
    "States not sent to a slow socket because a newer one replaced them",
)
READS: Final = Counter("evpower_realtime_reads_total", "Clients whose balance was read")
BATCHES: Final = Counter("evpower_realtime_read_batches_total", "Reads of changed clients")
READ_FAILURES: Final = Counter(
    "evpower_realtime_read_failures_total", "Reads that failed and were tried again"
)
MISSED: Final = Counter(
    "evpower_realtime_missed_total", "Changes without a notification, found by the sweep", ["kind"]
)
DELIVERY_SECONDS: Final = Histogram(
    "evpower_realtime_delivery_seconds",
    "From the notification of a change until it was written to its sockets",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
