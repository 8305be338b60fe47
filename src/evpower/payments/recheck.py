"""Rechecks open payments at their providers until each is closed; workers may run in parallel."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

import structlog

from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.payments import store
from evpower.payments.confirm import Confirmer
from evpower.payments.errors import ProviderError, UnknownToProvider
from evpower.payments.model import Payment
from evpower.payments.provider_call import call_provider
from evpower.payments.providers.registry import Providers

log = structlog.get_logger()
LEASE: Final = timedelta(seconds=60)  # longer than any provider call may take
BATCH: Final = 20
_FIRST_INTERVAL: Final = timedelta(seconds=15)
_FIRST_PERIOD: Final = timedelta(minutes=5)
_LONGEST_INTERVAL: Final = timedelta(hours=1)
# One "not found" closes nothing: the request that creates the invoice may still be under way, and a
# proxy or a wrong address responds with 404 too.
CLOSE_UNKNOWN_AFTER: Final = timedelta(minutes=15)
CLOSE_UNKNOWN_COUNT: Final = 3
GIVE_UP_AFTER: Final = timedelta(days=5)


def next_check(payment: Payment, now: datetime) -> datetime | None:
    """Returns the time of the next recheck; None after 5 days.

    Every 15 s for 5 minutes, then at growing intervals of up to an hour.
    """
    age = now - payment.created_at
    if age >= GIVE_UP_AFTER:
        return None
    if age < _FIRST_PERIOD:
        return now + _FIRST_INTERVAL
    return now + min(age / 4, _LONGEST_INTERVAL)


async def recheck_due(
    db: Database, providers: Providers, confirmer: Confirmer, clock: Clock
) -> int:
    """Rechecks a batch of due payments concurrently; returns how many were claimed.

    Raises the first failure after the other rechecks have ended and each failure was logged.
    """
    async with db.transaction() as connection:
        due = await store.claim_due(
            connection, providers=providers.names, now=clock(), lease=LEASE, limit=BATCH
        )
    errors = await asyncio.gather(
        *(_recheck(db, providers, confirmer, payment, clock) for payment in due),
        return_exceptions=True,
    )
    failed = [
        (payment, error) for payment, error in zip(due, errors, strict=True) if error is not None
    ]
    for payment, error in failed:
        log.error("payment_recheck_failed", invoice_id=payment.invoice_id, exc_info=error)
    for _, error in failed:
        raise error
    return len(due)


async def _recheck(
    db: Database, providers: Providers, confirmer: Confirmer, payment: Payment, clock: Clock
) -> None:
    provider = providers.named(payment.provider)
    answered = True
    try:
        event = await call_provider(
            provider.name,
            "status",
            provider.fetch_status(order_id=payment.order_id, provider_ref=payment.provider_ref),
        )
    except UnknownToProvider:
        await _record_unknown(db, payment, clock())
        return
    except ProviderError:
        answered = False
    else:
        if event.status != "processing" or event.refunded_minor:
            await confirmer.confirm(event)
    now = clock()
    async with db.transaction() as connection:
        await store.record_check(
            connection,
            payment.id,
            now=now,
            next_check_at=next_check(payment, now),
            answered=answered,
        )


async def _record_unknown(db: Database, payment: Payment, now: datetime) -> None:
    async with db.transaction() as connection:
        closed = await store.record_unknown(
            connection,
            payment.id,
            now=now,
            next_check_at=next_check(payment, now),
            close_after=CLOSE_UNKNOWN_AFTER,
            close_count=CLOSE_UNKNOWN_COUNT,
        )
    log.warning(
        "payment_unknown_to_provider",
        provider=payment.provider,
        invoice_id=payment.invoice_id,
        closed=closed,
    )
