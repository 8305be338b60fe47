"""The SQL of payments, except that of reviews (store_review.py)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, Record, fetch_one
from evpower.foundation.rows import columns, read_row
from evpower.payments.model import OPENING, Confirmation, Event, ManualPosting, Payment
from evpower.payments.providers.protocol import Invoice

COLUMNS: Final = columns(Payment)
_CONFIRM_MANY: Final = f"""
select {columns(Confirmation)}
  from payments.confirm_many($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""

_EXPIRE_SHOWN_QR: Final = """
update payments.payments set expires_at = $2, updated_at = $2
where client_id = $1 and status = 'processing' and method = 'qr' and expires_at > $2
"""


def to_payment(row: Record) -> Payment:
    """Returns the payment of a row of COLUMNS."""
    return read_row(Payment, row)


async def confirm_many(connection: Connection, events: Sequence[Event]) -> list[Confirmation]:
    """Applies events; returns one confirmation per event, in their order."""
    rows = await connection.fetch(
        _CONFIRM_MANY,
        [event.provider for event in events],
        [event.event_id for event in events],
        [event.body_sha256 for event in events],
        [event.order_id for event in events],
        [event.provider_ref for event in events],
        [event.status for event in events],
        [event.paid_minor for event in events],
        [event.currency for event in events],
        [event.refunded_minor for event in events],
        [event.occurred_at for event in events],
        [event.doubt for event in events],
    )
    return [read_row(Confirmation, row) for row in rows]


async def lock_balance(connection: Connection, client_id: UUID) -> int:
    """Returns the balance (tyiyn). Other top-ups of the client wait until the transaction ends.

    What they began is seen by the next statement, not by this one.
    """
    row = await fetch_one(
        connection,
        """
        select balance_minor,
         pg_advisory_xact_lock(hashtextextended('payments.top_up ' || client_id, 0))::text as locked
        from wallet.balances where client_id = $1
        """,
        client_id,
    )
    return row["balance_minor"]


async def expire_shown_qr(connection: Connection, client_id: UUID, now: datetime) -> None:
    """Stops showing the client's earlier QR codes; each stays payable and is still rechecked."""
    await connection.execute(_EXPIRE_SHOWN_QR, client_id, now)


async def expire_shown_qr_and_count(
    connection: Connection, client_id: UUID, now: datetime, since: datetime, *, without_token: bool
) -> int:
    """Does the same, without a token only to QR codes that were begun so, too.

    Returns how many payments begun as this one since then are open, of the client's newest 200.
    """
    return await connection.fetchval(
        f"""
        with expired as ({_EXPIRE_SHOWN_QR} and (without_token or not $4)) select count(*) from (
          select closed_at, created_at, without_token from payments.payments where client_id = $1
           order by id desc limit 200) newest
        where closed_at is null and created_at > $3 and without_token = $4
        """,
        client_id,
        now,
        since,
        without_token,
    )


async def insert_intent(  # noqa: PLR0913 - a row
    connection: Connection,
    *,
    invoice_id: str,
    client_id: UUID,
    provider: str,
    method: str,
    amount_minor: int,
    currency: str,
    description: str | None,
    now: datetime,
    expires_at: datetime,
    next_check_at: datetime,
    idempotency_key: str | None,
    without_token: bool,
) -> Payment | None:
    """Inserts a payment before the provider is called; None: the key has a payment already."""
    row = await connection.fetchrow(
        f"""
        insert into payments.payments (invoice_id, order_id, client_id, provider, method,
         amount_minor, currency, description, created_at, updated_at, expires_at, next_check_at,
         idempotency_key, without_token)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11, $12, $13)
        on conflict (client_id, idempotency_key) where idempotency_key is not null do nothing
        returning {COLUMNS}
        """,
        invoice_id,
        f"{method}_topup_{invoice_id}",
        client_id,
        provider,
        method,
        amount_minor,
        currency,
        description,
        now,
        expires_at,
        next_check_at,
        idempotency_key,
        without_token,
    )
    return to_payment(row) if row else None


async def lock_by_key(connection: Connection, client_id: UUID, key: str) -> Payment | None:
    """Returns the payment of a client's Idempotency-Key, locked until the transaction ends."""
    row = await connection.fetchrow(
        f"""
        select {COLUMNS} from payments.payments
        where client_id = $1 and idempotency_key = $2 for no key update
        """,
        client_id,
        key,
    )
    return to_payment(row) if row else None


async def release_key(connection: Connection, payment_id: int) -> None:
    """Removes a payment's Idempotency-Key, so that the key may begin another payment."""
    await connection.execute(
        "update payments.payments set idempotency_key = null where id = $1", payment_id
    )


async def count_create(connection: Connection, payment_id: int) -> int:
    """Records one more call that creates the bill, before it is made; returns its number."""
    return await connection.fetchval(
        """
        update payments.payments set create_count = create_count + 1 where id = $1
        returning create_count
        """,
        payment_id,
    )


async def set_invoice(
    connection: Connection, payment_id: int, invoice: Invoice, now: datetime
) -> bool:
    """Stores the provider's invoice; a further bill leaves the first one's reference.

    False: its reference belongs to another payment.
    """
    row = await connection.fetchrow(
        """
        update payments.payments p set provider_ref = coalesce(provider_ref, $2), qr_code = $3,
          qr_code_url = $4,
          app_link = $5, page_url = $7, updated_at = $6,
          review = nullif(review, 'no_reference') where id = $1
          and not exists (
         select from payments.payments o where o.provider = p.provider and o.id <> p.id
          and o.provider_ref = $2)
          and not exists (
         select from payments.payments o where o.provider = p.provider and o.id <> p.id
          and o.credited_ref = $2 and o.credited_ref is not null) returning id
        """,
        payment_id,
        invoice.provider_ref,
        invoice.qr_code,
        invoice.qr_code_url,
        invoice.app_link,
        now,
        invoice.page_url,
    )
    return row is not None


async def close_refused(connection: Connection, payment_id: int, now: datetime) -> bool:
    """Closes a payment whose invoice the provider refused; False: an event changed it already."""
    closed = await connection.fetchval(
        """
        update payments.payments set status = 'canceled', closed_at = $2, next_check_at = null,
          last_checked_at = $2, updated_at = $2
        where id = $1 and status = 'processing' and closed_at is null returning true
        """,
        payment_id,
        now,
    )
    return closed is True


async def find_by_invoice(connection: Connection, invoice_id: str) -> Payment | None:
    """Returns a payment by its invoice id, or by its order id, which apps may send instead."""
    row = await connection.fetchrow(
        f"""
        select {COLUMNS} from payments.payments where invoice_id = $1
        union all select {COLUMNS} from payments.payments where order_id = $1 limit 1
        """,
        invoice_id,
    )
    return to_payment(row) if row else None


async def lock_by_invoice(connection: Connection, invoice_id: str) -> Payment | None:
    """Returns a payment by its invoice id, locked until the transaction ends."""
    row = await connection.fetchrow(
        f"select {COLUMNS} from payments.payments where invoice_id = $1 for no key update",
        invoice_id,
    )
    return to_payment(row) if row else None


async def insert_manual(  # noqa: PLR0913 - a row
    connection: Connection,
    *,
    invoice_id: str,
    client_id: UUID,
    reference: str,
    method: str,
    amount_minor: int,
    currency: str,
    description: str,
    now: datetime,
) -> int | None:
    """Inserts a manual payment, confirmed at once; None: the reference was used before."""
    return await connection.fetchval(
        """
        insert into payments.payments (invoice_id, order_id, client_id, provider, provider_ref,
         method, amount_minor, currency, status, paid_minor, confirmed_at, description,
         expires_at, closed_at)
        values ($1, 'manual_' || $1::text, $2, 'manual', $3, $4, $5, $6, 'approved', $5, $8, $7,
         $8, $8)
        on conflict (provider, provider_ref) do nothing returning id
        """,
        invoice_id,
        client_id,
        reference,
        method,
        amount_minor,
        currency,
        description,
        now,
    )


async def find_by_reference(
    connection: Connection, provider: str, reference: str
) -> Payment | None:
    """Returns a payment by the provider's own id for it."""
    row = await connection.fetchrow(
        f"select {COLUMNS} from payments.payments where provider = $1 and provider_ref = $2",
        provider,
        reference,
    )
    return to_payment(row) if row else None


async def opened_at(connection: Connection, client_ids: Sequence[UUID]) -> Mapping[UUID, datetime]:
    """Returns when clients' balances from before EvPower were imported; others are left out."""
    rows: list[Record] = await connection.fetch(
        """
        select client_id, created_at from payments.payments
         where provider = 'manual' and provider_ref = any ($1::text[])
        """,
        [f"{OPENING}{client_id}" for client_id in client_ids],
    )
    return {row["client_id"]: row["created_at"] for row in rows}


async def credit(connection: Connection, payment_id: int) -> ManualPosting:
    """Credits a confirmed payment."""
    row = await fetch_one(connection, "select * from wallet.credit($1)", payment_id)
    return _posting(row, payment_id=payment_id)


def _posting(row: Record, payment_id: int) -> ManualPosting:
    return ManualPosting(
        outcome=row["outcome"],
        payment_id=payment_id,
        refund_id=None,
        client_id=row["client_id"],
        balance_minor=row["balance_minor"],
        version=row["version"],
        new=row["outcome"] == "posted",
    )


async def purge_unknown_events(
    connection: Connection, received_before: datetime, at_most: int
) -> int:
    """Deletes events without a payment that were received before then; returns how many."""
    return await connection.fetchval(
        "select payments.purge_unknown_events($1, $2)", received_before, at_most
    )
