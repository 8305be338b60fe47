"""Counters of identity."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

TOKEN_CHECKS: Final = Counter(
    "evpower_identity_token_checks", "Access tokens checked, by result", ["result"]
)
TOKEN_CACHED: Final = TOKEN_CHECKS.labels("cached")
TOKEN_VERIFIED: Final = TOKEN_CHECKS.labels("verified")
TOKEN_EXPIRED: Final = TOKEN_CHECKS.labels("expired")
TOKEN_REFUSED: Final = TOKEN_CHECKS.labels("refused")
TOKEN_KEY_UNREAD: Final = TOKEN_CHECKS.labels("key_unread")
TOKEN_ANONYMOUS: Final = TOKEN_CHECKS.labels("anonymous")

JWKS_FETCHES: Final = Counter(
    "evpower_identity_jwks_fetches", "Readings of Supabase's signing keys, by result", ["result"]
)
AUTH_CALLS: Final = Histogram(
    "evpower_identity_auth_call_seconds",
    "Calls of Supabase Auth, by what was asked and the answer's status",
    ["call", "status"],
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REGISTRATIONS: Final = Counter(
    "evpower_identity_registrations", "Registrations, by how they ended", ["result"]
)
CONVERGED: Final = Counter(
    "evpower_identity_registrations_converged",
    "Half-way registrations put right, by how",
    ["result"],
)
CONFIRMATIONS: Final = Counter(
    "evpower_identity_confirmations",
    "Confirmation mails asked of Supabase Auth: sent, busy (its limit), failed, given_up",
    ["result"],
)
CONFIRMATIONS_WAITING: Final = Gauge(
    "evpower_identity_confirmations_waiting", "Confirmation mails Supabase Auth has not sent yet"
)
CONFIRMATION_OLDEST: Final = Gauge(
    "evpower_identity_confirmation_oldest_seconds", "How long the oldest of them waits"
)
CLIENTS_CREATED: Final = Counter(
    "evpower_identity_clients_created", "Clients created, by where they came from", ["origin"]
)
CONTACTS_LEFT_OUT: Final = Counter(
    "evpower_identity_contacts_left_out",
    "Emails and phones not stored because another client has them",
    ["contact"],
)
SERVICE_KEYS_REFUSED: Final = Counter(
    "evpower_identity_service_keys_refused", "Service keys that were unknown or revoked"
)
OLD_IDS: Final = Counter(
    "evpower_identity_ids_looked_up",
    "Ids that were not the caller's own: old ones, known clients' and unknown ones",
    ["result"],
)
