"""The SQL of receipts: which stored money a receipt of cash names, and by which other names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import read_row
from evpower.payments.model import Cash

# A provider's id is indexed by provider, so that each of the few providers is looked up.
_NAMED: Final = """
with recursive providers as (
  (select p.provider from payments.payments p order by p.provider limit 1)
  union all
  select (select p.provider from payments.payments p where p.provider > n.provider
           order by p.provider limit 1)
    from providers n where n.provider is not null
), named as (
  select p.id, true as is_bill from payments.payments p where p.invoice_id = any ($2::text[])
  union select p.id, true from payments.payments p where p.order_id = $1
  union select p.id, true from providers n
    join payments.payments p on p.provider = n.provider and p.provider_ref = $1
   where n.provider <> 'manual'
  union select p.id, true from payments.payments p
   where p.credited_ref = $1 and p.credited_ref is not null
  union select e.payment_id, false from payments.events e
   where e.provider_ref = $1 and e.review is not null
  union select d.payment_id, false from payments.differences d where d.reference = $1
)
select p.invoice_id, bool_or(n.is_bill) as is_bill,
       p.credited_minor is not null
         or exists (select from payments.events e where e.payment_id = p.id
                       and e.credited_by is not null) as is_credited,
       p.resolved_at is not null as is_resolved,
       exists (select from payments.events e where e.payment_id = p.id and e.provider_ref = $1
                  and e.credited_by is not null) as is_accepted,
       exists (select from payments.events e where e.payment_id = p.id and e.provider_ref = $1
                  and e.review is not null and e.resolved_at is null) as is_undecided,
       exists (select from payments.events e where e.payment_id = p.id and e.provider_ref = $1
                  and e.review is not null and e.resolved_at is not null) as is_decided
  from named n join payments.payments p on p.id = n.id
 where n.is_bill or p.provider <> 'manual'
 group by p.id order by p.id
"""
_PAIRS: Final = """
select d.order_id, d.reference from payments.differences d
 where (d.order_id = any ($2::text[]) or d.reference = $1)
   and d.order_id is not null and d.reference is not null
union
select e.order_id, e.provider_ref from payments.events e
 where e.payment_id is null and (e.order_id = any ($2::text[]) or e.provider_ref = $1)
   and e.order_id is not null and e.provider_ref is not null
union
select p.invoice_id, e.provider_ref from payments.payments p
  join payments.events e on e.payment_id = p.id
 where p.invoice_id = any ($3::text[]) and e.provider_ref is not null
union
select p.invoice_id, e.provider_ref from payments.events e
  join payments.payments p on p.id = e.payment_id
 where e.provider_ref = $1 and e.review is not null
"""


@dataclass(frozen=True, slots=True)
class NamedPayment:
    """A stored payment that a receipt names.

    `is_bill`: by its invoice id, its order or its own reference; else by a transaction's reference,
    about which `is_accepted`, `is_undecided` and `is_decided` say what was decided in a review.
    """

    invoice_id: str
    is_bill: bool
    is_credited: bool
    is_resolved: bool
    is_accepted: bool
    is_undecided: bool
    is_decided: bool


async def lock_receipts(connection: Connection) -> None:
    """Lets receipts be judged and entered one after the other, until the transaction ends.

    Providers' events hold the same lock together (payments.confirm_many): a wallet is locked later.
    """
    await connection.execute(
        "select pg_advisory_xact_lock(hashtextextended('payments.receipts', 0))"
    )


async def find_named(
    connection: Connection, receipt: str, invoice_ids: Sequence[str]
) -> list[NamedPayment]:
    """Returns the payments that a receipt names, with what may still be credited to them."""
    rows: list[Record] = await connection.fetch(_NAMED, receipt, invoice_ids)
    return [read_row(NamedPayment, row) for row in rows]


async def find_pairs(
    connection: Connection, receipt: str, order_ids: Sequence[str], invoice_ids: Sequence[str]
) -> list[tuple[str, str]]:
    """Returns orders or invoices with a transaction's reference, where either is this receipt's."""
    rows: list[Record] = await connection.fetch(_PAIRS, receipt, order_ids, invoice_ids)
    return [(row["order_id"], row["reference"]) for row in rows]


async def find_entered(connection: Connection, receipts: Sequence[str]) -> list[Cash]:
    """Returns the payments that were entered by hand with these receipts."""
    rows: list[Record] = await connection.fetch(
        """
        select provider_ref as receipt, id, invoice_id, credited_minor, refunded_minor, currency,
               confirmed_at
          from payments.payments where provider = 'manual' and provider_ref = any ($1::text[])
         order by id
        """,
        receipts,
    )
    return [read_row(Cash, row) for row in rows]
