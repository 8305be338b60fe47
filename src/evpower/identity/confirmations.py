"""Confirmation mails: queued with the registration, sent by Supabase Auth as its limits allow.

Auth sends few mails an hour (hosted projects without an own mail server: 2) and answers 429 above
that. A mail that it did not send stays queued and is tried again for a week.
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

# none: the address needs no mail, or has it already.
Mail = Literal["none", "sent", "queued"]
_LEASE: Final = timedelta(seconds=60)  # longer than a call of Auth takes
_RETRY: Final = Backoff(60, 3600)
_KEEP: Final = timedelta(days=7)
_AT_ONCE: Final = 50  # in one round

_log: Final = structlog.get_logger()


def needs_mail(user: AuthUser) -> bool:
    """Whether the user's address waits for its confirmation."""
    return user.email is not None and not user.email_confirmed


async def queue_confirmation(connection: Connection, user: AuthUser, now: datetime) -> None:
    """Queue the mail in the caller's transaction, if it is due; `send_confirmation` comes next."""
    if needs_mail(user) and user.email is not None:
        await store.queue(connection, user.id, user.email, now, now + _LEASE)


async def send_confirmation(
    db: Database, admin: SupabaseAdmin, user: AuthUser, clock: Clock
) -> Mail:
    """Have a queued mail sent now. What fails stays queued; never raises for a failure of Auth."""
    if not needs_mail(user) or user.email is None:
        return "none"
    confirmation = store.RegistrationConfirmation(user.id, user.email, attempts=0)
    try:
        done = await _send(db, admin, confirmation, clock)
    except Unavailable as error:  # our own database: the job sends it, once more at worst
        _log.warning("confirmation_not_stored", client_id=str(user.id), error=error.detail)
        return "queued"
    return "sent" if done else "queued"


async def send_confirmations(
    db: Database, admin: SupabaseAdmin, clock: Clock, current: Round | None = None
) -> int:
    """Send the mails that are due until Auth wants no more. Returns how many it took."""
    current = current or Round()
    async with db.transaction() as connection:
        given_up = await store.give_up(connection, clock() - _KEEP)
    if given_up:
        metrics.CONFIRMATIONS.labels("given_up").inc(given_up)
        _log.warning("confirmations_given_up", count=given_up)
    sent = 0
    for _ in range(_AT_ONCE):
        now = clock()
        async with db.transaction() as connection:
            due = await store.claim(connection, now, now + _LEASE)
        if due is None or current.stopping:
            break
        done = await _send(db, admin, due, clock)
        current.progress()
        if not done:
            current.failed("confirmation_not_sent")
            break
        sent += 1
    return sent


async def measure_confirmations(db: Database) -> None:
    """Refresh the gauges."""
    async with db.connection() as connection:
        now = await store.waiting(connection)
    metrics.CONFIRMATIONS_WAITING.set(now.count)
    metrics.CONFIRMATION_OLDEST.set(now.oldest_s)


async def waiting_confirmations(connection: Connection) -> WaitingConfirmations:
    """Return what waits to be sent."""
    return await store.waiting(connection)


async def _send(
    db: Database, admin: SupabaseAdmin, due: store.RegistrationConfirmation, clock: Clock
) -> bool:
    try:
        await admin.send_confirmation(due.email)
    except (AuthRefused, Unavailable) as error:
        await _put_off(db, due, error, clock())
        return False
    async with db.transaction() as connection:
        await store.sent(connection, due.client_id)
    metrics.CONFIRMATIONS.labels("sent").inc()
    return True


async def _put_off(
    db: Database,
    due: store.RegistrationConfirmation,
    error: AuthRefused | Unavailable,
    now: datetime,
) -> None:
    """This mail waits longer each time; where Auth is busy or away, the others wait a minute."""
    delay_s = _RETRY.pause_s(due.attempts + 1)
    text = error.detail if isinstance(error, Unavailable) else str(error)
    async with db.transaction() as connection:
        await store.put_off(connection, due.client_id, now + timedelta(seconds=delay_s), text)
        if isinstance(error, Unavailable):
            pause_s = _RETRY.first_s
            if isinstance(error, AuthBusy) and error.pause_s is not None:
                pause_s = min(_RETRY.longest_s, max(pause_s, int(error.pause_s)))
            await store.put_off_all(connection, now + timedelta(seconds=pause_s))
    metrics.CONFIRMATIONS.labels("busy" if isinstance(error, AuthBusy) else "failed").inc()
    _log.warning("confirmation_not_sent", client_id=str(due.client_id), error=text)


async def resend_target(connection: Connection, email: str, phone: str) -> UUID | None:
    """Return the client that registered with exactly this email and phone before."""
    return await store.registered_before(connection, email, phone)
