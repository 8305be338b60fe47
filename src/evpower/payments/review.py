"""Payments in review: listing them and applying an operator's decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, NotFound
from evpower.foundation.money import to_text
from evpower.identity import record_act
from evpower.payments import metrics, store, store_review
from evpower.payments.manual import check_texts, credit_by_hand
from evpower.payments.model import ManualPosting, Payment, RecordedEvent, UncreditedMoney
from evpower.payments.receipts import check_not_cash

_EVENTS_SHOWN: Final = 20
_OPEN: Final = ("processing", "canceled")


@dataclass(frozen=True, slots=True)
class Review:
    """A payment in review with its newest 20 events, oldest first."""

    payment: Payment
    events: tuple[RecordedEvent, ...]


@dataclass(frozen=True, slots=True)
class ReviewCredit:
    """One amount that an operator accepted: the provider's reference of it, and its posting."""

    reference: str | None
    amount_minor: int
    posting: ManualPosting


@dataclass(frozen=True, slots=True)
class ReviewResult:
    """The credits of a decision; `is_closed` is False while an event is still undecided."""

    credits: tuple[ReviewCredit, ...]
    is_closed: bool


async def in_review(connection: Connection, *, limit: int = 100, after_id: int = 0) -> list[Review]:
    """Returns payments in review, oldest first; the next page begins after the last id."""
    payments = await store_review.in_review(connection, limit=limit, after_id=after_id)
    events = await store_review.events_of(
        connection, [payment.id for payment in payments], limit_each=_EVENTS_SHOWN
    )
    return [
        Review(payment, tuple(event for event in events if event.payment_id == payment.id))
        for payment in payments
    ]


async def events_of_no_payment(connection: Connection, *, limit: int = 20) -> list[RecordedEvent]:
    """Returns the newest events that report money for no payment of ours."""
    return await store_review.events_of_no_payment(connection, limit=limit)


async def resolve(
    connection: Connection,
    *,
    invoice_id: str,
    decision: Literal["accept", "dismiss"],
    operator: str,
    reason: str,
    now: datetime,
    reference: str | None = None,
    amount_minor: int | None = None,
) -> ReviewResult:
    """Decides about a review, with an audit row that lists each amount.

    accept: the money of each reference in review is credited. The payment itself credits it if it
    was paid in full; otherwise a manual payment does. dismiss: nothing is credited, neither now nor
    later without an operator. With `reference` the decision covers that reference only;
    `amount_minor` selects the right amount if the provider reported several.
    Raises NotFound("payment_not_found"),
    Conflict("not_in_review" | "refund_unknown" | "nothing_to_credit" | "several_amounts" |
    "entered_already").
    """
    check_texts(operator=operator, reason=reason)
    payment = await store.lock_by_invoice(connection, invoice_id)
    if payment is None:
        raise NotFound("payment_not_found", f"there is no payment {invoice_id}")
    if payment.review == "refund_unknown":
        raise Conflict("refund_unknown", "decide about its refund at the bank first")
    if payment.review is None:
        raise Conflict("not_in_review", "this payment is not in review, or it was resolved")
    posted: list[ReviewCredit] = []
    if decision == "accept":
        uncredited = await store_review.uncredited(connection, payment.id)
        for money, amount in _select(uncredited, reference, amount_minor):
            credit = await _credit(connection, payment, money, amount, operator, reason, now)
            await store_review.accept_events(
                connection,
                payment.id,
                money.reference,
                now,
                credited_by=credit.posting.payment_id,
            )
            posted.append(credit)
    await store_review.decide_events(connection, payment.id, reference, now)
    is_closed = await store_review.close_review(
        connection, payment.id, resolved_by=_last_manual(payment, posted), now=now
    )
    await record_act(
        connection,
        actor=operator,
        action=f"payments.review_{decision}",
        subject=f"payment:{payment.invoice_id}",
        reason=reason,
        details={
            "review": payment.review,
            "reference": reference,
            "credited": [
                {
                    "reference": credit.reference,
                    "amount_minor": credit.amount_minor,
                    "payment_id": credit.posting.payment_id,
                }
                for credit in posted
            ],
        },
    )
    return ReviewResult(tuple(posted), is_closed)


def _select(
    uncredited: Sequence[UncreditedMoney], reference: str | None, amount_minor: int | None
) -> list[tuple[UncreditedMoney, int]]:
    """Returns the amount to credit for each reference. Raises Conflict if one is ambiguous."""
    selected = [
        money
        for money in uncredited
        if money.amounts_minor and (reference is None or money.reference == reference)
    ]
    if not selected:
        raise Conflict(
            "nothing_to_credit",
            "no event in review reports money in the payment's currency that is neither credited"
            " nor returned; dismiss, then enter money that the provider confirms otherwise as cash",
        )
    if amount_minor is not None:
        if len(selected) > 1:
            raise Conflict("several_amounts", f"name one reference: {_listed(selected)}")
        if amount_minor not in selected[0].amounts_minor:
            raise Conflict("several_amounts", f"no event reports that amount: {_listed(selected)}")
        return [(selected[0], amount_minor)]
    if any(len(money.amounts_minor) > 1 for money in selected):
        raise Conflict(
            "several_amounts",
            f"the events report several amounts for one reference, name one: {_listed(selected)}",
        )
    return [(money, money.amounts_minor[0]) for money in selected]


def _listed(uncredited: Sequence[UncreditedMoney]) -> str:
    return ", ".join(
        f"{money.reference or 'no reference'} {' or '.join(map(to_text, money.amounts_minor))}"
        for money in uncredited
    )


def _last_manual(payment: Payment, posted: Sequence[ReviewCredit]) -> int | None:
    """Returns the id of the last manual payment among the credits; None: there is none."""
    ids = [credit.posting.payment_id for credit in posted]
    manual = [payment_id for payment_id in ids if payment_id != payment.id]
    return manual[-1] if manual else None


def _receipt(payment: Payment, money: UncreditedMoney) -> str:
    """Returns the reference of the manual payment for this money; each acceptance has its own."""
    suffix = f":{money.accepted_count + 1}" if money.accepted_count else ""
    return f"review:{payment.invoice_id}:{money.reference or ''}{suffix}"


async def _credit(
    connection: Connection,
    payment: Payment,
    money: UncreditedMoney,
    amount_minor: int,
    operator: str,
    reason: str,
    now: datetime,
) -> ReviewCredit:
    await check_not_cash(connection, payment.invoice_id, money.reference)
    current = await store.lock_by_invoice(connection, payment.invoice_id) or payment
    in_full = (
        current.status in _OPEN
        and amount_minor == current.amount_minor
        and not money.returned_minor
        and not money.is_of_another
        and not await store_review.was_resolved(connection, payment.id)
    )
    if in_full and money.reference is not None:
        await store_review.approve(connection, payment.id, money.reference, now)
        metrics.STATES.labels(payment.provider, "approved").inc()
        posting = await store.credit(connection, payment.id)
        return ReviewCredit(money.reference, amount_minor, posting)
    posting = await credit_by_hand(
        connection,
        client_id=payment.client_id,
        amount_minor=amount_minor,
        operator=operator,
        reason=f"in place of {payment.invoice_id}: {reason}"[:500],
        reference=_receipt(payment, money),
        method=payment.method,
        action="payments.review_credit",
        now=now,
    )
    return ReviewCredit(money.reference, amount_minor, posting)
