"""Payments through providers: top-up, confirmation, recheck, cash, refund, review."""

from evpower.payments.ask import ask_soon
from evpower.payments.bank_refund import RefundDesk, decide_refund, refund_at_bank
from evpower.payments.cancel import cancel
from evpower.payments.confirm import Confirmer
from evpower.payments.errors import ProviderError
from evpower.payments.manual import cash
from evpower.payments.model import (
    OPENING,
    STATUSES,
    TOP_UP_LIFETIME,
    BankRefund,
    ManualPosting,
    Payment,
    RecordedEvent,
)
from evpower.payments.module import module
from evpower.payments.providers.odengi import odengi_problems, probe_odengi
from evpower.payments.providers.registry import (
    OLD_NOTICE_PATHS,
    Providers,
    configured_providers,
    provider_problem,
)
from evpower.payments.providers.report import (
    ReportError,
    parse_columns,
    read_report,
)
from evpower.payments.reconciliation.decide import Decided, decide
from evpower.payments.reconciliation.model import Difference, Reconciliation
from evpower.payments.reconciliation.period import day_of
from evpower.payments.reconciliation.period import days as reconciled_days
from evpower.payments.reconciliation.period import last_day as last_reconciled_day
from evpower.payments.reconciliation.reconcile import Reconciler, Report
from evpower.payments.reconciliation.shown import difference_json, differences_csv, run_json
from evpower.payments.reconciliation.store import list_differences
from evpower.payments.refund import refund_charge, refund_payment
from evpower.payments.review import Review, ReviewResult, events_of_no_payment, in_review, resolve
from evpower.payments.store import find_by_invoice, opened_at
from evpower.payments.store_bank_refunds import list_open as open_refunds
from evpower.payments.top_up import StartedTopUp, TopUpFailure, top_up

# What slices above may read of the tables.
PUBLIC_VIEWS = ("payments.payments_public", "payments.top_ups_public")

__all__ = [
    "OLD_NOTICE_PATHS",
    "OPENING",
    "PUBLIC_VIEWS",
    "STATUSES",
    "TOP_UP_LIFETIME",
    "BankRefund",
    "Confirmer",
    "Decided",
    "Difference",
    "ManualPosting",
    "Payment",
    "ProviderError",
    "Providers",
    "Reconciler",
    "Reconciliation",
    "RecordedEvent",
    "RefundDesk",
    "Report",
    "ReportError",
    "Review",
    "ReviewResult",
    "StartedTopUp",
    "TopUpFailure",
    "ask_soon",
    "cancel",
    "cash",
    "configured_providers",
    "day_of",
    "decide",
    "decide_refund",
    "difference_json",
    "differences_csv",
    "events_of_no_payment",
    "find_by_invoice",
    "in_review",
    "last_reconciled_day",
    "list_differences",
    "module",
    "odengi_problems",
    "open_refunds",
    "opened_at",
    "parse_columns",
    "probe_odengi",
    "provider_problem",
    "read_report",
    "reconciled_days",
    "refund_at_bank",
    "refund_charge",
    "refund_payment",
    "resolve",
    "run_json",
    "top_up",
]
