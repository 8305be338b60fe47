"""Begin a top-up: the intent, committed; the provider, outside any transaction; its answer."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import asyncpg
import structlog

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, EvPowerError, Forbidden, NotFound, Unavailable
from evpower.foundation.idempotency import KEPT_FOR
from evpower.foundation.ids import new_code
from evpower.foundation.money import CURRENCY
from evpower.identity import require_active
from evpower.payments import metrics, store
from evpower.payments.ask import ask
from evpower.payments.errors import ProviderError, ProviderRefused
from evpower.payments.model import Payment
from evpower.payments.providers.protocol import Invoice, Provider

log = structlog.get_logger()
TOP_UP_LIFETIME: Final = timedelta(
    seconds=300
)  # how long the app shows a QR; the payment itself does not end then
FIRST_CHECK: Final = timedelta(seconds=15)
# Each open payment is asked about for days: one client's must not keep the others' waiting.
MAX_OPEN: Final = 50
OPEN_WITHIN: Final = timedelta(days=1)
_RETRY_S: Final = 3600


@dataclass(frozen=True, slots=True)
class ToppingUp:
    """A top-up under way: the payment as stored, the provider's bill, and the balance before it."""

    payment: Payment
    invoice: Invoice
    balance_minor: int


@dataclass(frozen=True, slots=True)
class NotBegun:
    """Why there is no QR; `payment` when the intent stays and is asked about.

    `is_known` is false while an invoice may have been made: the same key resumes the payment.
    """

    code: Literal["client_not_found", "payment_provider_error"]
    payment: Payment | None
    balance_minor: int | None
    is_known: bool = True


@dataclass(frozen=True, slots=True)
class _Request:
    client_id: UUID
    amount_minor: int
    description: str | None
    key: str | None

    def demand_same(self, payment: Payment) -> None:
        """Raises Conflict("idempotency_conflict") when the key began another top-up."""
        if (payment.amount_minor, payment.description) != (self.amount_minor, self.description):
            raise Conflict("idempotency_conflict", "this Idempotency-Key came with another request")


async def top_up(
    db: Database,
    provider: Provider | None,
    *,
    client_id: UUID,
    amount_minor: int,
    description: str | None,
    clock: Clock,
    key: str | None = None,
) -> ToppingUp | NotBegun:
    """Make an invoice a client can pay.

    The same `key` again resumes the payment it began: a lost answer of the provider, or a crash,
    makes no second invoice. Raises Forbidden("client_blocked" | "client_closed" |
    "client_deleted"), Conflict("idempotency_conflict"), Unavailable, and 429 "too_many_unpaid".
    """
    now = clock()
    async with db.transaction() as connection:
        try:
            await require_active(connection, client_id)
        except NotFound:
            return NotBegun("client_not_found", None, None)
        balance_minor, open_count = await store.balance(connection, client_id, now - OPEN_WITHIN)
        if provider is None:
            return NotBegun("payment_provider_error", None, balance_minor)
        request = _Request(client_id, amount_minor, description, key)
        payment = await _resume(connection, request, now)
        is_new = payment is None
        if payment is None:
            _demand_few(open_count)
            await store.end_shown_time(connection, client_id, now)
            payment = await _begin(connection, request, provider, now)
    known, invoice = await _invoice(db, provider, payment, clock, is_new=is_new)
    result = "payment_provider_error" if invoice is None else "ok"
    metrics.TOP_UPS.labels(provider.name, result).inc()
    if invoice is None:
        return NotBegun("payment_provider_error", payment, balance_minor, is_known=known)
    return ToppingUp(payment, invoice, balance_minor)


def _demand_few(open_count: int) -> None:
    if open_count >= MAX_OPEN:
        raise EvPowerError(
            "too_many_unpaid",
            f"{MAX_OPEN} top-ups of the last day are not paid",
            status=429,
            retry_after_s=_RETRY_S,
        )


async def _invoice(
    db: Database, provider: Provider, payment: Payment, clock: Clock, *, is_new: bool
) -> tuple[bool, Invoice | None]:
    """Whether the outcome is known, and the stored or made bill if there is one."""
    if payment.provider != provider.name:  # the settings name another one since
        return False, None
    if (stored := _stored_invoice(payment)) is not None:
        return True, stored
    try:
        invoice = await _create(provider, payment)
    except ProviderError as error:
        # Only the first answer tells that nothing was made: an earlier one may have been lost.
        is_refused = is_new and isinstance(error, ProviderRefused)
        return is_refused and await _close(db, payment, clock()), None
    if not await _store_invoice(db, payment, invoice, clock()):
        log.error(
            "provider_reference_reused", provider=provider.name, invoice_id=payment.invoice_id
        )
        return False, None
    return True, invoice


async def _store_invoice(db: Database, payment: Payment, invoice: Invoice, now: datetime) -> bool:
    """Store the bill of a client who may still pay; False: its reference is another payment's.

    Who was blocked, closed or deleted while the provider answered is shown no QR. What is paid
    nevertheless is credited. Raises Forbidden as `top_up` does.
    """
    refusal: Forbidden | None = None
    try:
        async with db.transaction() as connection:
            is_stored = await store.set_invoice(connection, payment.id, invoice, now)
            try:
                await require_active(connection, payment.client_id)
            except Forbidden as error:
                refusal = error
                await store.end_shown_time(connection, payment.client_id, now)
    except asyncpg.UniqueViolationError:  # the same reference for another order, at this moment
        return False
    if refusal is not None:
        raise refusal
    return is_stored


async def _resume(connection: Connection, request: _Request, now: datetime) -> Payment | None:
    """The payment this key began and that still has a future; None: the key begins a new one."""
    if request.key is None:
        return None
    payment = await store.by_key(connection, request.client_id, request.key)
    if payment is None:
        return None
    if payment.status == "canceled" or payment.created_at <= now - KEPT_FOR:
        await store.free_key(connection, payment.id)
        return None
    request.demand_same(payment)
    return payment


async def _begin(
    connection: Connection, request: _Request, provider: Provider, now: datetime
) -> Payment:
    payment = await store.insert_intent(
        connection,
        invoice_id=new_code(),
        client_id=request.client_id,
        provider=provider.name,
        method=provider.method,
        amount_minor=request.amount_minor,
        currency=CURRENCY,
        description=request.description,
        now=now,
        expires_at=now + TOP_UP_LIFETIME,
        next_check_at=now + FIRST_CHECK,
        idempotency_key=request.key,
    )
    if payment is not None:
        metrics.STATES.labels(provider.name, "processing").inc()
        return payment
    assert request.key is not None  # noqa: S101 - no key, no conflict
    payment = await store.by_key(connection, request.client_id, request.key)
    if payment is None:
        raise Unavailable("service_unavailable", "the same key changed hands", retry_after_s=1)
    request.demand_same(payment)
    return payment


def _stored_invoice(payment: Payment) -> Invoice | None:
    """What the provider answered before; None while its answer is missing."""
    if not (payment.provider_ref and payment.qr_code and payment.qr_code_url and payment.app_link):
        return None
    return Invoice(payment.provider_ref, payment.qr_code, payment.qr_code_url, payment.app_link)


async def _create(provider: Provider, payment: Payment) -> Invoice:
    answer = provider.create_invoice(
        order_id=payment.order_id,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        description=payment.description or f"EvPower {payment.invoice_id}",
        expires_at=payment.expires_at,
    )
    return await ask(provider.name, "create", answer)


async def _close(db: Database, payment: Payment, now: datetime) -> bool:
    """It was refused there: nobody can pay it, nothing is left to ask; its key is free."""
    async with db.transaction() as connection:
        closed = await store.close_unmade(connection, payment.id, now)
        if closed:
            await store.free_key(connection, payment.id)
    return closed
