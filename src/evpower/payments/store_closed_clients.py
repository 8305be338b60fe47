"""The SQL about clients that are closed, or asked for deletion: their bills and their money."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import read_row


@dataclass(frozen=True, slots=True)
class ClosedBalance:
    """A closed client that has money.

    `invoice_id`: of the newest payment that was credited and not returned; None: there is none.
    """

    client_id: UUID
    balance_minor: int
    credited_at: datetime  # last
    invoice_id: str | None


async def claim_bills(
    connection: Connection,
    *,
    providers: Sequence[str],
    now: datetime,
    lease: timedelta,
    limit: int,
) -> list[str]:
    """Leases open bills of clients that are closed or asked for deletion; returns the invoices.

    One is claimed again, and rechecked, after the lease.
    """
    rows: list[Record] = await connection.fetch(
        """
        update payments.payments p set ask_at = $1, next_check_at = $1::timestamptz + $2 from (
         select o.id from payments.payments o
          join identity.clients_public c on c.id = o.client_id
          where o.next_check_at is not null and o.closed_at is null and o.status = 'processing'
           and o.provider = any ($3)
           and coalesce(o.ask_at <= $1::timestamptz - $2::interval, true)
           and (c.status = 'closed' or c.deletion_requested_at is not null)
          order by o.id limit $4 for no key update of o skip locked) due
        where p.id = due.id returning p.invoice_id
        """,
        now,
        lease,
        list(providers),
        limit,
    )
    return [row["invoice_id"] for row in rows]


async def closed_balances(connection: Connection, limit: int) -> list[ClosedBalance]:
    """Returns the closed clients that have money, those credited last first."""
    rows: list[Record] = await connection.fetch(
        """
        select c.id as client_id, b.balance_minor, t.credited_at,
         (select p.invoice_id from payments.payments p where p.client_id = c.id
           and p.credited_minor > p.refunded_minor order by p.id desc limit 1) as invoice_id
         from identity.clients_public c join wallet.balances b on b.client_id = c.id
         cross join lateral (select max(t.created_at) as credited_at
           from wallet.transactions_public t where t.client_id = c.id and t.amount_minor > 0) t
         where c.status = 'closed' and b.balance_minor > 0 and t.credited_at is not null
         order by t.credited_at desc, c.id limit $1
        """,
        limit,
    )
    return [read_row(ClosedBalance, row) for row in rows]
