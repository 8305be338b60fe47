"""Background jobs of payments: the recheck loop, the gauges, the purge of old events."""

from datetime import datetime, timedelta
from typing import Final

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.loops import AT_ONCE, Loop, Pause, Round
from evpower.payments import metrics, store, store_recheck
from evpower.payments.confirm import Confirmer
from evpower.payments.providers.registry import Providers
from evpower.payments.recheck import BATCH, recheck_due

POLL_S: Final = 1.0
UNKNOWN_EVENTS_RETENTION: Final = timedelta(
    days=400
)  # a year's closing of the books, and some weeks


def recheck_loop(
    db: Database,
    providers: Providers,
    confirmer: Confirmer,
    clock: Clock,
    *,
    poll_s: float = POLL_S,
) -> Loop:
    """Returns the loop that rechecks open payments; it runs again at once while a batch is full."""

    async def recheck(_: Round) -> Pause | None:
        claimed = await recheck_due(db, providers, confirmer, clock)
        return AT_ONCE if claimed >= BATCH else None

    return Loop("recheck", recheck, period_s=poll_s)


async def measure(db: Database, clock: Clock) -> None:
    """Refreshes the gauges: open payments, payments in review, the recheck's lag."""
    async with db.connection() as connection:
        open_count, review_count, lag_s = await store_recheck.count_pending(connection, clock())
    metrics.BY_STATE.labels("open").set(open_count)
    metrics.BY_STATE.labels("review").set(review_count)
    metrics.RECHECK_LAG.set(lag_s)


async def purge_unknown_events(connection: Connection, now: datetime, at_most: int) -> int:
    """Deletes events without a payment after 400 days; events of a payment are never deleted."""
    return await store.purge_unknown_events(connection, now - UNKNOWN_EVENTS_RETENTION, at_most)
