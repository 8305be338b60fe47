"""Metrics of the HTTP edge."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

REQUESTS: Final = Counter(
    "evpower_http_requests_total",
    "Answered requests; 503_expected: a token's new signing key is not read yet",
    ("method", "route", "status"),
)
LATENCY: Final = Histogram(
    "evpower_http_request_seconds",
    "Time from the request's head to the end of its answer",
    ("method", "route"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
OLD_REQUESTS: Final = Counter(
    "evpower_old_requests_total",
    "Requests of the old API, by route; token: whether a credential was sent",
    ("family", "method", "route", "token"),
)
IN_FLIGHT: Final = Gauge("evpower_http_in_flight", "Requests being served now")
REFUSED: Final = Counter(
    "evpower_http_refused_total", "Requests the edge itself refused, by code", ("code",)
)
REPLAYED: Final = Counter("evpower_http_replayed_total", "Answers replayed for an Idempotency-Key")
COLLECTOR_FAILURES: Final = Counter(
    "evpower_metrics_collector_failures_total", "Scrapes in which a gauge could not be refreshed"
)
