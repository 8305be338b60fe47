"""Ask providers about every open payment until each is closed. Any number of workers may do it."""

import asyncio
from datetime import datetime, timedelta
from typing import Final

import structlog

from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.payments import store
from evpower.payments.ask import ask
from evpower.payments.confirm import Confirmer
from evpower.payments.errors import ProviderError, UnknownToProvider
from evpower.payments.model import Payment
from evpower.payments.providers.registry import Providers

log = structlog.get_logger()
LEASE: Final = timedelta(seconds=60)  # longer than any provider's answer may take
BATCH: Final = 20
_OFTEN: Final = timedelta(seconds=15)
_OFTEN_FOR: Final = timedelta(minutes=5)
_SELDOM: Final = timedelta(hours=1)
# An invoice may be on its way there, and a proxy or a wrong address says "not found" too.
UNMADE_AFTER: Final = timedelta(minutes=15)
UNMADE_COUNT: Final = 3
GIVE_UP_AFTER: Final = timedelta(days=5)


def next_check(payment: Payment, now: datetime) -> datetime | None:
    """When to ask next: each 15 s for 5 minutes, then ever less up to hourly; None after 5 days."""
    age = now - payment.created_at
    if age >= GIVE_UP_AFTER:
        return None
    if age < _OFTEN_FOR:
        return now + _OFTEN
    return now + min(age / 4, _SELDOM)


async def recheck_due(
    db: Database, providers: Providers, confirmer: Confirmer, clock: Clock
) -> int:
    """Asks about the payments that are due, some at once. Returns how many were claimed.

    Raises the first failure after the others were finished and each was logged.
    """
    async with db.transaction() as connection:
        due = await store.claim_due(
            connection, providers=providers.names, now=clock(), lease=LEASE, limit=BATCH
        )
    done = await asyncio.gather(
        *(_one(db, providers, confirmer, payment, clock) for payment in due), return_exceptions=True
    )
    failed = [
        (payment, error) for payment, error in zip(due, done, strict=True) if error is not None
    ]
    for payment, error in failed:
        log.error("payment_recheck_failed", invoice_id=payment.invoice_id, exc_info=error)
    for _, error in failed:
        raise error
    return len(due)


async def _one(
    db: Database, providers: Providers, confirmer: Confirmer, payment: Payment, clock: Clock
) -> None:
    provider = providers.named(payment.provider)
    answered = True
    try:
        event = await ask(
            provider.name,
            "status",
            provider.ask_status(order_id=payment.order_id, provider_ref=payment.provider_ref),
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
            close_after=UNMADE_AFTER,
            close_count=UNMADE_COUNT,
        )
    log.warning(
        "payment_unknown_to_provider",
        provider=payment.provider,
        invoice_id=payment.invoice_id,
        closed=closed,
    )
