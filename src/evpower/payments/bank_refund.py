"""Returns money of a payment to its payer at the bank, by an operator's order.

The bank is called once for an order, and outside any database transaction. What it was not heard to
answer is found by its status, or decided by an operator: the call is never repeated.
"""

import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

import structlog

from evpower import wallet
from evpower.foundation import failpoints
from evpower.foundation.bus import Bus
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, Invalid, NotFound, Unavailable
from evpower.foundation.failpoints import Failpoint
from evpower.identity import CLIENT_CHANGED, record_act
from evpower.payments import metrics, store, store_bank_refunds
from evpower.payments.confirm import Confirmer
from evpower.payments.errors import ProviderError, ProviderRefused
from evpower.payments.manual import check_texts
from evpower.payments.model import BankRefund, Payment
from evpower.payments.provider_call import call_provider
from evpower.payments.providers.protocol import Provider
from evpower.payments.providers.registry import Providers
from evpower.payments.recheck import apply_events

log = structlog.get_logger()
# Longer than any call of a provider takes: then the process that made it has crashed.
CALL_IS_OVER: Final = timedelta(minutes=2)
_RETRY_S: Final = 60
_BATCH: Final = 20


@dataclass(frozen=True, slots=True)
class RefundDesk:
    """What refunds at a bank work with."""

    db: Database
    bus: Bus
    providers: Providers
    confirmer: Confirmer
    clock: Clock


async def refund_at_bank(
    desk: RefundDesk,
    *,
    invoice_id: str,
    amount_minor: int,
    operator: str,
    reason: str,
    key: str,
) -> BankRefund:
    """Returns money of one payment to the driver's bank, and takes it from the wallet.

    The same key again never calls the bank again: it returns the outcome, which is "unknown" while
    neither the bank's status nor an operator has said how it ended. Raises
    NotFound("payment_not_found"), Invalid, Unavailable("payment_provider_error"): nothing was
    ordered, and Conflict("refund_conflict" | "not_credited" | "refund_exceeds" |
    "balance_too_low" | "refund_pending").
    """
    check_texts(operator=operator, reason=reason, key=key)
    if amount_minor <= 0:
        raise Invalid("invalid_amount", "the amount must be more than 0")
    async with desk.db.connection() as connection:
        payment = await _find(connection, invoice_id)
        earlier = await store_bank_refunds.find(connection, key)
    provider = desk.providers.get(payment.provider)
    if provider is None or payment.credited_ref is None:
        raise Conflict("not_credited", "no provider's money was credited by this payment")
    if earlier is not None:
        if (earlier.payment_id, earlier.amount_minor) != (payment.id, amount_minor):
            raise Conflict("refund_conflict", "this key was used for another refund")
        return earlier if earlier.ended_at else await _look(desk, provider, payment, earlier)
    await _ask(desk, provider, payment)
    order = await _order(desk, invoice_id, amount_minor, operator, reason, key)
    failpoints.hit(Failpoint.RETURN_ORDERED)
    return await _call(desk, provider, payment, order)


async def decide_refund(
    desk: RefundDesk,
    *,
    key: str,
    decision: Literal["returned", "refused"],
    operator: str,
    reason: str,
) -> BankRefund:
    """Ends a refund whose outcome is unknown, as the bank's cabinet shows it, with an audit row.

    Raises NotFound("refund_not_found"), Conflict("refund_decided").
    """
    check_texts(operator=operator, reason=reason)
    async with desk.db.transaction() as connection:
        order = await store_bank_refunds.find(connection, key)
        if order is None:
            raise NotFound("refund_not_found", f"there is no refund {key}")
        if order.state != "unknown":
            raise Conflict("refund_decided", f"it is {order.state}")
        await record_act(
            connection,
            actor=operator,
            action=f"payments.refund_{decision}",
            subject=f"payment:{order.invoice_id}",
            reason=reason,
            details={"key": key, "amount_minor": order.amount_minor},
        )
        if decision == "refused":
            await store_bank_refunds.end(connection, order.id, "refused", desk.clock())
    if decision == "returned":
        return await _book(desk, order)
    return await _read(desk, order)


async def settle_open(desk: RefundDesk) -> int:
    """Looks after refunds whose process crashed or heard no answer; returns how many are open."""
    requested_before, count, after = desk.clock() - CALL_IS_OVER, 0, 0
    while True:  # all: those that wait for an operator must not keep a later one from it
        async with desk.db.connection() as connection:
            orders = await store_bank_refunds.list_open(
                connection, requested_before, _BATCH, after_id=after
            )
            payments = [await _find(connection, order.invoice_id) for order in orders]
        for order, payment in zip(orders, payments, strict=True):
            await _look(desk, desk.providers.get(payment.provider), payment, order)
        count += len(orders)
        if len(orders) < _BATCH:
            return count
        after = orders[-1].id


async def _order(
    desk: RefundDesk, invoice_id: str, amount_minor: int, operator: str, reason: str, key: str
) -> BankRefund:
    async with desk.db.transaction() as connection:
        payment = await store.lock_by_invoice(connection, invoice_id)
        purse = None if payment is None else await wallet.get_wallet(connection, payment.client_id)
        if payment is None or purse is None:
            raise NotFound("payment_not_found", f"there is no payment {invoice_id}")
        if amount_minor > payment.amount_minor - payment.refunded_minor:
            raise Conflict("refund_exceeds", "more than what is left of the payment")
        if amount_minor > purse.balance_minor - purse.held_minor:
            raise Conflict("balance_too_low", "the driver has spent it, or it is on hold")
        order = await store_bank_refunds.insert(
            connection,
            payment_id=payment.id,
            key=key,
            amount_minor=amount_minor,
            refunded_before_minor=payment.refunded_minor,
            actor=operator,
            reason=reason,
            now=desk.clock(),
        )
        if order is None:
            raise Conflict("refund_pending", "another refund of it has no outcome yet")
        await record_act(
            connection,
            actor=operator,
            action="payments.refund_at_bank",
            subject=f"payment:{payment.invoice_id}",
            reason=reason,
            details={"key": key, "amount_minor": amount_minor},
        )
    return order


async def _call(
    desk: RefundDesk, provider: Provider, payment: Payment, order: BankRefund
) -> BankRefund:
    assert payment.credited_ref is not None  # noqa: S101 - checked before the order
    try:
        await call_provider(
            provider.name,
            "refund",
            provider.refund(
                transaction_ref=payment.credited_ref,
                amount_minor=order.amount_minor,
                paid_minor=payment.paid_minor or payment.amount_minor,
                key=order.key,
            ),
        )
    except ProviderRefused:
        async with desk.db.transaction() as connection:
            await store_bank_refunds.end(connection, order.id, "refused", desk.clock())
    except ProviderError:
        async with desk.db.transaction() as connection:
            await store_bank_refunds.doubt(connection, order.id, desk.clock())
    else:
        failpoints.hit(Failpoint.RETURN_CALLED)
        return await _book(desk, order)
    return await _read(desk, order)


async def _look(
    desk: RefundDesk, provider: Provider | None, payment: Payment, order: BankRefund
) -> BankRefund:
    """Asks the bank what it returned; an order whose call is over and not seen there is unknown.

    So is one about which the bank says nothing: an operator may decide.
    """
    if provider is not None:
        with contextlib.suppress(Unavailable):
            await _ask(desk, provider, payment)
    now = desk.clock()
    async with desk.db.transaction() as connection:
        current = await store.lock_by_invoice(connection, payment.invoice_id) or payment
        if current.refunded_minor >= order.refunded_before_minor + order.amount_minor:
            await store_bank_refunds.end(connection, order.id, "returned", now)
        elif order.requested_at < now - CALL_IS_OVER:
            await store_bank_refunds.doubt(connection, order.id, now)
    return await _read(desk, order)


async def _book(desk: RefundDesk, order: BankRefund) -> BankRefund:
    """Takes from the wallet what the bank returned, unless its event did; what lacks is a debt."""
    async with desk.db.transaction() as connection:
        payment = await store.lock_by_invoice(connection, order.invoice_id)
        assert payment is not None  # noqa: S101 - the order's foreign key
        booked = payment.refunded_minor - order.refunded_before_minor
        left_minor = min(order.amount_minor - booked, payment.amount_minor - payment.refunded_minor)
        if await store_bank_refunds.end(connection, order.id, "returned", desk.clock()):
            if left_minor > 0:
                refund_id = await wallet.order_payment_refund(
                    connection,
                    payment.id,
                    left_minor,
                    actor=order.actor,
                    reason=order.reason,
                    reference=f"bank-refund:{order.id}",
                )
                await wallet.refund(connection, refund_id)
                metrics.STATES.labels(payment.provider, "refunded").inc()
            failpoints.hit(Failpoint.RETURN_UNCOMMITTED)
    desk.bus.publish(CLIENT_CHANGED, payment.client_id)
    return await _read(desk, order)


async def _ask(desk: RefundDesk, provider: Provider, payment: Payment) -> None:
    """Applies what the bank says of the payment's bill. Raises Unavailable without an answer."""
    async with desk.db.connection() as connection:
        order_ids = await store_bank_refunds.find_bills(connection, [payment.id])
    try:
        status = await call_provider(
            provider.name,
            "status",
            provider.fetch_status(
                order_id=order_ids[payment.id],
                provider_ref=None if payment.attempt_of else payment.provider_ref,
                bills=payment.create_count or 1,
            ),
        )
    except ProviderError as error:
        raise Unavailable(
            "payment_provider_error", "the provider did not answer", retry_after_s=_RETRY_S
        ) from error
    await apply_events(desk.confirmer, status.events)


async def _read(desk: RefundDesk, order: BankRefund) -> BankRefund:
    async with desk.db.connection() as connection:
        current = await store_bank_refunds.find(connection, order.key)
    return current or order


async def _find(connection: Connection, invoice_id: str) -> Payment:
    payment = await store.find_by_invoice(connection, invoice_id)
    if payment is None:
        raise NotFound("payment_not_found", f"there is no payment {invoice_id}")
    return payment
