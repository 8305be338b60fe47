"""The wallet's module: routes and fast paths."""

from evpower.foundation.module import Module, Shared
from evpower.identity import Access


def module(shared: Shared, *, access: Access) -> Module:
    """Returns the wallet's module."""
    from evpower.wallet.endpoints import fast_paths, router

    return Module(
        "wallet", routers=[router(access, shared.db)], fast_paths=fast_paths(access, shared.db)
    )
