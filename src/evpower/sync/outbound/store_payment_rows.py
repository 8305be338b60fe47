"""SQL of top-ups and transactions in the tables of an older backend."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.payments import OPENING
from evpower.sync.store_sessions import MAY_BE_UNLINKED

_IS_OPENING: Final = f"p.provider = 'manual' and starts_with(p.provider_ref, '{OPENING}')"
_TOP_UPS: Final = f"""
select p.invoice_id, p.order_id, p.client_id, p.provider, p.status, p.currency,
       p.amount_som::text as amount_som, p.paid_som::text as paid_som, p.description,
       p.qr_code_url, p.app_link, p.created_at, p.confirmed_at, p.closed_at, p.expires_at,
       c.status = 'closed' as is_closed, {MAY_BE_UNLINKED} as is_unlinkable,
       {_IS_OPENING} as is_opening
  from payments.top_ups_public p
  join identity.clients_public c on c.id = p.client_id
 where p.invoice_id = any ($1::text[])
 order by p.invoice_id
"""
_TRANSACTIONS: Final = f"""
select t.client_id, t.version, t.kind::text as kind, t.amount_som::text as amount_som,
       t.balance_before_som::text as balance_before_som,
       t.balance_after_som::text as balance_after_som,
       w.currency, p.invoice_id, s.session_id, t.created_at, c.status = 'closed' as is_closed,
       {MAY_BE_UNLINKED} as is_unlinkable,
       t.kind = 'topup' and {_IS_OPENING} as is_opening
  from unnest($1::uuid[], $2::bigint[]) as k (client_id, version)
  join wallet.transactions_public t on t.client_id = k.client_id and t.version = k.version
  join wallet.balances w on w.client_id = t.client_id
  join identity.clients_public c on c.id = t.client_id
  left join payments.payments_public p on p.id = t.payment_id
  left join charging.settlements_public s on s.id = t.settlement_id
 order by t.client_id, t.version
"""


async def top_ups(connection: Connection, invoice_ids: Sequence[str]) -> list[Record]:
    """Returns the payments with these invoices; money as text in som."""
    return await connection.fetch(_TOP_UPS, invoice_ids)


async def transactions(connection: Connection, ids: Sequence[str]) -> list[Record]:
    """Returns transactions by their ids in the outbox, "<client>:<version>"; money in som."""
    return await connection.fetch(_TRANSACTIONS, *_split(ids))


def _split(ids: Sequence[str]) -> tuple[list[UUID], list[int]]:
    pairs = [id_.split(":") for id_ in ids]
    return [UUID(client) for client, _ in pairs], [int(version) for _, version in pairs]


async def old_tables(connection: Connection) -> list[str]:
    """Returns the tables of an older backend that Supabase had last, in the order of names."""
    rows: list[Record] = await connection.fetch("select name from sync.old_tables order by name")
    return [row["name"] for row in rows]


async def set_old_tables(connection: Connection, names: Sequence[str]) -> list[str]:
    """Stores which tables of an older backend Supabase has. Returns those that are new.

    From the commit on, what changes in EvPower makes an outbox entry for them.
    """
    added: list[str] = await connection.fetchval("select sync.set_old_tables($1)", list(names))
    return added


async def unfinished_backfill(connection: Connection) -> bool:
    """Returns whether a backfill of payments was begun and did not reach its end."""
    is_unfinished: bool = await connection.fetchval(
        """
        select exists (select from sync.backfills where topic = 'payment' and finished_at is null)
        """
    )
    return is_unfinished


async def enqueue_of_clients(connection: Connection, clients: Sequence[UUID]) -> None:
    """Enqueues all top-ups and transactions of open clients, for the tables that are there."""
    await connection.execute(
        """
        select sync.enqueue_ids('payment', array_agg(p.invoice_id))
          from payments.top_ups_public p join identity.clients_public c on c.id = p.client_id
         where p.client_id = any ($1::uuid[]) and c.status <> 'closed'
           and exists (select from sync.old_tables o where o.name = 'balance_topups')
        """,
        clients,
    )
    await connection.execute(
        """
        select sync.enqueue_ids('transaction', array_agg(t.client_id || ':' || t.version))
          from wallet.transactions_public t join identity.clients_public c on c.id = t.client_id
         where t.client_id = any ($1::uuid[]) and c.status <> 'closed'
           and exists (select from sync.old_tables o where o.name = 'payment_transactions_odengi')
        """,
        clients,
    )


async def longer_ids(connection: Connection, length: int, limit: int) -> list[str]:
    """Returns the newest payments whose invoice has an id of more than `length` characters."""
    rows: list[Record] = await connection.fetch(
        """
        select invoice_id from payments.top_ups_public where length(invoice_id) > $1
         order by created_at desc, invoice_id limit $2
        """,
        length,
        limit,
    )
    return [row["invoice_id"] for row in rows]
