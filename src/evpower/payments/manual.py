"""Cash at a desk: a payment of provider `manual`, vouched for by an operator, credited at once."""

from datetime import datetime
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid
from evpower.foundation.ids import new_code
from evpower.foundation.money import CURRENCY, MAX_MINOR
from evpower.foundation.text import checked
from evpower.identity import get_client, record_act
from evpower.payments import metrics, store
from evpower.payments.model import Posted

PROVIDER: Final = "manual"
_MAX_WORDS: Final = 200


async def cash(
    connection: Connection,
    *,
    client_id: UUID,
    amount_minor: int,
    operator: str,
    reason: str,
    receipt: str,
    now: datetime,
) -> Posted:
    """Take cash (tyiyn), with an audit row; the same receipt again changes nothing.

    Raises Invalid("invalid_amount", "reason_missing"), NotFound("client_not_found"),
    Conflict("client_closed", "receipt_reused"). Tell the bus once the transaction is committed.
    """
    check_words(operator=operator, reason=reason, receipt=receipt)
    client = await get_client(connection, client_id)
    if client.status == "closed":
        raise Conflict("client_closed", "the client's account is closed")
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


async def credit_by_hand(  # noqa: PLR0913 - who, how much, why, by which paper
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
) -> Posted:
    """A payment a person vouches for: confirmed, credited, audited, once a reference."""
    if not 0 < amount_minor <= MAX_MINOR:
        raise Invalid("invalid_amount", "the amount must be more than nothing")
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
        made = await store.by_reference(connection, PROVIDER, reference)
        if made is None or (made.client_id, made.amount_minor) != (client_id, amount_minor):
            raise Conflict("receipt_reused", f"receipt {reference} was used for another payment")
        return await store.credit(connection, made.id)
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


def check_words(**words: str) -> None:
    """Who, why and by which paper are never left out.

    Raises Invalid("<name>_missing" | "invalid_request").
    """
    for name, word in words.items():
        if not 0 < len(word.strip()) <= _MAX_WORDS:
            raise Invalid(f"{name}_missing", f"{name} must be 1 to {_MAX_WORDS} characters")
        checked(word, name, most=_MAX_WORDS, lines=name == "reason")
