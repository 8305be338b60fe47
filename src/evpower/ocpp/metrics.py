"""Metrics of the stations' sockets."""

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)

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
SHARED: Final = Histogram(
    "evpower_ocpp_frames_a_transaction",
    "Meter values of stations stored in one transaction",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
SHARED_RETRIES: Final = Counter(
    "evpower_ocpp_shared_retries",
    "Shared transactions that failed, and whose frames were stored one by one",
)


def count_shared(frames: int, failed: bool) -> None:  # noqa: FBT001 - the signature Batcher calls
    """Counts a transaction with meter values."""
    SHARED.observe(frames)
    if failed:
        SHARED_RETRIES.inc()


_counted: dict[tuple[str, str], int] = {}  # since the last scrape: a counter's lock costs more


def count(action: str, outcome: str) -> None:
    """Counts a request; `action` is one that is served, or "other"."""
    key = (action, outcome)
    _counted[key] = _counted.get(key, 0) + 1


class _Seconds(Collector):
    """A histogram that costs a frame little: it is summed up by each scrape."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS_S) + 1)
        self.total_s = 0.0

    def collect(self) -> Iterable[Metric]:
        """Yields the histogram."""
        bounds = (*map(str, _BOUNDS_S), "+Inf")
        yield HistogramMetricFamily(
            "evpower_ocpp_frame_seconds",
            "From a stored request until its answer was written",
            buckets=list(zip(bounds, map(float, accumulate(self.counts)), strict=True)),
            sum_value=self.total_s,
        )


_seconds = _Seconds()
REGISTRY.register(_seconds)


def observe(seconds: float) -> None:
    """Counts how long a stored request took."""
    _seconds.counts[bisect_left(_BOUNDS_S, seconds)] += 1
    _seconds.total_s += seconds


async def publish() -> None:
    """Adds what was counted to the metrics; called by each scrape."""
    for (action, outcome), times in _counted.items():
        FRAMES.labels(action, outcome).inc(times)
    _counted.clear()
