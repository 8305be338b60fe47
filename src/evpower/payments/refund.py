"""Refunds by an operator: of a charge to the wallet, or of a provider's return from the wallet."""

from evpower import wallet
from evpower.foundation.db import Connection
from evpower.foundation.errors import Invalid, NotFound
from evpower.identity import record_act
from evpower.payments import metrics, store
from evpower.payments.manual import check_texts
from evpower.payments.model import ManualPosting


async def refund_charge(
    connection: Connection,
    *,
    settlement_id: int,
    amount_minor: int,
    operator: str,
    reason: str,
    reference: str,
) -> ManualPosting:
    """Refunds to the wallet at most the amount this settlement debited, with an audit row.

    The same reference again changes nothing. Raises NotFound("settlement_not_found"),
    Conflict("refund_exceeds", "refund_conflict"), Invalid("invalid_amount", "reason_missing").
    """
    _check(amount_minor, operator, reason, reference)
    refund_id = await wallet.order_settlement_refund(
        connection,
        settlement_id,
        amount_minor,
        actor=operator,
        reason=reason,
        reference=reference,
    )
    posting = await wallet.refund(connection, refund_id)
    cause = _cause(amount_minor, reference, settlement_id=settlement_id)
    return await _audited(connection, "payments.refund_charge", posting, cause, operator, reason)


async def refund_payment(
    connection: Connection,
    *,
    invoice_id: str,
    amount_minor: int,
    operator: str,
    reason: str,
    reference: str,
) -> ManualPosting:
    """Debits the money a provider returned; the part the wallet can't pay becomes a debt.

    Same errors as `refund_charge`, and NotFound("payment_not_found").
    """
    _check(amount_minor, operator, reason, reference)
    payment = await store.lock_by_invoice(connection, invoice_id)
    if payment is None:
        raise NotFound("payment_not_found", f"there is no payment {invoice_id}")
    refund_id = await wallet.order_payment_refund(
        connection, payment.id, amount_minor, actor=operator, reason=reason, reference=reference
    )
    posting = await wallet.refund(connection, refund_id)
    if posting.new:
        metrics.STATES.labels(payment.provider, "refunded").inc()
    cause = _cause(amount_minor, reference, payment_id=payment.id)
    return await _audited(connection, "payments.refund_payment", posting, cause, operator, reason)


def _check(amount_minor: int, operator: str, reason: str, reference: str) -> None:
    check_texts(operator=operator, reason=reason, reference=reference)
    if amount_minor <= 0:
        raise Invalid("invalid_amount", "the amount must be more than 0")


def _cause(amount_minor: int, reference: str, **ids: int) -> dict[str, int | str]:
    return {**ids, "amount_minor": amount_minor, "reference": reference}


async def _audited(
    connection: Connection,
    action: str,
    posting: wallet.Posting,
    cause: dict[str, int | str],
    operator: str,
    reason: str,
) -> ManualPosting:
    """Writes the audit row if this call posted the refund; returns the result."""
    if posting.new:
        await record_act(
            connection,
            actor=operator,
            action=action,
            subject=f"client:{posting.client_id}",
            reason=reason,
            details={**cause, "refund_id": posting.cause_id, "moved_minor": posting.amount_minor},
        )
    return ManualPosting(
        outcome=posting.outcome,
        payment_id=None,
        refund_id=posting.cause_id,
        client_id=posting.client_id,
        balance_minor=posting.balance_minor,
        version=posting.version,
        new=posting.new,
    )
