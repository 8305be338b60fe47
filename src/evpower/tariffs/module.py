"""What the tariffs give to a process: the operator's routes."""

from evpower.foundation.module import Module, Shared
from evpower.identity import Access, OperatorCalls
from evpower.tariffs.assign import FindPlace


def module(shared: Shared, *, access: Access, find_place: FindPlace) -> Module:
    """Returns the slice."""
    from evpower.tariffs.operator_endpoints import tariffs_router

    calls = OperatorCalls(access, shared.db, shared.bus, shared.clock)
    return Module("tariffs", routers=[tariffs_router(calls, find_place)])
