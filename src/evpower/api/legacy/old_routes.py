"""Every route of the old API: who calls it, what replaces it, since when it is deprecated.

Whoever adds or removes an old route changes this table; docs/old-api.md shows it, the metric of old
routes and the headers of deprecated ones follow it.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final, Literal

from evpower.api.legacy.families import PREFIXES, Family
from evpower.foundation.module import OldRoute
from evpower.payments import OLD_NOTICE_PATHS

Method = Literal["GET", "POST", "PUT", "DELETE"]
DEPRECATED_ON: Final = date(2026, 12, 1)
_READY: Final = "/readyz"
_QR: Final = "/api/v1/balance/topup-qr"
_PAYMENT: Final = "/api/v1/payment/status/{invoice_id}"
_OLDEST: Final = "the oldest app"
_NONE: Final = "no known app"
_ADMINS: Final = "R5 to HEAD"
_SIGNED_IN: Final = "R6 to HEAD"  # the revisions that sign in by phone


@dataclass(frozen=True, slots=True)
class TableRow:
    """One route of the old API; without `successor` and `is_deprecated` it is still the way."""

    method: Method
    path: str
    family: Family | None  # None: outside both
    callers: str  # the revisions of the app that call it
    successor: str | None = None
    is_deprecated: bool = False


def _mobile(method: Method, tail: str, *, successor: str | None = None) -> TableRow:
    """Returns a route of the older family; the newer one has the same path, unless said."""
    return TableRow(
        method, f"{PREFIXES['mobile']}{tail}", "mobile", _OLDEST,
        successor or f"{PREFIXES['v1']}{tail}", is_deprecated=True,
    )  # fmt: skip


def _v1(method: Method, tail: str, callers: str) -> TableRow:
    return TableRow(method, f"{PREFIXES['v1']}{tail}", "v1", callers)


def _admin(method: Method, tail: str, successor: str | None) -> TableRow:
    """Returns a route of the app's admin pages; the operator API does what it does."""
    path = f"{PREFIXES['v1']}/admin{tail}"
    replaced_by = None if successor is None else f"{PREFIXES['v1']}/operator{successor}"
    return TableRow(method, path, "v1", _ADMINS, replaced_by, is_deprecated=successor is not None)


def _card(family: Family, tail: str, method: Method = "POST", successor: str = _QR) -> TableRow:
    path = f"{PREFIXES[family]}{tail}"
    return TableRow(method, path, family, _NONE, successor, is_deprecated=True)


# Their bodies hold card numbers: nothing reads them.
CARD_TAILS: Final = (
    "/balance/topup-card",
    "/balance/h2h-payment",
    "/balance/token-payment",
    "/payment/create-token",
    "/payment/token-payment",
    "/payment/h2h-payment",
)
OLD_ROUTES: Final[tuple[TableRow, ...]] = (
    _mobile("POST", "/charging/start"),
    _mobile("POST", "/charging/stop"),
    _mobile("GET", "/charging/status/{session_id}"),
    _mobile("GET", "/station/status/{station_id}"),
    _mobile("GET", "/balance/{client_id}"),
    _mobile("POST", "/balance/topup-qr"),
    _mobile("GET", "/payment/status/{invoice_id}"),
    _mobile("POST", "/payment/status-check/{invoice_id}"),
    _mobile("POST", "/payment/cancel/{invoice_id}"),
    _mobile("GET", "/payment/h2h-status/{transaction_id}", successor=_PAYMENT),
    *(_card("mobile", tail) for tail in CARD_TAILS),
    _v1("POST", "/charging/start", "R1 to HEAD"),
    _v1("POST", "/charging/stop", "R1 to HEAD"),
    _v1("GET", "/charging/status/{session_id}", "R1 to HEAD"),
    _v1("GET", "/station/status/{station_id}", "R1 to HEAD"),
    _v1("GET", "/locations", "R1 to HEAD"),
    _v1("GET", "/locations/{location_id}", _NONE),
    _v1("POST", "/locations/{location_id}/refresh-status", _NONE),
    _v1("GET", "/balance/{client_id}", "R1, R2, R5 to HEAD"),
    _v1("GET", "/balance/get", _NONE),
    _v1("POST", "/balance/topup-qr", "R1 to HEAD"),
    _v1("GET", "/payment/status/{invoice_id}", "R1 to HEAD"),
    _v1("GET", "/favorites", "HEAD"),
    _v1("POST", "/favorites", "HEAD"),
    _v1("DELETE", "/favorites/{location_id}", "HEAD"),
    _v1("POST", "/payment/status-check/{invoice_id}", _NONE),
    _v1("POST", "/payment/cancel/{invoice_id}", _NONE),
    _v1("POST", "/auth/send-otp", _SIGNED_IN),
    _v1("POST", "/auth/verify-otp", _SIGNED_IN),
    _v1("POST", "/auth/otp/send", _NONE),
    _v1("POST", "/auth/otp/verify", _NONE),
    _v1("POST", "/auth/refresh", _SIGNED_IN),
    _v1("POST", "/auth/logout", _SIGNED_IN),
    _v1("GET", "/auth/me", _SIGNED_IN),
    _v1("POST", "/auth/delete-account", _SIGNED_IN),
    _v1("GET", "/profile", _NONE),
    _v1("POST", "/account/delete-request", _NONE),
    _v1("POST", "/account/restore", _NONE),
    _v1("POST", "/devices/register", "R4 to HEAD"),
    _v1("POST", "/devices/unregister", "R4 to HEAD"),
    _v1("GET", "/notifications/vapid-public-key", _NONE),
    _v1("POST", "/notifications/subscribe", _NONE),
    _v1("POST", "/notifications/unsubscribe", _NONE),
    _admin("GET", "/stats", "/reports/daily"),
    _admin("GET", "/stations", "/stations"),
    _admin("GET", "/stations/{station_id}", "/stations/{station}"),
    _admin("PUT", "/stations/{station_id}", "/stations/{station}/availability"),
    _admin("GET", "/sessions", "/sessions"),
    _admin("GET", "/sessions/history", "/sessions"),
    _admin("GET", "/sessions/{session_id}", "/sessions/{session}"),
    _admin("GET", "/clients", "/clients"),
    _admin("GET", "/clients/{client_id}", "/clients"),
    _admin("PUT", "/clients/{client_id}/balance", None),
    _admin("PUT", "/clients/{client_id}/status", "/clients/{client_id}/block"),
    _card("v1", "/payment/h2h-status/{transaction_id}", "GET", _PAYMENT),
    *(_card("v1", tail) for tail in CARD_TAILS),
    # Their errors keep their statuses: a bank takes 200 for an accepted notice.
    *(TableRow("POST", path, None, "the bank") for path in OLD_NOTICE_PATHS),
    TableRow("GET", "/", None, "tools"),
    TableRow("GET", "/health", None, "Docker's health check", _READY, is_deprecated=True),
    TableRow("GET", "/health-force", None, "tools", _READY, is_deprecated=True),
    TableRow("GET", _READY, None, "tools"),
)
CARD_PATHS: Final = tuple(f"{prefix}{tail}" for prefix in PREFIXES.values() for tail in CARD_TAILS)
# Errors have the form of their family.
PLAIN_ERRORS: Final = tuple(dict.fromkeys(row.path for row in OLD_ROUTES if row.family == "v1"))
CODED_ERRORS: Final = tuple(dict.fromkeys(row.path for row in OLD_ROUTES if row.family == "mobile"))


def old_routes(sunset: date) -> list[OldRoute]:
    """Returns the table for the gateway; deprecated routes may go after the day of `sunset`."""
    deprecated_at, sunset_at = (
        datetime.combine(day, time(), UTC) for day in (DEPRECATED_ON, sunset)
    )
    return [
        OldRoute(
            row.method, row.path, row.family or "root", row.successor,
            deprecated_at if row.is_deprecated else None,
            sunset_at if row.is_deprecated else None,
        )
        for row in OLD_ROUTES
    ]  # fmt: skip
