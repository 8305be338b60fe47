"""The module of charging: routes, fast paths, jobs, topics."""

from evpower.charging.alarms import alarms_loop, measure
from evpower.charging.jobs import start_windows_loop
from evpower.charging.model import SESSION_CHANGED
from evpower.charging.partitions import partitions_loop
from evpower.charging.rules import configured_rules
from evpower.charging.watch import watch_loop
from evpower.config import Settings
from evpower.foundation.module import Job, Module, Shared
from evpower.identity import Access


def module(settings: Settings, shared: Shared, *, access: Access) -> Module:
    """Returns the module of charging."""
    from evpower.charging.endpoints import fast_paths, router
    from evpower.charging.estimate_endpoint import estimate_router

    db, bus, clock = shared.db, shared.bus, shared.clock
    rules = configured_rules(settings)
    return Module(
        "charging",
        routers=[router(access, db, bus), estimate_router(access, db, clock=clock)],
        fast_paths=fast_paths(access, db),
        jobs=[
            Job(lambda: start_windows_loop(db, bus, clock, rules)),
            Job(lambda: watch_loop(db, bus, clock, rules)),
            Job(lambda: partitions_loop(db, clock)),
            Job(lambda: alarms_loop(db, clock, rules)),
        ],
        collectors=[lambda: measure(db)],
        topics=[SESSION_CHANGED],
    )
