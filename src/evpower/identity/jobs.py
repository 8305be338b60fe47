"""Background jobs of identity: finishing interrupted registrations and deleting old ones."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.identity import metrics, store
from evpower.identity.confirmations import send_confirmation
from evpower.identity.model import Intent
from evpower.identity.register import complete
from evpower.identity.supabase_admin import SupabaseAdmin

IDLE_AFTER: Final = timedelta(seconds=30)  # longer than a running registration takes
INTENT_LIFETIME: Final = timedelta(minutes=15)
RETENTION: Final = timedelta(days=90)  # of ended registrations: their email and phone serve support
_BATCH: Final = 50

_log: Final = structlog.get_logger()


async def converge_registrations(
    db: Database,
    admin: SupabaseAdmin,
    clock: Clock,
    progress: Callable[[], None] = lambda: None,
) -> int:
    """Finishes interrupted registrations; returns how many ended.

    A user gets its client; an intent without a user ends after 15 minutes. While Supabase is down,
    they wait for the next round without an error.
    """
    now = clock()
    async with db.transaction() as connection:
        intents = await store.claim_idle_intents(connection, now, now - IDLE_AFTER, _BATCH)
    ended = 0
    for intent in intents:
        progress()
        try:
            ended += await _converge(db, admin, intent, clock)
        except Unavailable as error:
            _log.info("registrations_deferred", waiting=len(intents), reason=error.code)
            break
    return ended


async def purge_registrations(connection: Connection, now: datetime, at_most: int) -> int:
    """Deletes registrations that ended 90 days ago; returns how many. Open ones stay."""
    return await store.purge_registrations(connection, now - RETENTION, at_most)


async def _converge(db: Database, admin: SupabaseAdmin, intent: Intent, clock: Clock) -> bool:
    now = clock()
    user = await admin.get_user(intent.client_id)
    if user is None:
        if intent.created_at > now - INTENT_LIFETIME:
            return False
        async with db.transaction() as connection:
            ended = await store.end_intent(connection, intent.client_id, "expired", "no user")
        if ended:
            metrics.CONVERGED.labels("expired").inc()
        return ended
    async with db.transaction() as connection:
        await complete(connection, user, now)
    metrics.CONVERGED.labels("completed").inc()
    _log.info("registration_completed", client_id=str(intent.client_id))
    await send_confirmation(db, admin, user, clock)
    return True
