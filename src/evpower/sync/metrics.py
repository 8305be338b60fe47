"""Metrics of the sync."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

LAG_SECONDS: Final = Histogram(
    "evpower_sync_lag_seconds",
    "From when a change in EvPower is due until Supabase has it",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600),
)
RPC_SECONDS: Final = Histogram(
    "evpower_sync_rpc_seconds",
    "Calls to Supabase functions",
    ["function", "outcome"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
KEYS: Final = Counter(
    "evpower_sync_keys_total", "Keys sent, by what Supabase did", ["topic", "outcome"]
)
TRANSACTIONS: Final = Counter("evpower_sync_transactions_total", "Transactions sent to Supabase")
CALLS: Final = Counter("evpower_sync_relay_calls_total", "Calls made by the relay", ["outcome"])
PENDING: Final = Gauge("evpower_sync_pending", "Keys Supabase does not have yet")
OLDEST_SECONDS: Final = Gauge(
    "evpower_sync_pending_oldest_seconds", "How long the oldest pending change is due"
)
PARKED: Final = Gauge("evpower_sync_parked", "Keys Supabase refused; an operator must act")
TARGET_UP: Final = Gauge("evpower_sync_target_up", "1 while Supabase accepts what the relay sends")
DRIFT: Final = Gauge(
    "evpower_sync_drift", "Open drift: differences found and not closed; must be 0"
)
WEBHOOKS: Final = Counter(
    "evpower_sync_webhooks_total",
    "Calls of the Supabase webhook, by outcome or reason of refusal",
    ["form", "outcome"],
)

# Inbound sync.
PULLS: Final = Counter("evpower_sync_pulls_total", "Reads of Supabase's change log", ["outcome"])
PULLED: Final = Counter(
    "evpower_sync_pulled_changes_total", "Changes applied from Supabase, by table.op", ["change"]
)
PULL_LAG_SECONDS: Final = Histogram(
    "evpower_sync_pull_lag_seconds",
    "From a change in Supabase until EvPower has it, by both clocks",
    buckets=(0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 15, 60, 300, 3600),
)
USERS: Final = Counter(
    "evpower_sync_users_total", "Users of Supabase read, by what was done", ["outcome"]
)
CONFLICTS: Final = Counter(
    "evpower_sync_conflicts_total", "Disagreements, by their row of docs/sync.md", ["kind"]
)
USERS_FAILED: Final = Gauge(
    "evpower_sync_users_failed", "Users whose changes can't be applied; tried again"
)
CONTACT_CONFLICTS: Final = Gauge(
    "evpower_sync_contact_conflicts",
    "Emails and phones that wait until another client releases them",
)
CURSOR_AGE_SECONDS: Final = Gauge(
    "evpower_sync_cursor_age_seconds", "Since Supabase's change log was last read to its end"
)
PULLER_UP: Final = Gauge("evpower_sync_puller_up", "1 while Supabase returns its change log")

# Reconciliation.
NOTICES: Final = Gauge(
    "evpower_sync_notices", "Differences of the last runs in which neither side is wrong"
)
CHECKED: Final = Counter(
    "evpower_sync_checked_total",
    "Keys compared, by the side they were listed from",
    ["topic", "side"],
)
DRIFT_CLOSED: Final = Counter(
    "evpower_sync_drift_closed_total",
    "Drift closed after a repair, by kind of drift and run",
    ["kind", "run"],
)
CHECK_SUCCESS: Final = Gauge(
    "evpower_sync_check_success_timestamp_seconds", "When a run of this kind last ended", ["kind"]
)
