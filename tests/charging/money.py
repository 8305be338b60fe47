"""Tops a wallet up with a confirmed payment, as the payments slice writes it."""

from uuid import UUID, uuid4

from evpower.foundation.db import Connection


async def top_up(owner: Connection, client_id: UUID, amount_minor: int) -> None:
    payment = await owner.fetchval(
        "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
        "  amount_minor, status, paid_minor, confirmed_at, credited_ref, expires_at)"
        " values ($1, $1, $2, 'sandbox', 'qr', $3, 'approved', $3, now(), $1, now()) returning id",
        uuid4().hex,
        client_id,
        amount_minor,
    )
    await owner.execute("select wallet.credit($1)", payment)
