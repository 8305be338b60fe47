"""Confirmation mails: queued with the registration, sent by Supabase Auth within its limits.

Auth sends few mails per hour (hosted projects without an own mail server: 2) and responds with 429
above that. A mail that it did not send stays queued and is retried for a week.
"""

from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import structlog

from evpower.foundation.backoff import Backoff
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.loops import Round
from evpower.identity import metrics
from evpower.identity import store_confirmations as store
from evpower.identity.errors import AuthBusy, AuthRefused
from evpower.identity.model import AuthUser
from evpower.identity.store_confirmations import WaitingConfirmations
from evpower.identity.supabase_admin import SupabaseAdmin

# none: the address needs no mail.
Mail = Literal["none", "sent", "queued"]
_LEASE: Final = timedelta(seconds=60)  # longer than a call of Auth takes
_RETRY: Final = Backoff(60, 3600)
_GIVE_UP_AFTER: Final = timedelta(days=7)
_MAX_PER_ROUND: Final = 50

_log: Final = structlog.get_logger()


def needs_mail(user: AuthUser) -> bool:
    """Returns whether the user's email is not confirmed yet."""
    return user.email is not None and not user.email_confirmed


async def queue_confirmation(connection: Connection, user: AuthUser, now: datetime) -> None:
    """Queues the mail in the caller's transaction, if one is due; call `send_confirmation` next."""
    if needs_mail(user) and user.email is not None:
        await store.queue(connection, user.id, user.email, now, now + _LEASE)


async def send_confirmation(
    db: Database, admin: SupabaseAdmin, user: AuthUser, clock: Clock
) -> Mail:
    """Sends a queued mail now. If Auth fails, it stays queued; a failure of Auth is not raised."""
    if not needs_mail(user) or user.email is None:
        return "none"
    confirmation = store.RegistrationConfirmation(user.id, user.email, attempts=0)
    try:
        is_sent = await _send(db, admin, confirmation, clock)
    except Unavailable as error:  # our own database: the job sends the mail, a second time at worst
        _log.warning("confirmation_not_stored", client_id=str(user.id), error=error.detail)
        return "queued"
    return "sent" if is_sent else "queued"


async def send_confirmations(
    db: Database, admin: SupabaseAdmin, clock: Clock, current: Round | None = None
) -> int:
    """Sends due mails until Auth refuses one; returns how many were sent."""
    current = current or Round()
    async with db.transaction() as connection:
        given_up = await store.give_up(connection, clock() - _GIVE_UP_AFTER)
    if given_up:
        metrics.CONFIRMATIONS.labels("given_up").inc(given_up)
        _log.warning("confirmations_given_up", count=given_up)
    sent = 0
    for _ in range(_MAX_PER_ROUND):
        now = clock()
        async with db.transaction() as connection:
            due = await store.claim(connection, now, now + _LEASE)
        if due is None or current.stopping:
            break
        is_sent = await _send(db, admin, due, clock)
        current.progress()
        if not is_sent:
            current.failed("confirmation_not_sent")
            break
        sent += 1
    return sent


async def measure_confirmations(db: Database) -> None:
    """Refreshes the gauges of queued mails."""
    async with db.connection() as connection:
        queued = await store.waiting(connection)
    metrics.CONFIRMATIONS_WAITING.set(queued.count)
    metrics.CONFIRMATION_OLDEST.set(queued.oldest_s)


async def waiting_confirmations(connection: Connection) -> WaitingConfirmations:
    """Returns the number, age and last error of the queued mails."""
    return await store.waiting(connection)


async def _send(
    db: Database, admin: SupabaseAdmin, due: store.RegistrationConfirmation, clock: Clock
) -> bool:
    try:
        await admin.send_confirmation(due.email)
    except (AuthRefused, Unavailable) as error:
        await _postpone(db, due, error, clock())
        return False
    async with db.transaction() as connection:
        await store.delete_sent(connection, due.client_id)
    metrics.CONFIRMATIONS.labels("sent").inc()
    return True


async def _postpone(
    db: Database,
    due: store.RegistrationConfirmation,
    error: AuthRefused | Unavailable,
    now: datetime,
) -> None:
    """Postpones a mail, longer each time; if Auth is busy or down, postpones all for a minute."""
    delay_s = _RETRY.pause_s(due.attempts + 1)
    text = error.detail if isinstance(error, Unavailable) else str(error)
    async with db.transaction() as connection:
        await store.postpone(connection, due.client_id, now + timedelta(seconds=delay_s), text)
        if isinstance(error, Unavailable):
            pause_s = _RETRY.first_s
            if isinstance(error, AuthBusy) and error.pause_s is not None:
                pause_s = min(_RETRY.longest_s, max(pause_s, int(error.pause_s)))
            await store.postpone_all(connection, now + timedelta(seconds=pause_s))
    metrics.CONFIRMATIONS.labels("busy" if isinstance(error, AuthBusy) else "failed").inc()
    _log.warning("confirmation_not_sent", client_id=str(due.client_id), error=text)


async def resend_target(connection: Connection, email: str, phone: str) -> UUID | None:
    """Returns the client of an earlier registration with exactly this email and phone."""
    return await store.find_registered(connection, email, phone)
