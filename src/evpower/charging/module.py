"""The module of charging: routes, fast paths, jobs, topics."""

from typing import Final

from evpower.charging.alarms import alarms_loop, measure
from evpower.charging.jobs import ask_for_values, purge_unhandled_starts, start_windows_loop
from evpower.charging.model import SESSION_CHANGED
from evpower.charging.partitions import partitions_loop
from evpower.charging.rules import configured_rules
from evpower.charging.watch import watch_loop
from evpower.config import Settings
from evpower.foundation.loops import Round, every
from evpower.foundation.module import Job, Module, Shared
from evpower.foundation.purge import purging
from evpower.identity import Access, OperatorCalls

_PURGE_S: Final = 3_600.0
_VALUES_S: Final = 30.0


def module(settings: Settings, shared: Shared, *, access: Access) -> Module:
    """Returns the module of charging."""
    from evpower.charging.card_endpoints import cards_router
    from evpower.charging.cdr_endpoints import cdrs_router
    from evpower.charging.endpoints import fast_paths, router
    from evpower.charging.estimate_endpoint import estimate_router
    from evpower.charging.operator_endpoints import sessions_router
    from evpower.charging.preview_endpoint import preview_router
    from evpower.charging.technician_endpoints import technicians_router

    db, bus, clock = shared.db, shared.bus, shared.clock
    rules = configured_rules(settings)
    calls = OperatorCalls(access, db, bus, clock)
    purge = purging(db, clock, purge_unhandled_starts)

    async def ask(_: Round) -> None:
        await ask_for_values(db, bus, clock)

    return Module(
        "charging",
        routers=[
            router(access, db, bus),
            estimate_router(access, db, clock=clock),
            sessions_router(calls, rules),
            cdrs_router(calls),
            cards_router(calls),
            technicians_router(calls),
            preview_router(calls),
        ],
        fast_paths=fast_paths(access, db),
        jobs=[
            Job(lambda: start_windows_loop(db, bus, clock, rules)),
            Job(lambda: watch_loop(db, bus, clock, rules)),
            Job(lambda: partitions_loop(db, clock)),
            Job(lambda: alarms_loop(db, clock, rules)),
            Job(lambda: every(_PURGE_S, "purge_unhandled_starts", purge)),
            Job(lambda: every(_VALUES_S, "ask_for_values", ask)),
        ],
        collectors=[lambda: measure(db)],
        topics=[SESSION_CHANGED],
    )
