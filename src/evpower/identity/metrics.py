"""Metrics of identity."""

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
    "evpower_identity_jwks_fetches", "Reads of Supabase's signing keys, by result", ["result"]
)
AUTH_CALLS: Final = Histogram(
    "evpower_identity_auth_call_seconds",
    "Calls of Supabase Auth, by call and status of the response",
    ["call", "status"],
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REGISTRATIONS: Final = Counter(
    "evpower_identity_registrations", "Registrations, by result", ["result"]
)
CONVERGED: Final = Counter(
    "evpower_identity_registrations_converged",
    "Interrupted registrations that the job ended, by result",
    ["result"],
)
CONFIRMATIONS: Final = Counter(
    "evpower_identity_confirmations",
    "Confirmation mails requested from Supabase Auth: sent, busy (its limit), failed, given_up",
    ["result"],
)
CONFIRMATIONS_WAITING: Final = Gauge(
    "evpower_identity_confirmations_waiting", "Confirmation mails Supabase Auth has not sent yet"
)
CONFIRMATION_OLDEST: Final = Gauge(
    "evpower_identity_confirmation_oldest_seconds", "Age of the oldest unsent confirmation mail"
)
CLIENTS_CREATED: Final = Counter(
    "evpower_identity_clients_created", "Clients created, by origin", ["origin"]
)
CONTACTS_LEFT_OUT: Final = Counter(
    "evpower_identity_contacts_left_out",
    "Emails and phones not stored because another client has them",
    ["contact"],
)
SERVICE_KEYS_REFUSED: Final = Counter(
    "evpower_identity_service_keys_refused", "Requests with an unknown or revoked service key"
)
OLD_IDS: Final = Counter(
    "evpower_identity_ids_looked_up",
    "Look-ups of ids that are not the caller's own: old, known (a client's own), unknown",
    ["result"],
)
CODES: Final = Counter(
    "evpower_identity_sign_in_codes",
    "Codes for phones, by sender and result: sent, unknown, not_sent, too_soon",
    ["sender", "result"],
)
CODES_LIMITED: Final = Counter(
    "evpower_identity_sign_in_codes_limited",
    "Codes refused by a limit: phone, address, block, country",
    ["limit"],
)
CODES_CHECKED: Final = Counter(
    "evpower_identity_sign_in_checks", "Typed codes, by result: right, wrong", ["result"]
)
PHONE_SIGN_INS: Final = Counter(
    "evpower_identity_phone_sign_ins",
    "Sign-ins by phone, by result: known, new, admin, or the code of the refusal",
    ["result"],
)
REFRESHES: Final = Counter(
    "evpower_identity_refreshes",
    "Refreshes of access tokens: same, rotated, old, refused, reused",
    ["result"],
)
SIGNING_KEY_AGE: Final = Gauge(
    "evpower_identity_signing_key_age_seconds", "Age of the key that signs EvPower's access tokens"
)
