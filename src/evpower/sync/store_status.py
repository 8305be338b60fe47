"""All SQL of the sync's status."""

from datetime import datetime
from typing import Literal

from evpower.foundation.db import Connection, Record, fetch_one

TargetName = Literal["supabase", "changes"]  # what the relay calls, and what the puller reads


async def set_target(
    connection: Connection, name: TargetName, state: str, error: str | None
) -> None:
    """Stores how Supabase was reached last, for all processes; writes only what differs."""
    await connection.execute(
        """
        insert into sync.targets as t (name, state, error) values ($1, $2, $3)
        on conflict (name) do update set state = excluded.state, error = excluded.error,
          since = case when t.state = excluded.state then t.since else now() end
        where (t.state, t.error) is distinct from (excluded.state, excluded.error)
        """,
        name,
        state,
        error,
    )


async def outbound(connection: Connection) -> Record:
    """Returns what the outbox holds: counts, how long an entry is due (s), the last error."""
    return await fetch_one(
        connection,
        """
        select count(*) filter (where parked_at is null) as pending,
          count(*) filter (where parked_at is null and topic = 'client') as clients,
          count(*) filter (where parked_at is null and topic = 'session') as sessions,
          extract(epoch from clock_timestamp()
                - min(case when attempts = 0 then least(greatest(since, next_at), now())
                           else since end) filter (where parked_at is null))::float8 as oldest_s,
          count(parked_at) as parked,
          max(last_error) filter (where parked_at is null) as last_error from sync.pending
        """,
    )


async def parked(connection: Connection, limit: int) -> list[Record]:
    """Returns the newest parked entries: topic, key (of a station its id), reason, parked_at."""
    return await connection.fetch(
        """
        select p.topic, coalesce(k.id, p.key::text) as key, coalesce(p.last_error, '') as reason,
               p.parked_at
          from sync.pending p left join sync.row_keys k on k.key = p.key and k.topic = p.topic
         where p.parked_at is not null order by p.parked_at desc, p.key limit $1
        """,
        limit,
    )


async def target(connection: Connection) -> Record | None:
    """Returns how Supabase was reached last: state, error, since; None before the first call."""
    return await connection.fetchrow(
        "select state, error, since from sync.targets where name = 'supabase'"
    )


async def down_since(connection: Connection, before: datetime) -> list[Record]:
    """Returns the ways to Supabase that have not worked since before then: name, state, error."""
    return await connection.fetch(
        """
        select name, state, error from sync.targets
         where state in ('down', 'misconfigured') and since < $1 order by name
        """,
        before,
    )


async def inbound(connection: Connection) -> Record:
    """Returns the place of the inbound sync: cursor, full scan, state, counts of what failed."""
    return await fetch_one(
        connection,
        """
        select extract(epoch from clock_timestamp() - greatest(c.checked_at, c.moved_at))::float8
          as age_s, c.scanning, c.scanned, c.scanned_at, c.resets, t.state, t.error,
          (select count(*) from sync.failed_users) as failed,
          (select count(*) from sync.contact_conflicts) as contacts
        from sync.cursors c left join sync.targets t on t.name = 'changes'
        where c.name = 'supabase'
        """,
    )


async def failed_users(connection: Connection, limit: int) -> list[Record]:
    """Returns the newest users that could not be applied: client_id, reason, attempts."""
    return await connection.fetch(
        """
        select client_id::text as client_id, error as reason, attempts from sync.failed_users
        order by since desc, client_id limit $1
        """,
        limit,
    )


async def calls(connection: Connection, window_s: float) -> list[Record]:
    """Returns the calls of the last `window_s` seconds: keys, transactions, lags_ms."""
    return await connection.fetch(
        """
        select keys, transactions, lags_ms from sync.calls
        where at > now() - make_interval(secs => $1)
        """,
        window_s,
    )
