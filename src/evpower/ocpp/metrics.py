"""Metrics of the stations' sockets."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

SOCKETS: Final = Gauge("evpower_ocpp_sockets", "Open sockets of stations")
FORWARDED: Final = Gauge(
    "evpower_ocpp_forwarded", "Open sockets of stations that another CSMS answers"
)
REFUSED: Final = Counter(
    "evpower_ocpp_refused_total", "Handshakes of stations refused, by reason", ("reason",)
)
CLOSED: Final = Counter(
    "evpower_ocpp_closed_total", "Sockets of stations that ended, by reason", ("reason",)
)
FRAMES: Final = Counter(
    "evpower_ocpp_frames_total",
    "Requests of stations by action and outcome (handled, repeated, refused, failed, dropped)",
    ("action", "outcome"),
)
UNREADABLE: Final = Counter("evpower_ocpp_unreadable_total", "Messages that are no OCPP-J")
DEVIATIONS: Final = Counter(
    "evpower_ocpp_deviations_total", "Deviations from the protocol by kind", ("kind",)
)
SECONDS: Final = Histogram(
    "evpower_ocpp_frame_seconds",
    "From a stored request until its answer was written",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)
COMMANDS: Final = Counter(
    "evpower_ocpp_commands_total",
    "Commands of stations by action and outcome (accepted, refused, timed_out)",
    ("action", "outcome"),
)
FORCED_RECONNECTS: Final = Counter(
    "evpower_ocpp_forced_reconnects_total",
    "Sockets dropped because their stations answered no command while frames came",
)
UNLOGGED: Final = Counter(
    "evpower_ocpp_frames_unlogged_total", "Raw frames dropped because too many waited to be stored"
)


_counted: dict[tuple[str, str], int] = {}  # since the last scrape: a counter's lock costs more


def count(action: str, outcome: str) -> None:
    """Counts a request; `action` is one that is served, or "other"."""
    key = (action, outcome)
    _counted[key] = _counted.get(key, 0) + 1


async def publish() -> None:
    """Adds what was counted to the metrics; called by each scrape."""
    for (action, outcome), times in _counted.items():
        FRAMES.labels(action, outcome).inc(times)
    _counted.clear()
