"""Rechecks open payments at their providers until each is closed; workers may run in parallel."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.payments import store_recheck
from evpower.payments.confirm import Confirmer
from evpower.payments.errors import ProviderError, UnknownToProvider
from evpower.payments.model import TOP_UP_LIFETIME, Confirmation, Event, Payment
from evpower.payments.provider_call import call_provider
from evpower.payments.providers.protocol import BillStatus, Provider
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
# A bill that is paid or canceled may be paid again: up to a quarter of an hour after it expires,
# and that may be reported late.
LATE_FOR: Final = TOP_UP_LIFETIME + timedelta(minutes=15, hours=24)


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


def late_check(payment: Payment, now: datetime) -> datetime | None:
    """Returns when a paid or canceled bill is rechecked: hourly for a day; None: no more."""
    return now + _LONGEST_INTERVAL if now < payment.created_at + LATE_FOR else None


async def recheck_due(
    db: Database, providers: Providers, confirmer: Confirmer, clock: Clock
) -> int:
    """Rechecks a batch of due payments concurrently; returns how many were claimed.

    Raises the first failure after the other rechecks have ended and each failure was logged.
    """
    async with db.transaction() as connection:
        due = await store_recheck.claim_due(
            connection, providers=providers.names, now=clock(), lease=LEASE, limit=BATCH
        )
    errors = await asyncio.gather(
        *(
            check(db, providers.named(payment.provider), confirmer, payment, clock)
            for payment in due
        ),
        return_exceptions=True,
    )
    failed = [
        (payment, error)
        for payment, error in zip(due, errors, strict=True)
        if isinstance(error, BaseException)
    ]
    for payment, error in failed:
        log.error("payment_recheck_failed", invoice_id=payment.invoice_id, exc_info=error)
    for _, error in failed:
        raise error
    return len(due)


async def check(
    db: Database,
    provider: Provider,
    confirmer: Confirmer,
    payment: Payment,
    clock: Clock,
    *,
    hurry: bool = False,
) -> list[Confirmation]:
    """Asks the provider about a payment's order and applies what it says; never raises its errors.

    `hurry`: a notice said that there is news, so it is asked again soon if there was no answer.
    """
    started = clock()
    confirmations: list[Confirmation] = []
    status: BillStatus | None = None
    try:
        status = await call_provider(
            provider.name,
            "status",
            provider.fetch_status(
                order_id=payment.order_id,
                provider_ref=payment.provider_ref,
                bills=payment.create_count,
            ),
        )
    except UnknownToProvider:
        await _record_unknown(db, payment, clock())
        return []
    except ProviderError:
        pass
    else:
        confirmations = await apply_events(confirmer, status.events)
    now = clock()
    soon = now + _FIRST_INTERVAL if hurry and status is None else None
    async with db.transaction() as connection:
        await store_recheck.record_check(
            connection,
            payment.id,
            now=now,
            next_check_at=soon or next_check(payment, now),
            late_check_at=soon or late_check(payment, now),
            answered=status is not None,
            provider_ref=None if status is None else status.provider_ref,
            started=started,
            demand_reference_after=CLOSE_UNKNOWN_AFTER,
        )
    return confirmations


async def apply_events(confirmer: Confirmer, events: Sequence[Event]) -> list[Confirmation]:
    """Applies what a provider answered, in its order; "still processing" says nothing."""
    return [
        await confirmer.confirm(event)
        for event in events
        if event.status != "processing" or event.refunded_minor or event.doubt
    ]


async def _record_unknown(db: Database, payment: Payment, now: datetime) -> None:
    async with db.transaction() as connection:
        closed = await store_recheck.record_unknown(
            connection,
            payment.id,
            now=now,
            next_check_at=next_check(payment, now),
            late_check_at=late_check(payment, now),
            close_after=CLOSE_UNKNOWN_AFTER,
            close_count=CLOSE_UNKNOWN_COUNT,
        )
    log.warning(
        "payment_unknown_to_provider",
        provider=payment.provider,
        invoice_id=payment.invoice_id,
        closed=closed,
    )
