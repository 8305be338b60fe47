"""The SQL of refunds at the bank, and of cancellations."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from evpower.foundation.db import Connection
from evpower.foundation.rows import columns, read_row
from evpower.payments.model import BankRefund

_OF_PAYMENT: Final = ("invoice_id", "client_id")
_COLUMNS: Final = ", ".join(
    f"(select p.{name} from payments.payments p where p.id = payment_id) as {name}"
    if name in _OF_PAYMENT
    else name
    for name in columns(BankRefund).split(", ")
)


async def insert(
    connection: Connection,
    *,
    payment_id: int,
    key: str,
    amount_minor: int,
    refunded_before_minor: int,
    actor: str,
    reason: str,
    now: datetime,
) -> BankRefund | None:
    """Inserts an order before the bank is called; None: the payment has an open one, or the key."""
    row = await connection.fetchrow(
        f"""
        insert into payments.bank_refunds (payment_id, key, amount_minor, refunded_before_minor,
         actor, reason, requested_at) values ($1, $2, $3, $4, $5, $6, $7)
        on conflict do nothing returning {_COLUMNS}
        """,
        payment_id,
        key,
        amount_minor,
        refunded_before_minor,
        actor,
        reason,
        now,
    )
    return read_row(BankRefund, row) if row else None


async def find(connection: Connection, key: str) -> BankRefund | None:
    """Returns the order of a key."""
    row = await connection.fetchrow(
        f"select {_COLUMNS} from payments.bank_refunds where key = $1", key
    )
    return read_row(BankRefund, row) if row else None


async def list_open(
    connection: Connection, requested_before: datetime, limit: int, *, after_id: int = 0
) -> list[BankRefund]:
    """Returns orders without an outcome that were given before then, by id, after one of them."""
    rows = await connection.fetch(
        f"""
        select {_COLUMNS} from payments.bank_refunds
        where ended_at is null and requested_at < $1 and id > $3 order by id limit $2
        """,
        requested_before,
        limit,
        after_id,
    )
    return [read_row(BankRefund, row) for row in rows]


async def list_newest(
    connection: Connection, state: str, before_id: int | None, limit: int
) -> list[BankRefund]:
    """Returns orders before `before_id`, newest first; state "open", "ended" or "all"."""
    rows = await connection.fetch(
        f"""
        select {_COLUMNS} from payments.bank_refunds
        where ($1 = 'all' or (ended_at is null) = ($1 = 'open'))
          and ($2::bigint is null or id < $2) order by id desc limit $3
        """,
        state,
        before_id,
        limit,
    )
    return [read_row(BankRefund, row) for row in rows]


async def end(connection: Connection, refund_id: int, state: str, now: datetime) -> bool:
    """Stores an outcome, and ends the payment's review of it; False: it has one already."""
    ended = await connection.fetchval(
        """
        with ended as (
         update payments.bank_refunds set state = $2, ended_at = $3
         where id = $1 and ended_at is null returning payment_id
        ), reviewed as (
         update payments.payments p set review = null, updated_at = $3
         from ended e where p.id = e.payment_id and p.review = 'refund_unknown'
        ) select count(*) > 0 from ended
        """,
        refund_id,
        state,
        now,
    )
    return ended is True


async def doubt(connection: Connection, refund_id: int, now: datetime) -> bool:
    """Records that an outcome is unknown, and puts the payment in review; False: it is known."""
    doubted = await connection.fetchval(
        """
        with doubted as (
         update payments.bank_refunds set state = 'unknown'
         where id = $1 and state = 'requested' returning payment_id
        ), reviewed as (
         update payments.payments p set review = coalesce(review, 'refund_unknown'), updated_at = $2
         from doubted d where p.id = d.payment_id
        ) select count(*) > 0 from doubted
        """,
        refund_id,
        now,
    )
    return doubted is True


async def cancel(
    connection: Connection, payment_id: int, now: datetime, late_check_at: datetime | None
) -> bool:
    """Marks a payment whose bill was made unpayable; False: an event changed it already."""
    canceled = await connection.fetchval(
        """
        update payments.payments set status = 'canceled', closed_at = $2,
          expires_at = least(expires_at, $2), next_check_at = $3,
          review = nullif(review, 'no_reference'), updated_at = $2
        where id = $1 and status = 'processing' and closed_at is null returning true
        """,
        payment_id,
        now,
        late_check_at,
    )
    return canceled is True


async def find_bills(connection: Connection, payment_ids: Sequence[int]) -> dict[int, str]:
    """Returns the order id by which the bank knows each payment's bill."""
    rows = await connection.fetch(
        """
        select p.id, coalesce(b.order_id, p.order_id) as order_id from payments.payments p
        left join payments.payments b on b.id = p.attempt_of where p.id = any ($1::bigint[])
        """,
        list(payment_ids),
    )
    return {row["id"]: row["order_id"] for row in rows}
