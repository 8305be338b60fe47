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
