"""Begin a top-up: the intent, committed; the provider, outside any transaction; its answer."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import structlog

from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.errors import NotFound
from evpower.foundation.ids import new_code
from evpower.foundation.money import CURRENCY
from evpower.identity import require_active
from evpower.payments import metrics, store
from evpower.payments.ask import ask
from evpower.payments.errors import ProviderError, ProviderRefused
from evpower.payments.model import Payment
from evpower.payments.providers.protocol import Invoice, Provider

log = structlog.get_logger()
LIFETIME: Final = timedelta(
    seconds=300
)  # how long the app shows a QR; the payment itself does not end then
FIRST_CHECK: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class ToppingUp:
    """A top-up under way: the payment as stored, the provider's bill, and the balance before it."""

    payment: Payment
    invoice: Invoice
    balance_minor: int


@dataclass(frozen=True, slots=True)
class NotBegun:
    """Why there is no QR; `payment` when the intent stays and is asked about."""

    code: Literal["client_not_found", "payment_provider_error"]
    payment: Payment | None
    balance_minor: int | None


async def top_up(
    db: Database,
    provider: Provider | None,
    *,
    client_id: UUID,
    amount_minor: int,
    description: str | None,
    clock: Clock,
) -> ToppingUp | NotBegun:
    """Make an invoice a client can pay.

    Raises Forbidden("client_blocked" | "client_closed" | "client_deleted"), Unavailable.
    """
    now = clock()
    async with db.transaction() as connection:
        try:
            await require_active(connection, client_id)
        except NotFound:
            return NotBegun("client_not_found", None, None)
        balance_minor = await store.balance(connection, client_id)
        if provider is None:
            return NotBegun("payment_provider_error", None, balance_minor)
        await store.end_shown_time(connection, client_id, now)
        payment = await store.insert_intent(
            connection,
            invoice_id=new_code(),
            client_id=client_id,
            provider=provider.name,
            method=provider.method,
            amount_minor=amount_minor,
            currency=CURRENCY,
            description=description,
            now=now,
            expires_at=now + LIFETIME,
            next_check_at=now + FIRST_CHECK,
        )
    metrics.STATES.labels(provider.name, "processing").inc()
    try:
        invoice = await _create(provider, payment)
    except ProviderError as error:
        if isinstance(error, ProviderRefused):
            await _close(db, payment, clock())
        metrics.TOP_UPS.labels(provider.name, "payment_provider_error").inc()
        return NotBegun("payment_provider_error", payment, balance_minor)
    async with db.transaction() as connection:
        stored = await store.set_invoice(connection, payment.id, invoice, clock())
    if not stored:
        log.error(
            "provider_reference_reused", provider=provider.name, invoice_id=payment.invoice_id
        )
        metrics.TOP_UPS.labels(provider.name, "payment_provider_error").inc()
        return NotBegun("payment_provider_error", payment, balance_minor)
    metrics.TOP_UPS.labels(provider.name, "ok").inc()
    return ToppingUp(payment, invoice, balance_minor)


async def _create(provider: Provider, payment: Payment) -> Invoice:
    answer = provider.create_invoice(
        order_id=payment.order_id,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        description=payment.description or f"EvPower {payment.invoice_id}",
        expires_at=payment.expires_at,
    )
    return await ask(provider.name, "create", answer)


async def _close(db: Database, payment: Payment, now: datetime) -> None:
    """It was refused there: nobody can pay it, nothing is left to ask."""
    async with db.transaction() as connection:
        await store.close_unmade(connection, payment.id, now)
