"""Metrics of payments."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

WEBHOOKS: Final = Counter(
    "evpower_payments_webhooks_total",
    "Webhooks of providers, by outcome",
    ("provider", "outcome"),
)
UNVERIFIED: Final = Counter(
    "evpower_payments_unverified_notices_total",
    "Notices that only cause a question: form (no signature to check), invalid_signature, stale",
    ("provider", "why"),
)
EVENTS: Final = Counter(
    "evpower_payments_events_total",
    "Events applied, from webhooks and from status calls, by outcome",
    ("provider", "outcome"),
)
PROVIDER_CALLS: Final = Counter(
    "evpower_payments_provider_calls_total",
    "Calls of providers, by result: ok, refused, unavailable, unknown",
    ("provider", "call", "result"),
)
PROVIDER_SECONDS: Final = Histogram(
    "evpower_payments_provider_seconds", "Response time of providers", ("provider", "call")
)
TOP_UPS: Final = Counter(
    "evpower_payments_top_ups_total", "Requested top-ups, by result", ("provider", "result")
)
BY_STATE: Final = Gauge(
    "evpower_payments_by_state",
    "Pending payments: open (rechecked until closed), review (an operator must decide)",
    ("state",),
)
STATES: Final = Counter(
    "evpower_payments_states_total", "Payments that entered a state", ("provider", "status")
)
RECHECK_LAG: Final = Gauge(
    "evpower_payments_recheck_lag_seconds", "How long the most overdue recheck of a payment waits"
)
DIFFERENCES: Final = Gauge(
    "evpower_payments_differences",
    "Differences with a provider that are not decided",
    ("provider",),
)
