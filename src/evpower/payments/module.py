"""The module of payments: routes, fast paths, jobs, metrics, limits."""

from typing import Final

from evpower.config import Settings
from evpower.foundation.loops import every
from evpower.foundation.module import Job, Limit, Module, Shared
from evpower.foundation.purge import purging
from evpower.payments.confirm import Confirmer
from evpower.payments.jobs import measure, purge_unknown_events, recheck_loop
from evpower.payments.providers.registry import Providers

_PURGE_S: Final = 600.0
_MINUTE_S: Final = 60.0


def module(settings: Settings, shared: Shared, *, providers: Providers) -> Module:
    """Returns the module of payments."""
    from evpower.payments.endpoints import WEBHOOK_PREFIX, fast_paths, router

    db, clock = shared.db, shared.clock
    confirmer = Confirmer(db, shared.bus)
    return Module(
        "payments",
        routers=[router(providers, confirmer)],
        fast_paths=fast_paths(providers, confirmer),
        jobs=[
            Job(lambda: recheck_loop(db, providers, confirmer, clock)),
            Job(lambda: every(_PURGE_S, "purge_events", purging(db, clock, purge_unknown_events))),
        ],
        collectors=[lambda: measure(db, clock)],
        route_limits=[
            Limit(
                "webhook", "signed", (WEBHOOK_PREFIX,), settings.rate_webhook_per_minute, _MINUTE_S
            )
        ],
        close=confirmer.close,
    )
