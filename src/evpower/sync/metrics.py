"""What the sync counts."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

LAG_SECONDS: Final = Histogram(
    "evpower_sync_lag_seconds",
    "From a change in EvPower until Supabase has it",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600),
)
RPC_SECONDS: Final = Histogram(
    "evpower_sync_rpc_seconds",
    "Calls of Supabase functions",
    ["function", "outcome"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
KEYS: Final = Counter(
    "evpower_sync_keys_total", "Keys sent, by what Supabase did", ["topic", "outcome"]
)
TRANSACTIONS: Final = Counter("evpower_sync_transactions_total", "Transactions sent to Supabase")
CALLS: Final = Counter("evpower_sync_relay_calls_total", "Calls of the relay", ["outcome"])
PENDING: Final = Gauge("evpower_sync_pending", "Keys Supabase does not have yet")
OLDEST_SECONDS: Final = Gauge(
    "evpower_sync_pending_oldest_seconds", "Age of the oldest pending change"
)
PARKED: Final = Gauge("evpower_sync_parked", "Keys Supabase refused; a person must look")
TARGET_UP: Final = Gauge("evpower_sync_target_up", "1 while Supabase takes what the relay sends")
DRIFT: Final = Gauge("evpower_sync_drift", "Differences found and not yet healed; must be 0")
WEBHOOKS: Final = Counter(
    "evpower_sync_webhooks_total",
    "Calls of the Supabase webhook, by what became of them or why they were refused",
    ["form", "outcome"],
)

# The way in.
PULLS: Final = Counter("evpower_sync_pulls_total", "Readings of Supabase's changes", ["outcome"])
PULLED: Final = Counter(
    "evpower_sync_pulled_changes_total", "Changes taken from Supabase, by table.op", ["change"]
)
PULL_LAG_SECONDS: Final = Histogram(
    "evpower_sync_pull_lag_seconds",
    "From a change in Supabase until EvPower has it, by both clocks",
    buckets=(0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 15, 60, 300, 3600),
)
PEOPLE: Final = Counter(
    "evpower_sync_people_total", "People of Supabase looked at, by what came of it", ["outcome"]
)
CONFLICTS: Final = Counter(
    "evpower_sync_conflicts_total", "Disagreements, by their row of docs/sync.md", ["kind"]
)
PEOPLE_FAILED: Final = Gauge(
    "evpower_sync_people_failed", "People whose changes can't be applied; tried again"
)
CONTACT_CONFLICTS: Final = Gauge(
    "evpower_sync_contact_conflicts", "Emails and phones that wait until another client lets go"
)
CURSOR_AGE_SECONDS: Final = Gauge(
    "evpower_sync_cursor_age_seconds", "Since Supabase's changes were last read to their end"
)
PULLER_UP: Final = Gauge("evpower_sync_puller_up", "1 while Supabase answers what changed")

# The comparison of both sides.
NOTICES: Final = Gauge(
    "evpower_sync_notices", "Found by the check and worth knowing, though nobody is wrong"
)
CHECKED: Final = Counter(
    "evpower_sync_checked_total", "Keys compared, by whose they are", ["topic", "side"]
)
HEALED: Final = Counter(
    "evpower_sync_healed_total", "Differences healed, by kind and by which check", ["kind", "by"]
)
CHECK_SUCCESS: Final = Gauge(
    "evpower_sync_check_success_timestamp_seconds", "When a check of this kind last ended", ["kind"]
)
