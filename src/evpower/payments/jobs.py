"""What runs in the background of this slice."""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.errors import Unavailable
from evpower.payments import metrics, store
from evpower.payments.confirm import Confirmer
from evpower.payments.providers.registry import Providers
from evpower.payments.recheck import BATCH, recheck_due

log = structlog.get_logger()
POLL_S: Final = 1.0


async def recheck_forever(
    db: Database,
    providers: Providers,
    confirmer: Confirmer,
    clock: Clock,
    *,
    stop: asyncio.Event,
    poll_s: float = POLL_S,
) -> None:
    """Ask about open payments until `stop` is set; no failure ends it."""
    while not stop.is_set():
        claimed = 0
        try:
            claimed = await recheck_due(db, providers, confirmer, clock)
        except Unavailable as error:
            log.warning("recheck_waits", code=error.code)
        except Exception:
            log.exception("recheck_failed")
        if claimed < BATCH:
            await _pause(stop, poll_s)


async def measure(db: Database, clock: Clock) -> None:
    """Refresh the gauges: open payments, those in review, the recheck's lag."""
    async with db.connection() as connection:
        open_count, review_count, lag_s = await store.waiting(connection, clock())
    metrics.BY_STATE.labels("open").set(open_count)
    metrics.BY_STATE.labels("review").set(review_count)
    metrics.RECHECK_LAG.set(lag_s)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
