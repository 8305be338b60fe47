"""The SQL of rechecks: which payments are due, what came of asking, notices that ask for one."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from evpower.foundation.db import Connection, fetch_one
from evpower.foundation.rows import columns
from evpower.payments.model import Payment
from evpower.payments.store import to_payment

_COLUMNS_OF_P: Final = columns(Payment, "p")
# The payment that a notice of provider $1 is about, by its order or by the bill's reference.
_NAMED: Final = """
coalesce((select o.id from payments.payments o where o.order_id = $2 and o.provider = $1),
  (select o.id from payments.payments o where o.provider = $1 and o.provider_ref = $3))
"""


async def claim_due(
    connection: Connection, *, providers: Sequence[str], now: datetime, lease: timedelta, limit: int
) -> list[Payment]:
    """Leases open payments that are due for a recheck; others may claim them after the lease."""
    rows = await connection.fetch(
        f"""
        update payments.payments p set next_check_at = $2 from (
         select id from payments.payments where next_check_at <= $1 and provider = any ($3)
         order by next_check_at limit $4 for no key update skip locked) due
        where p.id = due.id returning {_COLUMNS_OF_P}
        """,
        now,
        now + lease,
        list(providers),
        limit,
    )
    return [to_payment(row) for row in rows]


async def record_check(  # noqa: PLR0913 - a row
    connection: Connection,
    payment_id: int,
    *,
    now: datetime,
    next_check_at: datetime | None,
    late_check_at: datetime | None,
    answered: bool,
    provider_ref: str | None,
    started: datetime,
    demand_reference_after: timedelta,
) -> None:
    """Records a recheck; a payment is scheduled again, `late_check_at` if it is closed.

    An open payment is put in review after the last recheck, or if it has no reference by then; it
    is still credited when it is paid. `answered`: the provider responded, `provider_ref`: with the
    bill's id. A notice since `started` brings the next recheck forward.
    """
    await connection.execute(
        """
        update payments.payments p set check_count = check_count + 1, updated_at = $2,
          last_checked_at = case when $4 then $2 else last_checked_at end,
          acknowledged_at = case when $4 then coalesce(acknowledged_at, $2)
          else acknowledged_at end,
          unknown_count = case when $4 then 0 else unknown_count end,
          unknown_since = case when $4 then null else unknown_since end,
          provider_ref = coalesce(p.provider_ref, x.ref),
          next_check_at = least(
           case when closed_at is null then $3::timestamptz else $5::timestamptz end,
           case when ask_at > $7 then greatest(ask_at, $2) end),
          review = case when closed_at is null and $3 is null then coalesce(review, 'never_closed')
          when closed_at is null and coalesce(p.provider_ref, x.ref) is null and created_at <= $8
          then coalesce(review, 'no_reference')
          when coalesce(p.provider_ref, x.ref) is not null then nullif(review, 'no_reference')
          else review end
        from (select coalesce(o.provider_ref, case when not exists (
           select from payments.payments other where other.provider = o.provider
            and other.provider_ref = $6) then $6 end) as ref
           from payments.payments o where o.id = $1) x
        where p.id = $1
        """,
        payment_id,
        now,
        next_check_at,
        answered,
        late_check_at,
        provider_ref,
        started,
        now - demand_reference_after,
    )


async def record_unknown(
    connection: Connection,
    payment_id: int,
    *,
    now: datetime,
    next_check_at: datetime | None,
    late_check_at: datetime | None,
    close_after: timedelta,
    close_count: int,
) -> bool:
    """Records that the provider has no such invoice; returns whether that closed the payment.

    A payment is closed only if the provider never acknowledged it, after `close_count` such
    responses in a row over `close_after`. Otherwise it is rechecked again, or put in review after
    the last recheck.
    """
    closed = await connection.fetchval(
        """
        with checked as (
         select id, status = 'processing' and closed_at is null and provider_ref is null
            and acknowledged_at is null and unknown_count + 1 >= $5 and unknown_since <= $4
            and not exists (select from payments.events e where e.payment_id = $1) as is_closed
           from payments.payments where id = $1 for no key update
        ) update payments.payments p set
          status = case when c.is_closed then 'canceled' else p.status end,
          closed_at = case when c.is_closed then $2 else p.closed_at end,
          next_check_at = case when c.is_closed then null when p.closed_at is not null
          then $6::timestamptz else $3::timestamptz end,
          review = case when c.is_closed then nullif(p.review, 'no_reference')
          when p.closed_at is not null or $3 is not null then p.review
          else coalesce(p.review, 'never_closed') end,
          unknown_count = p.unknown_count + 1, unknown_since = coalesce(p.unknown_since, $2),
          check_count = p.check_count + 1, last_checked_at = $2, updated_at = $2
        from checked c where p.id = c.id returning c.is_closed
        """,
        payment_id,
        now,
        next_check_at,
        now - close_after,
        close_count,
        late_check_at,
    )
    return closed is True


async def claim_named(
    connection: Connection,
    provider: str,
    order_id: str | None,
    provider_ref: str | None,
    *,
    now: datetime,
    lease: timedelta,
    apart: timedelta,
) -> tuple[Payment, bool] | None:
    """Leases the payment a verified notice is about, for a recheck at once; None: there is none.

    False: a notice had it asked about less than `apart` before; it is due when that time is over.
    """
    row = await connection.fetchrow(
        f"""
        with named as (
         select o.id, o.ask_at,
           coalesce($4::timestamptz < o.ask_at + $6::interval, false) as is_early
           from payments.payments o where o.id = {_NAMED} for no key update
        ), planned as (
         select id, is_early, case when not is_early then $4
           when ask_at > $4 then ask_at else ask_at + $6::interval end as ask_at from named
        ) update payments.payments p set ask_at = n.ask_at,
          next_check_at = case when n.is_early then least(p.next_check_at, n.ask_at) else $5 end
        from planned n where p.id = n.id returning {_COLUMNS_OF_P}, n.is_early
        """,
        provider,
        order_id,
        provider_ref,
        now,
        now + lease,
        apart,
    )
    if row is None:
        return None
    values = dict(row)
    is_early = values.pop("is_early")
    return Payment(**values), not is_early


async def plan_named(
    connection: Connection,
    provider: str,
    order_id: str | None,
    provider_ref: str | None,
    *,
    now: datetime,
    apart: timedelta,
    per_minute: int,
) -> str | None:
    """Makes the payment that an unverified notice is about due for a recheck; returns its invoice.

    None: there is none, a notice had it asked about less than `apart` before, or `per_minute`
    unverified notices had others asked about in the last minute.
    """
    return await connection.fetchval(
        f"""
        update payments.payments p set ask_at = $4, doubted_at = $4, next_check_at = $4
        where p.id = {_NAMED} and coalesce(p.ask_at <= $4::timestamptz - $5::interval, true)
          and (select count(*) from payments.payments o
           where o.doubted_at > $4::timestamptz - interval '1 minute') < $6
        returning invoice_id
        """,
        provider,
        order_id,
        provider_ref,
        now,
        apart,
        per_minute,
    )


async def plan_check(
    connection: Connection, payment_id: int, *, now: datetime, apart: timedelta
) -> None:
    """Makes a payment due for a recheck, unless that was asked for less than `apart` before."""
    await connection.execute(
        """
        update payments.payments set ask_at = $2, next_check_at = $2
        where id = $1 and coalesce(ask_at <= $2::timestamptz - $3::interval, true)
        """,
        payment_id,
        now,
        apart,
    )


async def count_pending(connection: Connection, now: datetime) -> tuple[int, int, float]:
    """Returns how many payments are open and in review, and the lag of the recheck in seconds."""
    row = await fetch_one(
        connection,
        """
        select (select count(*) from payments.payments
         where next_check_at is not null and closed_at is null) as open,
          (select count(*) from payments.payments where review is not null) as review,
          coalesce(extract(epoch from $1 - (select min(next_check_at) from payments.payments
         where next_check_at is not null)), 0)::float8 as lag_s
        """,
        now,
    )
    return row["open"], row["review"], max(0.0, row["lag_s"])
