"""What runs in the background of this slice."""

from datetime import datetime, timedelta
from typing import Final

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.loops import AT_ONCE, Loop, Pause, Round
from evpower.payments import metrics, store
from evpower.payments.confirm import Confirmer
from evpower.payments.providers.registry import Providers
from evpower.payments.recheck import BATCH, recheck_due

POLL_S: Final = 1.0
KEEP_UNKNOWN: Final = timedelta(days=400)  # a year's closing of the books, and some weeks


def recheck_loop(
    db: Database,
    providers: Providers,
    confirmer: Confirmer,
    clock: Clock,
    *,
    poll_s: float = POLL_S,
) -> Loop:
    """Return the loop that asks about open payments; at once again while many are due."""

    async def recheck(_: Round) -> Pause | None:
        claimed = await recheck_due(db, providers, confirmer, clock)
        return AT_ONCE if claimed >= BATCH else None

    return Loop("recheck", recheck, period_s=poll_s)


async def measure(db: Database, clock: Clock) -> None:
    """Refresh the gauges: open payments, those in review, the recheck's lag."""
    async with db.connection() as connection:
        open_count, review_count, lag_s = await store.waiting(connection, clock())
    metrics.BY_STATE.labels("open").set(open_count)
    metrics.BY_STATE.labels("review").set(review_count)
    metrics.RECHECK_LAG.set(lag_s)


async def purge_unknown_events(connection: Connection, now: datetime, at_most: int) -> int:
    """Delete events of no payment of ours, 400 days old. Those of payments are kept for ever."""
    return await store.purge_unknown_events(connection, now - KEEP_UNKNOWN, at_most)
