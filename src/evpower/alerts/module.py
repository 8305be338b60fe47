"""The module of the alerts: its gauge."""

from evpower.alerts import metrics, store
from evpower.foundation.db import Database
from evpower.foundation.module import Module, Shared


def module(shared: Shared) -> Module:
    """Returns the module of the alerts."""
    return Module("alerts", collectors=[lambda: measure(shared.db)])


async def measure(db: Database) -> None:
    """Refreshes the gauge of open alerts."""
    async with db.connection() as connection:
        by_kind = await store.count_open(connection)
    metrics.OPEN.clear()
    for kind, count in by_kind.items():
        metrics.OPEN.labels(kind).set(count)
