"""Payments through providers: top-up, confirmation, recheck, cash, refund, review."""

from evpower.payments.confirm import Confirmer
from evpower.payments.manual import cash
from evpower.payments.model import (
    STATUSES,
    TOP_UP_LIFETIME,
    ManualPosting,
    Payment,
    RecordedEvent,
)
from evpower.payments.module import module
from evpower.payments.providers.odengi import odengi_problems, probe_odengi
from evpower.payments.providers.registry import (
    Providers,
    configured_providers,
    provider_problem,
)
from evpower.payments.refund import refund_charge, refund_payment
from evpower.payments.review import Review, ReviewResult, events_of_no_payment, in_review, resolve
from evpower.payments.store import find_by_invoice
from evpower.payments.top_up import StartedTopUp, TopUpFailure, top_up

# What slices above may read of the tables.
PUBLIC_VIEWS = ("payments.payments_public", "payments.top_ups_public")

__all__ = [
    "PUBLIC_VIEWS",
    "STATUSES",
    "TOP_UP_LIFETIME",
    "Confirmer",
    "ManualPosting",
    "Payment",
    "Providers",
    "RecordedEvent",
    "Review",
    "ReviewResult",
    "StartedTopUp",
    "TopUpFailure",
    "cash",
    "configured_providers",
    "events_of_no_payment",
    "find_by_invoice",
    "in_review",
    "module",
    "odengi_problems",
    "probe_odengi",
    "provider_problem",
    "refund_charge",
    "refund_payment",
    "resolve",
    "top_up",
]
