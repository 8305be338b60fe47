"""The SQL of the reconciliation: what EvPower credited, the runs, the differences, the days."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final
from uuid import UUID

import orjson

from evpower.foundation.db import Connection, Record
from evpower.foundation.rows import columns, read_row
from evpower.payments.reconciliation.model import (
    Decision,
    Difference,
    NewDifference,
    OurMoney,
    Reconciliation,
)

_RUN: Final = columns(Reconciliation)
_RUN_VALUES: Final = ", ".join(
    f"${number}" for number in range(1, len(Reconciliation.__dataclass_fields__))
)
_DIFFERENCE: Final = ", ".join(
    "p.invoice_id" if name == "invoice_id" else f"d.{name}"
    for name in Difference.__dataclass_fields__
)
_FROM_DIFFERENCES: Final = """
payments.differences d left join payments.payments p on p.id = d.payment_id
"""
# What was accepted in a review is a manual payment beside the bill's own.
_REFERENCES: Final = """
select p.credited_ref as reference from payments.payments p
 where p.provider = $1 and p.credited_ref is not null
   and p.confirmed_at >= $2 and p.confirmed_at < $3
union
select coalesce(e.provider_ref, 'payment:' || m.id) from payments.events e
  join payments.payments m on m.id = e.credited_by and m.provider = 'manual'
 where e.provider = $1 and e.credited_by is not null
   and m.confirmed_at >= $2 and m.confirmed_at < $3
"""
_OURS: Final = """
with wanted as materialized (
  select distinct w.reference from unnest($2::text[]) as w (reference)
), credits as (
  select w.reference, p.id, p.credited_minor, p.refunded_minor, p.currency, p.confirmed_at,
         coalesce(p.attempt_of, p.id) as bill_id
    from wanted w
    join payments.payments p on p.credited_ref = w.reference and p.credited_ref is not null
   where p.provider = $1
  union all
  select w.reference, m.id, m.credited_minor, m.refunded_minor, m.currency, m.confirmed_at,
         a.bill_id
    from wanted w
   cross join lateral (
     select distinct e.credited_by, coalesce(s.attempt_of, s.id) as bill_id
       from payments.events e join payments.payments s on s.id = e.payment_id
      where e.provider = $1 and e.credited_by is not null
        and case when w.reference ~ '^payment:[0-9]{1,18}$'
                 then e.provider_ref is null and e.credited_by = substr(w.reference, 9)::bigint
                 else e.provider_ref = w.reference end) a
    join payments.payments m on m.id = a.credited_by and m.provider = 'manual'
), grouped as (
  select c.reference, (array_agg(c.bill_id order by c.confirmed_at, c.id))[1] as bill_id,
         (array_agg(c.id order by c.confirmed_at, c.id))[1] as payment_id,
         sum(c.credited_minor)::bigint as credited_minor,
         sum(c.refunded_minor)::bigint as refunded_minor, min(c.currency) as currency,
         min(c.confirmed_at) as at
    from credits c group by c.reference
)
select g.reference, g.payment_id, b.invoice_id, b.order_id, b.provider_ref,
       b.create_count as bills, g.credited_minor, g.refunded_minor, g.currency, g.at
  from grouped g join payments.payments b on b.id = g.bill_id
"""


async def references_in(
    connection: Connection, provider: str, since: datetime, until: datetime
) -> list[str]:
    """Returns the provider's ids of what was credited in a period."""
    rows: list[Record] = await connection.fetch(_REFERENCES, provider, since, until)
    return [row["reference"] for row in rows]


async def ours(
    connection: Connection, provider: str, references: Sequence[str]
) -> dict[str, OurMoney]:
    """Returns what was credited for these ids of a provider, whenever that was."""
    rows: list[Record] = await connection.fetch(_OURS, provider, references)
    return {row["reference"]: read_row(OurMoney, row) for row in rows}


async def orders(connection: Connection, provider: str, order_ids: Sequence[str]) -> list[Record]:
    """Returns the payments of these orders: order_id, id, and the reference of what was credited.

    Where several were accepted in a review there is none.
    """
    return await connection.fetch(
        """
        select p.order_id, p.id, coalesce(p.credited_ref, (
                 select min(e.provider_ref) from payments.events e
                  where e.payment_id = p.id and e.credited_by is not null
                 having count(distinct e.provider_ref) = 1)) as credited_ref
          from payments.payments p where p.order_id = any ($2::text[]) and p.provider = $1
        """,
        provider,
        order_ids,
    )


async def bills_begun(
    connection: Connection, provider: str, since: datetime, until: datetime
) -> list[Record]:
    """Returns the bills begun in a period: order_id, provider_ref, create_count, created_at."""
    return await connection.fetch(
        """
        select order_id, provider_ref, create_count, created_at from payments.payments
         where provider = $1 and attempt_of is null and created_at >= $2 and created_at < $3
         order by id
        """,
        provider,
        since,
        until,
    )


async def find_bill(connection: Connection, provider: str, order_id: str) -> Record | None:
    """Returns the bill of an order: order_id, provider_ref, create_count; None: there is none."""
    return await connection.fetchrow(
        """
        select b.order_id, b.provider_ref, b.create_count from payments.payments p
          join payments.payments b on b.id = coalesce(p.attempt_of, p.id)
         where p.order_id = $2 and p.provider = $1
        """,
        provider,
        order_id,
    )


async def insert_run(connection: Connection, run: Reconciliation) -> int:
    """Stores a run; returns its id. Runs of one provider are stored one after the other."""
    await connection.execute(
        "select pg_advisory_xact_lock(hashtextextended('payments.reconciliation ' || $1, 0))",
        run.provider,
    )
    names = [name for name in Reconciliation.__dataclass_fields__ if name != "id"]
    run_id: int = await connection.fetchval(
        f"""
        insert into payments.reconciliations ({", ".join(names)}) values ({_RUN_VALUES})
        returning id
        """,
        *(getattr(run, name) for name in names),
    )
    return run_id


_DIFFERING: Final = """
with differing as materialized (
  select f.* from jsonb_to_recordset($1::text::jsonb) as f (subject text,
    kind text, payment_id bigint, reference text, order_id text, currency text,
    theirs_currency text, theirs_status text, ours_minor bigint, theirs_minor bigint,
    ours_returned_minor bigint, theirs_returned_minor bigint, at timestamptz)
)
"""
_SAME: Final = """
(d.kind, d.payment_id, d.reference, d.order_id, d.currency, d.theirs_currency, d.theirs_status,
 d.ours_minor, d.theirs_minor, d.ours_returned_minor, d.theirs_returned_minor)
is not distinct from
(f.kind, f.payment_id, f.reference, f.order_id, f.currency, f.theirs_currency, f.theirs_status,
 f.ours_minor, f.theirs_minor, f.ours_returned_minor, f.theirs_returned_minor)
"""


async def store_found(
    connection: Connection,
    provider: str,
    run_id: int,
    differing: Sequence[NewDifference],
    *,
    since: datetime,
    until: datetime,
    now: datetime,
) -> int:
    """Stores what a run found; closes what it did not find any more, or not so. Returns how many.

    What an owner decided stays decided as long as the facts are the same.
    """
    facts = orjson.dumps([asdict(difference) for difference in differing]).decode()
    closed: int = await connection.fetchval(
        f"""
        {_DIFFERING}, closed as (
          update payments.differences d set closed_at = $5
           where d.provider = $2 and d.closed_at is null
             and (d.at >= $3 and d.at < $4 or d.subject in (select f.subject from differing f))
             and not exists (select from differing f where f.subject = d.subject and {_SAME})
          returning 1)
        select count(*) from closed
        """,
        facts,
        provider,
        since,
        until,
        now,
    )
    await connection.execute(
        f"""
        {_DIFFERING} update payments.differences d set last_run = $3 from differing f
         where d.provider = $2 and d.subject = f.subject and d.closed_at is null
        """,
        facts,
        provider,
        run_id,
    )
    await connection.execute(
        f"""
        {_DIFFERING} insert into payments.differences (provider, subject, kind, payment_id,
          reference, order_id, currency, theirs_currency, theirs_status, ours_minor, theirs_minor,
          ours_returned_minor, theirs_returned_minor, at, found_at, first_run, last_run)
        select $2, f.subject, f.kind, f.payment_id, f.reference, f.order_id, f.currency,
          f.theirs_currency, f.theirs_status, f.ours_minor, f.theirs_minor, f.ours_returned_minor,
          f.theirs_returned_minor, f.at, $4, $3, $3 from differing f
         order by f.subject
        on conflict (provider, subject) where closed_at is null do nothing
        """,
        facts,
        provider,
        run_id,
        now,
    )
    return closed


async def store_notes(
    connection: Connection,
    provider: str,
    run_id: int,
    notes: Sequence[NewDifference],
    now: datetime,
) -> None:
    """Stores once, closed, which transactions were entered by hand: they are no differences."""
    await connection.execute(
        f"""
        {_DIFFERING} insert into payments.differences (provider, subject, kind, payment_id,
          reference, order_id, currency, theirs_currency, theirs_status, ours_minor, theirs_minor,
          ours_returned_minor, theirs_returned_minor, at, found_at, first_run, last_run, closed_at)
        select $2, f.subject, f.kind, f.payment_id, f.reference, f.order_id, f.currency,
          f.theirs_currency, f.theirs_status, f.ours_minor, f.theirs_minor, f.ours_returned_minor,
          f.theirs_returned_minor, f.at, $4, $3, $3, $4 from differing f
         where not exists (select from payments.differences d where d.provider = $2
                              and d.reference = f.reference and d.kind = f.kind
                              and d.payment_id = f.payment_id)
         order by f.subject
        """,
        orjson.dumps([asdict(note) for note in notes]).decode(),
        provider,
        run_id,
        now,
    )


async def list_runs(
    connection: Connection, provider: str | None, before_id: int | None, limit: int
) -> list[Reconciliation]:
    """Returns runs, the newest first."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {_RUN} from payments.reconciliations
         where ($1::text is null or provider = $1) and ($2::bigint is null or id < $2)
         order by id desc limit $3
        """,
        provider,
        before_id,
        limit,
    )
    return [read_row(Reconciliation, row) for row in rows]


async def list_differences(
    connection: Connection,
    *,
    provider: str | None,
    state: str,
    before_id: int | None,
    limit: int,
) -> list[Difference]:
    """Returns differences, the newest first; `state`: open, decided, closed or all."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {_DIFFERENCE} from {_FROM_DIFFERENCES}
         where ($1::text is null or d.provider = $1) and ($3::bigint is null or d.id < $3)
           and case $2 when 'open' then d.closed_at is null and d.decision is null
                       when 'decided' then d.closed_at is null and d.decision is not null
                       when 'closed' then d.closed_at is not null
                       else true end
         order by d.id desc limit $4
        """,
        provider,
        state,
        before_id,
        limit,
    )
    return [read_row(Difference, row) for row in rows]


async def find_difference(connection: Connection, difference_id: int) -> Difference | None:
    """Returns a difference."""
    row = await connection.fetchrow(
        f"select {_DIFFERENCE} from {_FROM_DIFFERENCES} where d.id = $1", difference_id
    )
    return None if row is None else read_row(Difference, row)


async def clients_of_difference(connection: Connection, difference_id: int) -> frozenset[UUID]:
    """Returns the clients of all payments that a difference names, by their ids or references."""
    rows: list[Record] = await connection.fetch(
        """
        with d as materialized (select * from payments.differences where id = $1)
        select p.client_id from d join payments.payments p on p.id = d.payment_id
        union
        select p.client_id from d join payments.payments p
            on p.order_id = d.order_id and p.provider = d.provider
        union
        select p.client_id from d join payments.payments p
            on p.provider_ref = d.reference and p.provider = d.provider
        union
        select p.client_id from d join payments.payments p
            on p.credited_ref = d.reference and p.credited_ref is not null
               and p.provider = d.provider
        union
        select p.client_id from d join payments.events e
            on e.provider_ref = d.reference and e.provider = d.provider and e.review is not null
          join payments.payments p on p.id = e.payment_id
        """,
        difference_id,
    )
    return frozenset(row["client_id"] for row in rows)


async def lock_difference(connection: Connection, difference_id: int) -> Difference | None:
    """Returns a difference, locked until the transaction ends."""
    row = await connection.fetchrow(
        f"select {_DIFFERENCE} from {_FROM_DIFFERENCES} where d.id = $1 for no key update of d",
        difference_id,
    )
    return None if row is None else read_row(Difference, row)


async def set_decision(
    connection: Connection,
    difference_id: int,
    decision: Decision,
    *,
    actor: str,
    reason: str,
    now: datetime,
) -> None:
    """Stores an owner's decision."""
    await connection.execute(
        """
        update payments.differences
           set decision = $2, decided_by = $3, reason = $4, decided_at = $5 where id = $1
        """,
        difference_id,
        decision,
        actor,
        reason,
        now,
    )


async def close_difference(connection: Connection, difference_id: int, now: datetime) -> None:
    """Closes a difference that is none any more."""
    await connection.execute(
        """
        update payments.differences set closed_at = $2 where id = $1 and closed_at is null
        """,
        difference_id,
        now,
    )
