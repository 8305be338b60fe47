"""The module of the reports: its route."""

from evpower.foundation.module import Module, Shared
from evpower.identity import Access


def module(shared: Shared, *, access: Access) -> Module:
    """Returns the slice."""
    from evpower.reports.endpoints import report_router

    return Module("reports", routers=[report_router(access, shared.db, shared.clock)])
