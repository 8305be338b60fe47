"""Payments a person must look at, and what that person decides."""

from datetime import datetime
from typing import Literal

from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, NotFound
from evpower.identity import record_act
from evpower.payments import metrics, store
from evpower.payments.manual import check_words, vouched
from evpower.payments.model import Payment, Posted


async def in_review(
    connection: Connection, *, limit: int = 100, after_id: int = 0
) -> list[Payment]:
    """Payments in review, oldest first; the next page begins after the last id."""
    return await store.in_review(connection, limit=limit, after_id=after_id)


async def resolve(
    connection: Connection,
    *,
    invoice_id: str,
    decision: Literal["accept", "dismiss"],
    operator: str,
    reason: str,
    now: datetime,
) -> Posted | None:
    """Close a review, with an audit row; None when nothing was credited.

    accept: what was paid is credited: in full by this very payment, another amount by a manual
    payment in its place. dismiss: nothing is credited, and nothing will be by itself.
    Raises NotFound("payment_not_found"), Conflict("not_in_review", "nothing_to_credit").
    """
    check_words(operator=operator, reason=reason)
    payment = await store.locked(connection, invoice_id)
    if payment is None:
        raise NotFound("payment_not_found", f"there is no payment {invoice_id}")
    if payment.review is None:
        raise Conflict(
            "not_in_review", "nobody asked for a look at this payment, or it was resolved"
        )
    posted: Posted | None = None
    if decision == "accept":
        posted = await _credit(connection, payment, operator, reason, now)
    else:
        await store.close_review(connection, payment.id, resolved_by=None, now=now)
    await record_act(
        connection,
        actor=operator,
        action=f"payments.review_{decision}",
        subject=f"payment:{payment.invoice_id}",
        reason=reason,
        details={
            "review": payment.review,
            "paid_minor": payment.paid_minor,
            "credited_by": posted.payment_id if posted else None,
        },
    )
    return posted


async def _credit(
    connection: Connection, payment: Payment, operator: str, reason: str, now: datetime
) -> Posted:
    if payment.status not in ("processing", "canceled") or not payment.paid_minor:
        raise Conflict(
            "nothing_to_credit", "this payment has nothing that was paid and not credited"
        )
    if await store.was_resolved(connection, payment.id):
        raise Conflict(
            "nothing_to_credit", "it was resolved before; enter the money as cash if it came again"
        )
    if payment.paid_minor == payment.amount_minor:
        await store.approve_reviewed(connection, payment.id, now)
        metrics.STATES.labels(payment.provider, "approved").inc()
        return await store.credit(connection, payment.id)
    posted = await vouched(
        connection,
        client_id=payment.client_id,
        amount_minor=payment.paid_minor,
        operator=operator,
        reason=f"in place of {payment.invoice_id}: {reason}"[:500],
        reference=f"review:{payment.invoice_id}",
        method=payment.method,
        action="payments.review_credit",
        now=now,
    )
    await store.close_review(connection, payment.id, resolved_by=posted.payment_id, now=now)
    return posted
