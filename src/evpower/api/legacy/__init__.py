"""The old API, for apps and tools that still use it. Only bootstrap imports it."""

from evpower.api.legacy.callers import OldCallers
from evpower.api.legacy.location_feed import LocationFeed
from evpower.api.legacy.location_socket import router
from evpower.api.legacy.module import module, old_callers
from evpower.api.legacy.old_routes import CODED_ERRORS, PLAIN_ERRORS
from evpower.api.legacy.payment_calls import payment_calls_router
from evpower.api.legacy.payments import PaymentCalls, payments_router
from evpower.api.legacy.users import clients_with_money

__all__ = [
    "CODED_ERRORS",
    "PLAIN_ERRORS",
    "LocationFeed",
    "OldCallers",
    "PaymentCalls",
    "clients_with_money",
    "module",
    "old_callers",
    "payment_calls_router",
    "payments_router",
    "router",
]
