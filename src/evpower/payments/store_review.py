"""The SQL of reviews: the events of a payment, and the money in them that is not credited yet."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from evpower.foundation.db import Connection
from evpower.foundation.rows import columns, read_row
from evpower.payments.model import Payment, RecordedEvent, UncreditedMoney
from evpower.payments.store import COLUMNS, to_payment

_EVENT: Final = columns(RecordedEvent)


async def in_review(connection: Connection, *, limit: int, after_id: int) -> list[Payment]:
    """Returns payments in review after this id, oldest first."""
    rows = await connection.fetch(
        f"""
        select {COLUMNS} from payments.payments where review is not null and id > $1
        order by id limit $2
        """,
        after_id,
        limit,
    )
    return [to_payment(row) for row in rows]


async def events_of(
    connection: Connection, payment_ids: Sequence[int], *, limit_each: int
) -> list[RecordedEvent]:
    """Returns the newest events of each payment, in the order they were received."""
    rows = await connection.fetch(
        f"""
        select {_EVENT} from unnest($1::bigint[]) k (id) cross join lateral (
         select * from payments.events e where e.payment_id = k.id
         order by e.received_at desc, e.event_id limit $2) e
        order by payment_id, received_at, event_id
        """,
        list(payment_ids),
        limit_each,
    )
    return [read_row(RecordedEvent, row) for row in rows]


async def events_of_no_payment(connection: Connection, *, limit: int) -> list[RecordedEvent]:
    """Returns the newest events that report money for no payment of ours."""
    rows = await connection.fetch(
        f"""
        select {_EVENT} from payments.events where payment_id is null
          and (paid_minor > 0 or refunded_minor > 0 or status in ('approved', 'refunded',
         'partial_refund') or review is not null) order by received_at desc limit $1
        """,
        limit,
    )
    return [read_row(RecordedEvent, row) for row in rows]


async def uncredited(connection: Connection, payment_id: int) -> list[UncreditedMoney]:
    """Returns the money that undecided events report, by reference, in the payment's currency.

    The reference that credited the payment is left out, except what it paid over the bill. So is
    money without a reference once the payment is credited, because it may be the same money.
    """
    rows = await connection.fetch(
        """
        select e.provider_ref, array_agg(distinct x.over_minor order by x.over_minor) as paid,
         coalesce(max(case when e.status = 'refunded' then coalesce(e.refunded_minor,
           e.paid_minor) else e.refunded_minor end), 0) as returned,
         bool_or(e.review = 'reference_of_another' or exists (select from payments.payments o
           where o.provider = p.provider and o.provider_ref = e.provider_ref and o.id <> p.id)
          or exists (select from payments.payments o
           where o.provider = p.provider and o.credited_ref = e.provider_ref and o.id <> p.id))
           as is_of_another,
         max(a.minor)::bigint as accepted, max(a.count) as accepted_count
         from payments.payments p join payments.events e on e.payment_id = p.id
        cross join lateral (select e.paid_minor - case when e.outcome = 'confirmed'
          then p.amount_minor else 0 end as over_minor) x
        cross join lateral (select coalesce(sum(m.amount_minor), 0) as minor, count(*) as count
          from payments.payments m where m.id in (select s.credited_by from payments.events s
           where s.payment_id = p.id and s.provider_ref is not distinct from e.provider_ref)) a
        where p.id = $1 and (e.outcome = 'review' or e.review = 'overpaid')
         and e.resolved_at is null and x.over_minor > 0 and e.currency = p.currency
         and (p.credited_minor is null or e.provider_ref <> p.credited_ref
          or e.review = 'overpaid')
        group by e.provider_ref order by min(e.received_at), e.provider_ref
        """,
        payment_id,
    )
    return [
        UncreditedMoney(
            reference=row["provider_ref"],
            paid_minor=tuple(row["paid"]),
            returned_minor=row["returned"],
            is_of_another=row["is_of_another"],
            accepted_minor=row["accepted"],
            accepted_count=row["accepted_count"],
        )
        for row in rows
    ]


async def was_resolved(connection: Connection, payment_id: int) -> bool:
    """Returns whether an operator decided about the payment earlier."""
    return await connection.fetchval(
        "select resolved_at is not null from payments.payments where id = $1", payment_id
    )


async def approve(connection: Connection, payment_id: int, reference: str, now: datetime) -> None:
    """Approve a payment that was paid in full by this reference."""
    await connection.execute(
        """
        update payments.payments set status = 'approved', confirmed_at = $3, credited_ref = $2,
          paid_minor = amount_minor, updated_at = $3 where id = $1
        """,
        payment_id,
        reference,
        now,
    )


async def accept_events(
    connection: Connection,
    payment_id: int,
    reference: str | None,
    now: datetime,
    *,
    credited_by: int | None,
) -> None:
    """Marks the undecided events of one reference as credited by a payment."""
    await connection.execute(
        """
        update payments.events set resolved_at = $3, credited_by = $4 where payment_id = $1
          and review is not null and resolved_at is null
          and provider_ref is not distinct from $2::text
        """,
        payment_id,
        reference,
        now,
        credited_by,
    )


async def decide_events(
    connection: Connection, payment_id: int, reference: str | None, now: datetime
) -> None:
    """Marks the undecided events of a reference as decided; all of them if it is None."""
    await connection.execute(
        """
        update payments.events set resolved_at = $3 where payment_id = $1 and review is not null
          and resolved_at is null and ($2::text is null or provider_ref = $2)
        """,
        payment_id,
        reference,
        now,
    )


async def close_review(
    connection: Connection, payment_id: int, *, resolved_by: int | None, now: datetime
) -> bool:
    """Ends the review unless an event is still undecided; returns whether it ended.

    From then on nothing is credited to this payment without an operator.
    """
    ended = await connection.fetchval(
        """
        update payments.payments p set resolved_at = $3, resolved_by = coalesce($2, resolved_by),
          review = case when x.waits then review end,
          status = case status when 'processing' then 'canceled' else status end,
          closed_at = coalesce(closed_at, $3), updated_at = $3
        from (select exists (select from payments.events e where e.payment_id = $1
          and e.review is not null and e.resolved_at is null) as waits) x
        where p.id = $1 returning not x.waits
        """,
        payment_id,
        resolved_by,
        now,
    )
    return ended is True
