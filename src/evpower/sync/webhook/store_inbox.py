"""All SQL of the webhooks from Supabase: their secrets, and the inbox that tells a repeat."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from evpower.foundation.db import Connection, Record, fetch_one
from evpower.sync.webhook.model_inbox import ChangeNotification, Inbox, InboxOutcome

_MOST_SECRETS: Final = 32  # each costs an HMAC a call
_COUNTED: Final = 10_000

_SECRETS: Final = """
select id, secret, not_after from sync.webhook_secrets
 where not_after is null or not_after > now()
 order by not_after is not null, id desc limit $1
"""


async def secrets(connection: Connection) -> list[tuple[int, str, datetime | None]]:
    """The secrets that have not ended: id, secret, end. Those without an end come first.

    Rotations that got no answer leave many of them, and Supabase may sign with the oldest.
    """
    rows: list[Record] = await connection.fetch(_SECRETS, _MOST_SECRETS)
    return [(row["id"], row["secret"], row["not_after"]) for row in rows]


# No flush is waited for: an event that a crash forgets was only a ring, and is one again.
# In the order of the key, so that two batches never wait for each other in a ring.
_TAKE: Final = """
with unflushed as materialized (
  select set_config('synchronous_commit', 'off', true)
), given as materialized (
  select g.* from unflushed,
         unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[]) with ordinality
           as g (source, event_id, body_sha256, kind, row_id, n)
), kept as (
  insert into sync.inbox as i (source, event_id, body_sha256, kind, row_id)
  select distinct on (g.source, g.event_id) g.source, g.event_id, g.body_sha256, g.kind, g.row_id
    from given g order by g.source, g.event_id, g.n
  on conflict (source, event_id) do update
    set repeats = i.repeats + (i.body_sha256 = excluded.body_sha256)::int,
        reuses = i.reuses + (i.body_sha256 <> excluded.body_sha256)::int
  returning i.source, i.event_id, i.body_sha256, i.repeats
)
select case when k.body_sha256 <> g.body_sha256 then 'reused'
            when k.repeats = 0 then 'accepted' else 'repeated' end as outcome
  from given g join kept k on k.source = g.source and k.event_id = g.event_id
 order by g.n
"""


async def take(
    connection: Connection, notification: Sequence[ChangeNotification]
) -> list[InboxOutcome]:
    """Keep events that are not known yet; answers what each of them was."""
    rows: list[Record] = await connection.fetch(
        _TAKE,
        [one.source for one in notification],
        [one.event_id for one in notification],
        [one.body_sha256 for one in notification],
        [one.kind for one in notification],
        [one.row_id for one in notification],
    )
    return [row["outcome"] for row in rows]


# Ids grow with time: the oldest are at the beginning of the key.
_PURGE: Final = """
with oldest as (
  select i.id, i.received_at from sync.inbox i order by i.id limit $3
)
delete from sync.inbox i using oldest o
 where i.id = o.id
   and (o.received_at < $1 or o.id <= (select max(m.id) from sync.inbox m) - $2)
"""


async def purge(
    connection: Connection, *, received_before: datetime, keep_newest: int, at_most: int
) -> int:
    """Delete some of what is too old or too much; answers how many."""
    done = await connection.execute(_PURGE, received_before, keep_newest, at_most)
    return int(done.rsplit(" ", 1)[1])


_LOOK: Final = """
with newest as (
  select i.id, i.received_at, i.kind, i.repeats, i.reuses from sync.inbox i
   order by i.id desc limit $1
)
select (select n.received_at from newest n order by n.id desc limit 1) as last_at,
       (select n.kind from newest n order by n.id desc limit 1) as last_kind,
       count(*) as accepted,
       coalesce(sum(n.repeats), 0)::bigint as repeated,
       coalesce(sum(n.reuses), 0)::bigint as reused
  from newest n where n.received_at > now() - interval '1 hour'
"""


async def look(connection: Connection) -> Inbox:
    """What came in the last hour, counted up to ten thousand events."""
    row = await fetch_one(connection, _LOOK, _COUNTED)
    return Inbox(*row)
