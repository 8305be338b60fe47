"""What the worker does for identity, every few seconds."""

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

IDLE: Final = timedelta(seconds=30)  # longer than a running registration takes
LIFE: Final = timedelta(minutes=15)
KEEP: Final = timedelta(days=90)  # of one that ended: an email and a phone, for support
_BATCH: Final = 50

_log: Final = structlog.get_logger()


async def converge_registrations(
    db: Database,
    admin: SupabaseAdmin,
    clock: Clock,
    progress: Callable[[], None] = lambda: None,
) -> int:
    """Finish what crashed half-way; answer how many were settled.

    A user gets its client, an intent without user ends after 15 minutes. Supabase being down is
    no error: they wait for the next time.
    """
    now = clock()
    async with db.transaction() as connection:
        intents = await store.claim_idle_intents(connection, now, now - IDLE, _BATCH)
    settled = 0
    for intent in intents:
        progress()
        try:
            settled += await _converge(db, admin, intent, clock)
        except Unavailable as error:
            _log.info("registrations_wait", waiting=len(intents), reason=error.code)
            break
    return settled


async def purge_registrations(connection: Connection, now: datetime, at_most: int) -> int:
    """Delete registrations that ended 90 days ago; open ones stay. Returns how many."""
    return await store.purge_registrations(connection, now - KEEP, at_most)


async def _converge(db: Database, admin: SupabaseAdmin, intent: Intent, clock: Clock) -> bool:
    now = clock()
    user = await admin.get_user(intent.client_id)
    if user is None:
        if intent.created_at > now - LIFE:
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
