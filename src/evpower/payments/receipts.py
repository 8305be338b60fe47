"""The receipt of money entered by hand: one payment at a bank is entered once, by one name.

A bank's payment has two names: our invoice id (the order without its prefix) and the provider's
reference of the transaction. Both may be unknown here, as after a restore from a backup.
"""

from collections.abc import Sequence
from typing import Final

from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict
from evpower.payments import store_receipts
from evpower.payments.store_receipts import NamedPayment

_PREFIXES: Final = ("qr_topup_", "card_topup_")
_MOST_ATTEMPTS: Final = 9  # further payments of one bill, <invoice>/2 and on, that are looked for


def receipt_of(text: str) -> str:
    """Returns the receipt as it is stored: without blanks around; of an order its invoice id."""
    receipt = text.strip()
    for prefix in _PREFIXES:
        if receipt.startswith(prefix) and len(receipt) > len(prefix):
            return receipt.removeprefix(prefix)
    return receipt


def receipts_of_order(order_id: str) -> tuple[str, ...]:
    """Returns the receipts that name an order: its invoice id, and its further payments."""
    invoice_id = receipt_of(order_id).partition("/")[0]
    further = (f"{invoice_id}/{number}" for number in range(2, _MOST_ATTEMPTS + 1))
    return (invoice_id, *further)


async def check_not_entered(connection: Connection, receipt: str) -> None:
    """Checks that the money of a new receipt is neither credited nor will be without an operator.

    Raises Conflict("entered_already" | "payment_known"). Other receipts wait until the transaction
    ends.
    """
    await store_receipts.lock_receipts(connection)
    invoice_id = receipt.partition("/")[0]
    orders = [receipt, *(f"{prefix}{invoice_id}" for prefix in _PREFIXES)]
    invoices = [receipt, invoice_id]
    pairs = await store_receipts.find_pairs(connection, receipt, orders, invoices)
    names = [
        name
        for order_id, reference in pairs
        for name in (receipts_of_order(order_id) if reference == receipt else (reference,))
        if name != receipt
    ]
    for entered in await store_receipts.find_entered(connection, names):
        raise Conflict(
            "entered_already",
            f"receipt {receipt} names the money that was entered with receipt"
            f" {entered.receipt} (payment {entered.invoice_id})",
        )
    for payment in await store_receipts.find_named(connection, receipt, invoices):
        if why := _why_known(payment):
            raise Conflict("payment_known", f"receipt {receipt} names payment {why}")


async def check_not_cash(connection: Connection, invoice_id: str, reference: str | None) -> None:
    """Checks that no cash was entered for money that a review is to credit.

    Raises Conflict("entered_already").
    """
    await store_receipts.lock_receipts(connection)
    names = [*receipts_of_order(invoice_id), *([reference] if reference else [])]
    for entered in await store_receipts.find_entered(connection, names):
        raise Conflict(
            "entered_already",
            f"it was entered by hand with receipt {entered.receipt} (payment"
            f" {entered.invoice_id}): dismiss it",
        )


def _why_known(payment: NamedPayment) -> str | None:
    """Returns the payment and why its money is not entered by hand; None: it may be."""
    name = payment.invoice_id
    if payment.is_bill:
        if payment.is_credited:
            return f"{name}, which is credited already"
        if not payment.is_resolved:
            return f"{name}, which is credited when its provider confirms it: ask, or decide it"
        return None
    if payment.is_accepted:
        return f"{name}, to which this reference was credited in a review"
    if payment.is_undecided or not payment.is_decided:
        return f"{name}, which waits for a decision: evpower payments review, or differences"
    return None


def entered_names(orders: Sequence[str | None], references: Sequence[str]) -> list[str]:
    """Returns the receipts by which these orders or transactions may have been entered."""
    named = [name for order in orders if order is not None for name in receipts_of_order(order)]
    return [*dict.fromkeys([*references, *named])]
