"""The SQL of the daily reconciliation: the days that are due, and what the alerts say."""

from collections.abc import Sequence
from datetime import date, datetime

from evpower.foundation.db import Connection, Record


async def open_by_provider(connection: Connection) -> list[Record]:
    """Returns per provider how many differences are undecided, and since when the oldest is."""
    return await connection.fetch(
        """
        select provider, count(*) as count, min(found_at) as oldest,
               sum(abs(ours_minor - theirs_minor))::bigint as paid_minor
          from payments.differences where closed_at is null and decision is null
         group by provider order by provider
        """
    )


async def days_with_open(
    connection: Connection, provider: str, since: datetime, until: datetime, zone: str
) -> list[date]:
    """Returns the days, in a time zone, that have differences not closed, oldest first."""
    rows: list[Record] = await connection.fetch(
        """
        select distinct (at at time zone $4)::date as day from payments.differences
         where provider = $1 and closed_at is null and at >= $2 and at < $3 order by day
        """,
        provider,
        since,
        until,
        zone,
    )
    return [row["day"] for row in rows]


async def add_days(
    connection: Connection, providers: Sequence[str], last: date, most: int, now: datetime
) -> None:
    """Makes the days up to `last` due that follow a provider's latest one, at most `most`."""
    await connection.execute(
        """
        insert into payments.reconciliation_days (provider, day, next_at)
        select p.name, g.day::date, $4
          from unnest($1::text[]) as p (name)
         cross join lateral (
           select coalesce(max(d.day) + 1, $2::date) as first from payments.reconciliation_days d
            where d.provider = p.name) k
         cross join lateral generate_series(greatest(k.first, $2::date - $3::int), $2::date,
                                            interval '1 day') as g (day)
         order by 1, 2
        on conflict do nothing
        """,
        list(providers),
        last,
        most - 1,
        now,
    )


async def claim_day(
    connection: Connection, providers: Sequence[str], now: datetime, lease_until: datetime
) -> tuple[str, date, int] | None:
    """Leases the oldest day that is due: provider, day, earlier attempts; None: none is due."""
    row = await connection.fetchrow(
        """
        update payments.reconciliation_days d set next_at = $3, attempts = attempts + 1
          from (select provider, day from payments.reconciliation_days
                 where done_at is null and next_at <= $2 and provider = any ($1)
                 order by day, provider limit 1 for update skip locked) due
         where d.provider = due.provider and d.day = due.day
        returning d.provider, d.day, d.attempts
        """,
        list(providers),
        now,
        lease_until,
    )
    return None if row is None else (row["provider"], row["day"], row["attempts"])


async def finish_day(
    connection: Connection,
    provider: str,
    day: date,
    *,
    now: datetime,
    error: str | None,
    next_at: datetime,
) -> None:
    """Stores that a day is done, or why not and when it is tried again."""
    await connection.execute(
        """
        update payments.reconciliation_days
           set done_at = case when $4::text is null then $3::timestamptz end, error = $4,
               next_at = $5
         where provider = $1 and day = $2
        """,
        provider,
        day,
        now,
        error,
        next_at,
    )


async def late_days(connection: Connection, attempts: int) -> list[Record]:
    """Returns per provider its days that failed so often: count, oldest day, last error."""
    return await connection.fetch(
        """
        select provider, count(*) as count, min(day) as day,
               (array_agg(error order by day))[1] as error
          from payments.reconciliation_days
         where done_at is null and attempts >= $1 and error is not null
         group by provider order by provider
        """,
        attempts,
    )
