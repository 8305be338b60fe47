"""Changes a balance: credits a confirmed payment, charges or corrects a session, posts a refund.

Every call may be repeated: it returns the same transaction, with `new` False.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, NotFound
from evpower.wallet import errors, store
from evpower.wallet.metrics import count
from evpower.wallet.model import Posting


async def credit(connection: Connection, payment_id: int) -> Posting:
    """Credits a confirmed payment by its own amount.

    Raises NotFound("payment_not_found"), Conflict("payment_not_confirmed").
    """
    posting = count("credit", await store.credit(connection, payment_id))
    return errors.raise_if_refused(posting, errors.CREDIT)


async def credit_many(connection: Connection, payment_ids: Sequence[int]) -> list[Posting]:
    """Credits payments; returns one posting per distinct id, refusals as outcomes, in any order."""
    postings = await store.credit_many(connection, payment_ids)
    return [count("credit", posting) for posting in postings]


async def charge(connection: Connection, session_id: UUID) -> Posting:
    """Charges a finished session its cost, resolves its hold, settles it; `cause_id` is the bill.

    The part that the balance can't pay becomes a debt. Raises NotFound("session_not_found"),
    Conflict("session_not_finished" | "session_billed_elsewhere").
    """
    posting = count("charge", await store.charge(connection, session_id))
    return errors.raise_if_refused(posting, errors.CHARGE)


async def charge_many(connection: Connection, session_ids: Sequence[UUID]) -> list[Posting]:
    """Charges sessions; returns one posting per distinct id, refusals as outcomes."""
    postings = await store.charge_many(connection, session_ids)
    return [count("charge", posting) for posting in postings]


async def correct(
    connection: Connection,
    session_id: UUID,
    *,
    cost_minor: int,
    energy_wh: int,
    ended_at: datetime,
    actor: str,
    reason: str,
) -> Posting:
    """Replaces the facts of a settled session and bills them; `cause_id` is the new bill.

    A higher cost is charged. A lower one first forgives the session's open debts, then refunds.
    Raises NotFound("session_not_found"), Conflict("session_not_settled"),
    Invalid("end_before_start").
    """
    posting = await store.correct(
        connection, session_id, cost_minor, energy_wh, ended_at, actor, reason
    )
    return errors.raise_if_refused(count("correct", posting), errors.CORRECT)


async def order_settlement_refund(
    connection: Connection,
    settlement_id: int,
    amount_minor: int,
    *,
    actor: str,
    reason: str,
    reference: str,
) -> int:
    """Orders a refund of (part of) a charge to the wallet; returns the refund's id, to be posted.

    The same `reference` again returns the same order. Raises NotFound("settlement_not_found"),
    Conflict("refund_conflict") when the reference was used for another amount.
    """
    refund_id = await store.insert_settlement_refund(
        connection, settlement_id, amount_minor, actor, reason, reference
    )
    if refund_id is not None:
        return refund_id
    earlier = await store.find_refund(connection, settlement_id, None, reference)
    return _same_order(earlier, amount_minor, "settlement_not_found")


async def order_payment_refund(
    connection: Connection,
    payment_id: int,
    amount_minor: int,
    *,
    actor: str,
    reason: str,
    reference: str,
) -> int:
    """Records that a provider returned money; returns the refund's id, to be posted.

    The same `reference` (the provider's own) again returns the same order. Raises
    NotFound("payment_not_found"), Conflict("refund_conflict").
    """
    refund_id = await store.insert_payment_refund(
        connection, payment_id, amount_minor, actor, reason, reference
    )
    if refund_id is not None:
        return refund_id
    earlier = await store.find_refund(connection, None, payment_id, reference)
    return _same_order(earlier, amount_minor, "payment_not_found")


def _same_order(earlier: tuple[int, int] | None, amount_minor: int, missing: str) -> int:
    if earlier is None:
        raise NotFound(missing)
    refund_id, ordered_minor = earlier
    if ordered_minor != amount_minor:
        raise Conflict("refund_conflict", "this reference was used for another amount")
    return refund_id


async def refund(connection: Connection, refund_id: int) -> Posting:
    """Posts a refund order.

    Raises NotFound("refund_not_found"), Conflict("refund_exceeds") when the refund is more than its
    charge took or its payment credited.
    """
    posting = count("refund", await store.refund(connection, refund_id))
    return errors.raise_if_refused(posting, errors.REFUND)


async def refund_many(connection: Connection, refund_ids: Sequence[int]) -> list[Posting]:
    """Posts refund orders; returns one posting per distinct id, refusals as outcomes."""
    postings = await store.refund_many(connection, refund_ids)
    return [count("refund", posting) for posting in postings]
