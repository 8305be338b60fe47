"""Refunds by hand: to the wallet what a charge took, or from it what a provider returned."""

from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.identity import record_act
from evpower.payments import metrics, store
from evpower.payments.manual import check_words
from evpower.payments.model import Posted


async def refund_charge(
    connection: Connection,
    *,
    settlement_id: int,
    amount_minor: int,
    operator: str,
    reason: str,
    reference: str,
) -> Posted:
    """Return to the wallet at most what this settlement took, with an audit row.

    The same reference again changes nothing. Raises NotFound("settlement_not_found"),
    Conflict("refund_exceeds", "reference_reused"), Invalid("invalid_amount", "reason_missing").
    """
    client_id = await store.settlement_client(connection, settlement_id)
    if client_id is None:
        raise NotFound("settlement_not_found", f"there is no settlement {settlement_id}")
    return await _refund(
        connection,
        client_id=client_id,
        settlement_id=settlement_id,
        payment_id=None,
        amount_minor=amount_minor,
        operator=operator,
        reason=reason,
        reference=reference,
    )


async def refund_payment(
    connection: Connection,
    *,
    invoice_id: str,
    amount_minor: int,
    operator: str,
    reason: str,
    reference: str,
) -> Posted:
    """Take from the wallet what the provider returned; what is not there becomes a debt.

    Same errors as `refund_charge`, and NotFound("payment_not_found").
    """
    payment = await store.locked(connection, invoice_id)
    if payment is None:
        raise NotFound("payment_not_found", f"there is no payment {invoice_id}")
    posted = await _refund(
        connection,
        client_id=payment.client_id,
        settlement_id=None,
        payment_id=payment.id,
        amount_minor=amount_minor,
        operator=operator,
        reason=reason,
        reference=reference,
    )
    if posted.new:
        metrics.STATES.labels(payment.provider, "refunded").inc()
    return posted


async def _refund(
    connection: Connection,
    *,
    client_id: UUID,
    settlement_id: int | None,
    payment_id: int | None,
    amount_minor: int,
    operator: str,
    reason: str,
    reference: str,
) -> Posted:
    check_words(operator=operator, reason=reason, reference=reference)
    if amount_minor <= 0:
        raise Invalid("invalid_amount", "the amount must be more than nothing")
    refund_id = await store.order_refund(
        connection,
        client_id=client_id,
        settlement_id=settlement_id,
        payment_id=payment_id,
        amount_minor=amount_minor,
        actor=operator,
        reason=reason,
        reference=reference,
    )
    if refund_id is None:
        refund_id, ordered_minor = await store.refund_by_reference(
            connection, settlement_id=settlement_id, payment_id=payment_id, reference=reference
        )
        if ordered_minor != amount_minor:
            raise Conflict("reference_reused", f"reference {reference} was used for another amount")
        return await store.refund(connection, refund_id)
    posted = await store.refund(connection, refund_id)
    if posted.outcome != "posted":
        raise Conflict("refund_exceeds", "more than there is to give back")
    await record_act(
        connection,
        actor=operator,
        action="payments.refund_payment" if payment_id else "payments.refund_charge",
        subject=f"client:{client_id}",
        reason=reason,
        details={
            "refund_id": refund_id,
            "amount_minor": amount_minor,
            "payment_id": payment_id,
            "settlement_id": settlement_id,
            "reference": reference,
        },
    )
    return posted
