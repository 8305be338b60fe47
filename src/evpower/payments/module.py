"""The module of payments: routes, fast paths, jobs, metrics, limits."""

from typing import Final

from evpower.config import Settings
from evpower.foundation.addresses import parse_networks
from evpower.foundation.loops import every
from evpower.foundation.module import Job, Limit, Module, Shared
from evpower.foundation.purge import purging
from evpower.identity import Access, OperatorCalls
from evpower.payments.bank_refund import RefundDesk, settle_open
from evpower.payments.closed_clients import cancel_bills, watch_money
from evpower.payments.confirm import Confirmer
from evpower.payments.jobs import measure, purge_unknown_events, recheck_loop
from evpower.payments.providers.registry import OLD_NOTICE_PATHS, Providers
from evpower.payments.questions import Questions
from evpower.payments.reconciliation.daily import DailyReconciliation

_PURGE_S: Final = 600.0
_OPEN_REFUNDS_S: Final = 600.0
_MINUTE_S: Final = 60.0
_CANCEL_BILLS_S: Final = 5.0
_WATCH_MONEY_S: Final = 30.0


def module(
    settings: Settings,
    shared: Shared,
    *,
    access: Access,
    providers: Providers,
    confirmer: Confirmer,
) -> Module:
    """Returns the module of payments."""
    from evpower.payments.endpoints import Notices, fast_paths, router
    from evpower.payments.reconciliation.operator_endpoints import reconciliation_router
    from evpower.payments.refund_endpoints import refund_router

    db, clock = shared.db, shared.clock
    desk = RefundDesk(db, shared.bus, providers, confirmer, clock)
    notices = Notices(
        providers,
        confirmer,
        Questions(db, confirmer, clock),
        old_provider=settings.payment_webhook_provider or settings.payment_qr_provider,
        trusted_proxies=parse_networks(settings.trusted_proxies),
    )
    calls = OperatorCalls(access, db, shared.bus, clock)
    return Module(
        "payments",
        routers=[
            router(notices),
            reconciliation_router(calls, providers, confirmer),
            refund_router(calls, desk),
        ],
        fast_paths=fast_paths(notices),
        jobs=[
            Job(lambda: recheck_loop(db, providers, confirmer, clock)),
            Job(lambda: DailyReconciliation(db, providers, clock).loop()),
            Job(lambda: every(_OPEN_REFUNDS_S, "open_refunds", lambda _: settle_open(desk))),
            Job(
                lambda: every(
                    _CANCEL_BILLS_S,
                    "bills_of_closed_clients",
                    lambda _: cancel_bills(db, providers, confirmer, clock),
                )
            ),
            Job(
                lambda: every(
                    _WATCH_MONEY_S, "money_of_closed_clients", lambda _: watch_money(db, clock)
                )
            ),
            Job(lambda: every(_PURGE_S, "purge_events", purging(db, clock, purge_unknown_events))),
        ],
        collectors=[lambda: measure(db, clock)],
        route_limits=[
            Limit(
                "webhook", "signed", OLD_NOTICE_PATHS, settings.rate_webhook_per_minute, _MINUTE_S
            )
        ],
        close=confirmer.close,
    )
