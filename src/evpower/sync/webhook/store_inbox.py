"""All SQL of the webhooks from Supabase: their secrets, and the inbox that recognises repeats."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from evpower.foundation.db import Connection, Record
from evpower.sync.webhook.model_inbox import ChangeNotification, InboxOutcome

_MOST_SECRETS: Final = 32  # each costs one HMAC per call

_SECRETS: Final = """
select id, secret, not_after from sync.webhook_secrets
 where not_after is null or not_after > now()
 order by not_after is not null, id desc limit $1
"""


async def secrets(connection: Connection) -> list[tuple[int, str, datetime | None]]:
    """Returns the secrets that have not ended (id, secret, end), those without an end first.

    Rotations that got no response leave several of these, and Supabase may sign with the oldest.
    """
    rows: list[Record] = await connection.fetch(_SECRETS, _MOST_SECRETS)
    return [(row["id"], row["secret"], row["not_after"]) for row in rows]


# synchronous_commit off: a crash may lose an event, which only says that something changed; the
# puller also polls. Rows are inserted in the order of the key, so that two batches can't deadlock.
_INSERT_EVENTS: Final = """
with async_commit as materialized (
  select set_config('synchronous_commit', 'off', true)
), given as materialized (
  select g.* from async_commit,
         unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[]) with ordinality
           as g (source, event_id, body_sha256, kind, row_id, n)
), stored as (
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
  from given g join stored k on k.source = g.source and k.event_id = g.event_id
 order by g.n
"""


async def insert_events(
    connection: Connection, notifications: Sequence[ChangeNotification]
) -> list[InboxOutcome]:
    """Stores the events that are new. Returns the outcome of each, in their order."""
    rows: list[Record] = await connection.fetch(
        _INSERT_EVENTS,
        [event.source for event in notifications],
        [event.event_id for event in notifications],
        [event.body_sha256 for event in notifications],
        [event.kind for event in notifications],
        [event.row_id for event in notifications],
    )
    return [row["outcome"] for row in rows]


# Ids grow with time, so the oldest events are at the beginning of the primary key.
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
    """Deletes at most `at_most` events that are too old or too many. Returns how many."""
    done = await connection.execute(_PURGE, received_before, keep_newest, at_most)
    return int(done.rsplit(" ", 1)[1])
