"""Cash at a desk: a payment of provider `manual`, confirmed by an operator and credited at once."""

from datetime import datetime
from typing import Final
from unicodedata import normalize
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid
from evpower.foundation.ids import new_code
from evpower.foundation.money import CURRENCY, MAX_MINOR
from evpower.foundation.text import checked
from evpower.identity import get_client, record_act
from evpower.payments import metrics, store
from evpower.payments.model import OPENING, ManualPosting
from evpower.payments.receipts import check_not_entered, receipt_of

PROVIDER: Final = "manual"
_MAX_TEXT: Final = 200


async def cash(
    connection: Connection,
    *,
    client_id: UUID,
    amount_minor: int,
    operator: str,
    reason: str,
    receipt: str,
    now: datetime,
) -> ManualPosting:
    """Credits cash (tyiyn), with an audit row; the same receipt again changes nothing.

    The receipt of money that went through a bank is our invoice id, else the bank's reference.
    Raises Invalid("invalid_amount", "reason_missing"), NotFound("client_not_found"),
    Conflict("client_closed", "receipt_reused", "entered_already", "payment_known"). The caller
    publishes CLIENT_CHANGED after the commit.
    """
    receipt = receipt_of(receipt)
    check_texts(operator=operator, reason=reason, receipt=receipt)
    client = await get_client(connection, client_id)
    if client.status == "closed":
        raise Conflict("client_closed", "the client's account is closed")
    is_new = await store.find_by_reference(connection, PROVIDER, receipt) is None
    if is_new and not receipt.startswith(OPENING):
        await check_not_entered(connection, receipt)
    return await credit_by_hand(
        connection,
        client_id=client_id,
        amount_minor=amount_minor,
        operator=operator,
        reason=reason,
        reference=receipt,
        method="cash",
        action="payments.cash",
        now=now,
    )


async def credit_by_hand(  # noqa: PLR0913 - every fact of a manual payment
    connection: Connection,
    *,
    client_id: UUID,
    amount_minor: int,
    operator: str,
    reason: str,
    reference: str,
    method: str,
    action: str,
    now: datetime,
) -> ManualPosting:
    """Inserts a manual payment, credits it and writes the audit row; once per reference."""
    if not 0 < amount_minor <= MAX_MINOR:
        raise Invalid("invalid_amount", "the amount must be more than 0")
    payment_id = await store.insert_manual(
        connection,
        invoice_id=new_code(),
        client_id=client_id,
        reference=reference,
        method=method,
        amount_minor=amount_minor,
        currency=CURRENCY,
        description=reason,
        now=now,
    )
    if payment_id is None:
        earlier = await store.find_by_reference(connection, PROVIDER, reference)
        if earlier is None or (earlier.client_id, earlier.amount_minor) != (
            client_id,
            amount_minor,
        ):
            raise Conflict("receipt_reused", f"receipt {reference} was used for another payment")
        return await store.credit(connection, earlier.id)
    posted = await store.credit(connection, payment_id)
    await record_act(
        connection,
        actor=operator,
        action=action,
        subject=f"client:{client_id}",
        reason=reason,
        details={"payment_id": payment_id, "amount_minor": amount_minor, "receipt": reference},
    )
    metrics.STATES.labels(PROVIDER, "approved").inc()
    return posted


_NAMES: Final = frozenset({"receipt", "reference", "key"})  # compared by what people see


def check_texts(**texts: str) -> None:
    """Checks operator, reason, receipt or reference: each is required, at most 200 characters.

    Raises Invalid("<name>_missing" | "invalid_request").
    """
    for name, text in texts.items():
        if not 0 < len(text.strip()) <= _MAX_TEXT:
            raise Invalid(f"{name}_missing", f"{name} must be 1 to {_MAX_TEXT} characters")
        checked(text, name, most=_MAX_TEXT, lines=name == "reason")
        if name in _NAMES and not (text.isprintable() and text == normalize("NFC", text)):
            raise Invalid("invalid_request", f"{name} has characters that can't be seen")
