"""The module of charging: routes, fast paths, topics."""

from evpower.charging.model import SESSION_CHANGED
from evpower.foundation.module import Module, Shared
from evpower.identity import Access


def module(shared: Shared, *, access: Access) -> Module:
    """Returns the module of charging."""
    from evpower.charging.endpoints import fast_paths, router

    return Module(
        "charging",
        routers=[router(access, shared.db, shared.bus)],
        fast_paths=fast_paths(access, shared.db),
        topics=[SESSION_CHANGED],
    )
