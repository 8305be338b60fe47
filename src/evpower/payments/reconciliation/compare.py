"""Compares what EvPower credited with a provider's transactions; uses no database, no network."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from evpower.payments.model import Cash, PaymentStatus
from evpower.payments.providers.protocol import HistoryItem
from evpower.payments.receipts import receipts_of_order
from evpower.payments.reconciliation.model import (
    DifferenceKind,
    NewDifference,
    OurMoney,
    TheirMoney,
    Totals,
)

_PAID: Final[frozenset[PaymentStatus]] = frozenset({"approved", "refunded", "partial_refund"})


def merge(
    items: Iterable[HistoryItem], references: Mapping[str, str]
) -> tuple[dict[str, TheirMoney], list[TheirMoney]]:
    """Returns a provider's transactions by reference, and those that stand there once more.

    A payment and its return may be two lines. `references` has the reference of the orders whose
    lines name none.
    """
    grouped: defaultdict[str, list[HistoryItem]] = defaultdict(list)
    for number, item in enumerate(items):
        named = item.transaction_ref or references.get(item.order_id or "")
        grouped[named or f"order:{item.order_id or number}"].append(item)
    money: dict[str, TheirMoney] = {}
    again: list[TheirMoney] = []
    for reference, lines in grouped.items():
        payments = [line for line in lines if line.status == "approved"]
        first = (payments or [line for line in lines if line.status in _PAID] or lines)[0]
        money[reference] = _theirs(reference, first, _returned_of(lines))
        again += [_theirs(reference, line, 0) for line in payments[1:]]
    return money, again


def _returned_of(lines: Sequence[HistoryItem]) -> int | None:
    """Returns what was given back; None: something was, and no line says how much."""
    amounts = [_returned(line) for line in lines]
    known = max(amount or 0 for amount in amounts)
    return None if known == 0 and None in amounts else known


def _returned(item: HistoryItem) -> int | None:
    if item.status == "refunded":
        return item.refunded_minor or item.amount_minor or None
    if item.status == "partial_refund":
        return item.refunded_minor or None
    return item.refunded_minor or 0 if item.status in _PAID else 0


def _theirs(reference: str, item: HistoryItem, returned_minor: int | None) -> TheirMoney:
    return TheirMoney(
        reference=reference,
        order_id=item.order_id,
        status=item.status,
        amount_minor=item.amount_minor if item.status in _PAID else 0,
        returned_minor=returned_minor,
        currency=item.currency,
        at=item.at,
    )


def completed(
    ours: Mapping[str, OurMoney], theirs: Mapping[str, TheirMoney]
) -> dict[str, TheirMoney]:
    """Returns theirs with our amounts where both sides know a return and theirs names no amount.

    Some providers show a part returned only as a status, and a return of all as a cancellation.
    """
    return {
        reference: _completed(ours[reference], their) if reference in ours else their
        for reference, their in theirs.items()
    }


def _completed(our: OurMoney, their: TheirMoney) -> TheirMoney:
    if our.currency != their.currency or not 0 < our.refunded_minor <= our.credited_minor:
        return their
    is_whole = our.refunded_minor == our.credited_minor
    if their.status == "canceled" and is_whole:
        return replace(
            their,
            status="refunded",
            amount_minor=our.credited_minor,
            returned_minor=our.refunded_minor,
        )
    if their.returned_minor is None and is_whole == (their.status == "refunded"):
        return replace(their, returned_minor=our.refunded_minor)
    return their


def with_cash(
    ours: Mapping[str, OurMoney], theirs: Mapping[str, TheirMoney], cash: Iterable[Cash]
) -> tuple[dict[str, OurMoney], frozenset[str]]:
    """Returns ours with what was entered by hand for these transactions, and which those are.

    The receipt is the transaction's reference, or our invoice id of its order: then it stands for
    the transaction of that order that nothing else credits, of the same amount if there is one.
    """
    credited, entered = dict(ours), {row.receipt: row for row in cash}
    named = {reference: row for reference, row in entered.items() if reference in theirs}
    orders: defaultdict[str, list[str]] = defaultdict(list)
    for reference, their in theirs.items():
        if their.order_id is not None and their.status in _PAID:
            orders[receipts_of_order(their.order_id)[0]].append(reference)
    for reference, row in named.items():
        credited[reference] = _entered(credited.get(reference), theirs[reference], row)
    by_order: set[str] = set()
    for references in orders.values():
        names = receipts_of_order(theirs[references[0]].order_id or "")
        for row in (entered[name] for name in names if name in entered and name not in named):
            free = [reference for reference in references if reference not in credited]
            fitting = [ref for ref in free if theirs[ref].amount_minor == row.credited_minor]
            reference = (fitting or free or references)[0]
            credited[reference] = _entered(credited.get(reference), theirs[reference], row)
            by_order.add(reference)
    return credited, frozenset(named) | by_order


def _entered(our: OurMoney | None, their: TheirMoney, row: Cash) -> OurMoney:
    if our is not None:
        return replace(
            our,
            credited_minor=our.credited_minor + row.credited_minor,
            refunded_minor=our.refunded_minor + row.refunded_minor,
        )
    return OurMoney(
        reference=their.reference,
        payment_id=row.id,
        invoice_id=row.invoice_id,
        order_id=their.order_id or "",
        provider_ref=None,
        bills=1,
        credited_minor=row.credited_minor,
        refunded_minor=row.refunded_minor,
        currency=row.currency,
        at=their.at or row.confirmed_at,
    )


def notes_of_cash(
    ours: Mapping[str, OurMoney], theirs: Mapping[str, TheirMoney], entered: Iterable[str]
) -> list[NewDifference]:
    """Returns which transactions were entered by hand, with their order and payment."""
    return [
        NewDifference(
            subject=reference,
            kind="entered_as_cash",
            payment_id=ours[reference].payment_id,
            reference=None if reference.startswith("order:") else reference,
            order_id=theirs[reference].order_id,
            currency=ours[reference].currency,
            theirs_currency=theirs[reference].currency,
            theirs_status=theirs[reference].status,
            ours_minor=ours[reference].credited_minor,
            theirs_minor=theirs[reference].amount_minor,
            ours_returned_minor=ours[reference].refunded_minor,
            theirs_returned_minor=theirs[reference].returned_minor,
            at=ours[reference].at,
        )
        for reference in sorted(entered)
        if reference in ours and reference in theirs
    ]


def compare(
    ours: Mapping[str, OurMoney],
    theirs: Mapping[str, TheirMoney],
    again: Sequence[TheirMoney],
    payments: Mapping[str, int],
    at: datetime,
) -> list[NewDifference]:
    """Returns what differs. `payments`: ours by order; `at` is for lines without a time."""
    differing: list[NewDifference] = []
    for reference in sorted(ours.keys() | theirs.keys()):
        difference = _pair(reference, ours.get(reference), theirs.get(reference), payments, at)
        if difference is not None:
            differing.append(difference)
    numbers: Counter[str] = Counter()
    for line in again:
        numbers[line.reference] += 1
        differing.append(_again(line, numbers[line.reference] + 1, ours, at))
    return differing


def _pair(
    reference: str,
    our: OurMoney | None,
    their: TheirMoney | None,
    payments: Mapping[str, int],
    at: datetime,
) -> NewDifference | None:
    kind = _kind(our, their)
    if kind is None:
        return None
    order_id = our.order_id if our is not None else their.order_id if their is not None else None
    currency = our.currency if our is not None else their.currency if their is not None else ""
    return NewDifference(
        subject=reference,
        kind=kind,
        payment_id=our.payment_id if our is not None else payments.get(order_id or ""),
        reference=None if reference.startswith(("order:", "payment:")) else reference,
        order_id=order_id or None,
        currency=currency,
        theirs_currency=currency if their is None else their.currency,
        theirs_status=None if their is None else their.status,
        ours_minor=0 if our is None else our.credited_minor,
        theirs_minor=0 if their is None else their.amount_minor,
        ours_returned_minor=0 if our is None else our.refunded_minor,
        theirs_returned_minor=0 if their is None else their.returned_minor,
        at=(our.at if our is not None else None) or (their.at if their is not None else None) or at,
    )


def _kind(our: OurMoney | None, their: TheirMoney | None) -> DifferenceKind | None:
    if our is None:
        has_money = their is not None and (their.amount_minor or their.returned_minor != 0)
        return "missing_at_ours" if has_money else None
    if their is None:
        return "missing_at_theirs"
    differing: dict[DifferenceKind, bool] = {
        "status_differs": their.status not in _PAID,
        "currency_differs": our.currency != their.currency,
        "amount_differs": our.credited_minor != their.amount_minor,
        "returned_differs": our.refunded_minor != their.returned_minor,
    }
    return next((kind for kind, differs in differing.items() if differs), None)


def _again(
    line: TheirMoney, number: int, ours: Mapping[str, OurMoney], at: datetime
) -> NewDifference:
    our = ours.get(line.reference)
    return NewDifference(
        subject=f"{line.reference}#{number}",
        kind="twice_at_theirs",
        payment_id=None if our is None else our.payment_id,
        reference=line.reference,
        order_id=line.order_id,
        currency=line.currency if our is None else our.currency,
        theirs_currency=line.currency,
        theirs_status=line.status,
        ours_minor=0,
        theirs_minor=line.amount_minor,
        ours_returned_minor=0,
        theirs_returned_minor=0,
        at=(our.at if our is not None else None) or line.at or at,
    )


def ours_total(ours: Iterable[OurMoney]) -> Totals:
    """Returns the sums of what EvPower credited and gave back."""
    rows = list(ours)
    return Totals(
        len(rows),
        sum(row.credited_minor for row in rows),
        sum(row.refunded_minor for row in rows),
    )


def theirs_total(theirs: Iterable[TheirMoney], again: Iterable[TheirMoney]) -> Totals:
    """Returns the sums of what the provider has, whatever its currency; unknown is in no sum."""
    rows = [row for row in (*theirs, *again) if row.amount_minor or row.returned_minor != 0]
    return Totals(
        len(rows),
        sum(row.amount_minor for row in rows),
        sum(row.returned_minor or 0 for row in rows),
    )
