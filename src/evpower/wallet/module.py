"""The wallet's module: routes and fast paths."""

from typing import TYPE_CHECKING

from evpower.foundation.module import Module, Shared
from evpower.identity import Access

if TYPE_CHECKING:  # commands import slices, and never serve
    from evpower.wallet.endpoints import BalanceReader


def module(shared: Shared, *, access: Access, reader: "BalanceReader | None" = None) -> Module:
    """Returns the wallet's module; `reader` identifies who reads a balance."""
    from evpower.wallet.endpoints import fast_paths, router

    return Module(
        "wallet",
        routers=[router(access, shared.db, reader)],
        fast_paths=fast_paths(access, shared.db, reader),
    )
