"""Payments an operator must look at, and what that operator decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, NotFound
from evpower.foundation.money import to_text
from evpower.identity import record_act
from evpower.payments import metrics, store, store_review
from evpower.payments.manual import check_words, credit_by_hand
from evpower.payments.model import Payment, Posted, RecordedEvent, UncreditedMoney

_EVENTS_SHOWN: Final = 20
_OPEN: Final = ("processing", "canceled")


@dataclass(frozen=True, slots=True)
class Review:
    """A payment in review with the newest events about it, oldest first."""

    payment: Payment
    events: tuple[RecordedEvent, ...]


@dataclass(frozen=True, slots=True)
class Credited:
    """One amount that an operator accepted: the provider's reference of it, and what it posted."""

    reference: str | None
    amount_minor: int
    posted: Posted


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decision credited, and whether an event of the payment still waits for another."""

    credited: tuple[Credited, ...]
    is_closed: bool


async def in_review(connection: Connection, *, limit: int = 100, after_id: int = 0) -> list[Review]:
    """Payments in review, oldest first; the next page begins after the last id."""
    found = await store_review.in_review(connection, limit=limit, after_id=after_id)
    events = await store_review.events_of(
        connection, [payment.id for payment in found], limit_each=_EVENTS_SHOWN
    )
    return [
        Review(payment, tuple(event for event in events if event.payment_id == payment.id))
        for payment in found
    ]


async def events_of_no_payment(connection: Connection, *, limit: int = 20) -> list[RecordedEvent]:
    """The newest events about money for no payment of ours."""
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
) -> Decided:
    """Decide about a review, with an audit row that names each amount.

    accept: what was paid by each reference in review is credited: in full by this very payment,
    anything else by a manual payment in its place. dismiss: nothing is credited, and nothing will
    be without an operator. With `reference` the decision is about that one alone; `amount_minor`
    says which amount is right where the provider named several.
    Raises NotFound("payment_not_found"),
    Conflict("not_in_review" | "nothing_to_credit" | "several_amounts").
    """
    check_words(operator=operator, reason=reason)
    payment = await store.locked(connection, invoice_id)
    if payment is None:
        raise NotFound("payment_not_found", f"there is no payment {invoice_id}")
    if payment.review is None:
        raise Conflict("not_in_review", "this payment is not in review, or it was resolved")
    credited: list[Credited] = []
    if decision == "accept":
        money = await store_review.uncredited(connection, payment.id)
        for each, amount in _chosen(money, reference, amount_minor):
            done = await _credit(connection, payment, each, amount, operator, reason, now)
            await store_review.accept_events(
                connection,
                payment.id,
                each.reference,
                now,
                credited_by=done.posted.payment_id,
            )
            credited.append(done)
    await store_review.decide_events(connection, payment.id, reference, now)
    is_closed = await store_review.close_review(
        connection, payment.id, resolved_by=_last_manual(payment, credited), now=now
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
                    "reference": each.reference,
                    "amount_minor": each.amount_minor,
                    "payment_id": each.posted.payment_id,
                }
                for each in credited
            ],
        },
    )
    return Decided(tuple(credited), is_closed)


def _chosen(
    money: Sequence[UncreditedMoney], reference: str | None, amount_minor: int | None
) -> list[tuple[UncreditedMoney, int]]:
    """Return what to credit by each reference. Raises Conflict where that is not one amount."""
    left = [
        each
        for each in money
        if each.amounts_minor and (reference is None or each.reference == reference)
    ]
    if not left:
        raise Conflict(
            "nothing_to_credit",
            "no event in review names money in the payment's currency that is not credited and"
            " not returned; enter money the provider confirms otherwise as cash",
        )
    if amount_minor is not None:
        if len(left) > 1:
            raise Conflict("several_amounts", f"name one reference: {_listed(left)}")
        if amount_minor not in left[0].amounts_minor:
            raise Conflict("several_amounts", f"no event names that amount: {_listed(left)}")
        return [(left[0], amount_minor)]
    if any(len(each.amounts_minor) > 1 for each in left):
        raise Conflict(
            "several_amounts",
            f"the events name several amounts for one reference, say which: {_listed(left)}",
        )
    return [(each, each.amounts_minor[0]) for each in left]


def _listed(money: Sequence[UncreditedMoney]) -> str:
    return ", ".join(
        f"{each.reference or 'no reference'} {' or '.join(map(to_text, each.amounts_minor))}"
        for each in money
    )


def _last_manual(payment: Payment, credited: Sequence[Credited]) -> int | None:
    made = [each.posted.payment_id for each in credited if each.posted.payment_id != payment.id]
    return made[-1] if made else None


def _receipt(payment: Payment, money: UncreditedMoney) -> str:
    """The reference of a manual payment in place of this money: once for each acceptance."""
    again = f":{money.accepted_count + 1}" if money.accepted_count else ""
    return f"review:{payment.invoice_id}:{money.reference or ''}{again}"


async def _credit(
    connection: Connection,
    payment: Payment,
    money: UncreditedMoney,
    amount_minor: int,
    operator: str,
    reason: str,
    now: datetime,
) -> Credited:
    current = await store.locked(connection, payment.invoice_id) or payment
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
        return Credited(money.reference, amount_minor, await store.credit(connection, payment.id))
    posted = await credit_by_hand(
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
    return Credited(money.reference, amount_minor, posted)
