"""What this slice counts."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

WEBHOOKS: Final = Counter(
    "evpower_payments_webhooks_total",
    "Webhooks of providers, by what came of them",
    ("provider", "outcome"),
)
EVENTS: Final = Counter(
    "evpower_payments_events_total",
    "Events applied, from webhooks and from asking, by what came of them",
    ("provider", "outcome"),
)
PROVIDER_CALLS: Final = Counter(
    "evpower_payments_provider_calls_total",
    "Questions to providers, by answer: ok, refused, unavailable, unknown",
    ("provider", "call", "result"),
)
PROVIDER_SECONDS: Final = Histogram(
    "evpower_payments_provider_seconds", "How long providers take to answer", ("provider", "call")
)
TOP_UPS: Final = Counter(
    "evpower_payments_top_ups_total", "Top-ups asked for, by answer", ("provider", "result")
)
BY_STATE: Final = Gauge(
    "evpower_payments_by_state",
    "Payments that still need something: open (asked until closed), review (a person must look)",
    ("state",),
)
STATES: Final = Counter(
    "evpower_payments_states_total", "Payments that came into a state", ("provider", "status")
)
RECHECK_LAG: Final = Gauge(
    "evpower_payments_recheck_lag_seconds", "How long the most overdue question to a provider waits"
)
