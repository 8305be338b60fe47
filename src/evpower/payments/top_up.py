"""Starts a top-up: commits the payment, calls the provider, stores the invoice.

The provider is called outside any database transaction.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

import asyncpg
import structlog

from evpower.foundation import failpoints
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, EvPowerError, Forbidden, NotFound, Unavailable
from evpower.foundation.failpoints import Failpoint
from evpower.foundation.idempotency import KEPT_FOR
from evpower.foundation.ids import new_code
from evpower.foundation.money import CURRENCY
from evpower.identity import require_active
from evpower.payments import metrics, store
from evpower.payments.confirm import Confirmer
from evpower.payments.errors import ProviderError, ProviderRefused, UnknownToProvider
from evpower.payments.model import TOP_UP_LIFETIME, Payment
from evpower.payments.provider_call import call_provider
from evpower.payments.providers.protocol import Invoice, Provider
from evpower.payments.recheck import apply_events

log = structlog.get_logger()
FIRST_CHECK: Final = timedelta(seconds=15)
# Each open payment is rechecked for days: one client's payments must not delay the others'.
MAX_OPEN: Final = 50
# Of their own: whoever knows a client's id must not use up what the client may begin with a token.
MAX_OPEN_WITHOUT_TOKEN: Final = 20
OPEN_WITHIN: Final = timedelta(days=1)
_RETRY_S: Final = 3600
_UNPAID: Final = frozenset({"canceled", "ignored"})


@dataclass(frozen=True, slots=True)
class StartedTopUp:
    """A started top-up: the stored payment, the provider's invoice, and the balance before it."""

    payment: Payment
    invoice: Invoice
    balance_minor: int


@dataclass(frozen=True, slots=True)
class TopUpFailure:
    """Why there is no QR; `payment` is set if the payment stays open and is rechecked.

    `is_known` is False while an invoice may exist: the same key resumes the payment.
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
    without_token: bool

    def demand_same(self, payment: Payment) -> None:
        """Raises Conflict("idempotency_conflict") when the key began another top-up.

        Without a token one that was begun with a token is another.
        """
        is_theirs = payment.without_token or not self.without_token
        wanted = (self.amount_minor, self.description)
        if not is_theirs or (payment.amount_minor, payment.description) != wanted:
            raise Conflict("idempotency_conflict", "this Idempotency-Key came with another request")


async def top_up(  # noqa: PLR0913 - what a client asks for
    db: Database,
    provider: Provider | None,
    confirmer: Confirmer,
    *,
    client_id: UUID,
    amount_minor: int,
    description: str | None,
    clock: Clock,
    key: str | None = None,
    without_token: bool = False,
) -> StartedTopUp | TopUpFailure:
    """Makes an invoice a client can pay.

    The same `key` again resumes its payment, so that a lost response of the provider or a crash
    creates no second invoice. `without_token`: whoever knows the client's id may have asked; it
    hides no QR of the client's own. Raises Forbidden("client_blocked" | "client_closed" |
    "client_deleted"), Conflict("idempotency_conflict"), Unavailable, and 429 "too_many_unpaid".
    """
    now = clock()
    async with db.transaction() as connection:
        try:
            await require_active(connection, client_id)
        except NotFound:
            return TopUpFailure("client_not_found", None, None)
        balance_minor = await store.lock_balance(connection, client_id)
        if provider is None:
            return TopUpFailure("payment_provider_error", None, balance_minor)
        request = _Request(client_id, amount_minor, description, key, without_token)
        payment = await _resume(connection, request, now)
        is_new = payment is None
        if payment is None:
            open_count = await store.expire_shown_qr_and_count(
                connection, client_id, now, now - OPEN_WITHIN, without_token=without_token
            )
            _demand_few(open_count, MAX_OPEN_WITHOUT_TOKEN if without_token else MAX_OPEN)
            payment = await _begin(connection, request, provider, now)
    is_known, invoice = await _invoice(db, provider, confirmer, payment, clock, is_new=is_new)
    result = "payment_provider_error" if invoice is None else "ok"
    metrics.TOP_UPS.labels(provider.name, result).inc()
    if invoice is None:
        return TopUpFailure("payment_provider_error", payment, balance_minor, is_known=is_known)
    return StartedTopUp(payment, invoice, balance_minor)


def _demand_few(open_count: int, most: int) -> None:
    if open_count >= most:
        raise EvPowerError(
            "too_many_unpaid",
            f"{most} top-ups of the last day are not paid",
            status=429,
            retry_after_s=_RETRY_S,
        )


async def _invoice(
    db: Database,
    provider: Provider,
    confirmer: Confirmer,
    payment: Payment,
    clock: Clock,
    *,
    is_new: bool,
) -> tuple[bool, Invoice | None]:
    """Returns whether the outcome is known, and the stored or created invoice if there is one."""
    if payment.provider != provider.name:  # the setting was changed since
        return False, None
    if (stored := _stored_invoice(payment)) is not None:
        return True, stored
    try:
        if not is_new and await _was_paid(provider, confirmer, payment):
            return True, Invoice(payment.provider_ref or payment.order_id)  # nothing is left to pay
        bill = 1 if is_new else await _next_bill(db, payment)
        invoice = await _create(provider, payment, bill)
    except ProviderError as error:
        # A refusal closes the payment only on the first call: an earlier call, whose response was
        # lost, may have created an invoice.
        is_refused = is_new and isinstance(error, ProviderRefused)
        return is_refused and await _close(db, payment, clock()), None
    failpoints.hit(Failpoint.BILL_CREATED)
    if not await _store_invoice(db, payment, invoice, clock()):
        log.error(
            "provider_reference_reused", provider=provider.name, invoice_id=payment.invoice_id
        )
        return False, None
    return True, invoice


async def _was_paid(provider: Provider, confirmer: Confirmer, payment: Payment) -> bool:
    """Asks about the bill of a lost response before another is made; applies what was paid.

    Raises ProviderError: without an answer none is made.
    """
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
        return False
    done = await apply_events(confirmer, status.events)
    return any(confirmation.outcome not in _UNPAID for confirmation in done)


async def _next_bill(db: Database, payment: Payment) -> int:
    async with db.transaction() as connection:
        return await store.count_create(connection, payment.id)


async def _store_invoice(db: Database, payment: Payment, invoice: Invoice, now: datetime) -> bool:
    """Stores the invoice if the client may still pay; False: its reference is another payment's.

    A client who was blocked, closed or deleted during the provider call is shown no QR; a payment
    that arrives nevertheless is credited. Raises Forbidden as `top_up` does.
    """
    refusal: Forbidden | None = None
    try:
        async with db.transaction() as connection:
            is_stored = await store.set_invoice(connection, payment.id, invoice, now)
            try:
                await require_active(connection, payment.client_id)
            except Forbidden as error:
                refusal = error
                await store.expire_shown_qr(connection, payment.client_id, now)
    except asyncpg.UniqueViolationError:  # a concurrent order got the same reference
        return False
    if refusal is not None:
        raise refusal
    return is_stored


async def _resume(connection: Connection, request: _Request, now: datetime) -> Payment | None:
    """Returns the key's payment if it can be resumed; None: the key begins a new one."""
    if request.key is None:
        return None
    payment = await store.lock_by_key(connection, request.client_id, request.key)
    if payment is None:
        return None
    if payment.status == "canceled" or payment.created_at <= now - KEPT_FOR:
        await store.release_key(connection, payment.id)
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
        without_token=request.without_token,
    )
    if payment is not None:
        metrics.STATES.labels(provider.name, "processing").inc()
        return payment
    assert request.key is not None  # noqa: S101 - no key, no conflict
    payment = await store.lock_by_key(connection, request.client_id, request.key)
    if payment is None:
        raise Unavailable("service_unavailable", "the same key changed hands", retry_after_s=1)
    request.demand_same(payment)
    return payment


def _stored_invoice(payment: Payment) -> Invoice | None:
    """Returns the stored invoice; None while the provider's response is missing."""
    links = (payment.qr_code, payment.qr_code_url, payment.app_link, payment.page_url)
    if not payment.provider_ref or not any(links):
        return None
    return Invoice(payment.provider_ref, *links)


async def _create(provider: Provider, payment: Payment, bill: int) -> Invoice:
    response = provider.create_invoice(
        order_id=payment.order_id,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        description=payment.description or f"EvPower {payment.invoice_id}",
        expires_at=payment.expires_at,
        bill=bill,
    )
    return await call_provider(provider.name, "create", response)


async def _close(db: Database, payment: Payment, now: datetime) -> bool:
    """Closes a payment the provider refused, and releases its key; False: an event changed it."""
    async with db.transaction() as connection:
        closed = await store.close_refused(connection, payment.id, now)
        if closed:
            await store.release_key(connection, payment.id)
    return closed
