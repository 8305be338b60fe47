"""The SQL of watched sessions: what is stored of them, and which messages were written."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.purge import count
from evpower.foundation.rows import read_row
from evpower.push.model import NewMessage, SessionFacts

_FINAL: Final = "('settled', 'expired', 'refused', 'cancelled', 'failed')"
# Rows are reached by key (lateral, offset 0), so that a plan made on empty tables stays good later.
_FACTS: Final = """
s.id as session_id, s.client_id, s.station_id, s.connector_id, l.name as location, s.state,
s.start_failure, s.end_reason, s.quarantined_at is not null as is_quarantined,
s.station_lost_notified_at is not null as is_station_lost,
case when s.state in ('charging', 'stopping') then coalesce(p.energy_wh, 0)
     else s.energy_wh end as energy_wh,
case when s.state in ('charging', 'stopping')
     then least(coalesce(p.cost_minor, 0), s.limit_amount_minor)
     else s.cost_minor end as cost_minor,
s.limit_energy_wh, s.limit_amount_minor, h.amount_minor as held_minor, s.updated_at
"""
_OF_SESSION: Final = """
  left join lateral (select * from charging.progress_public p
                      where p.session_id = s.id and s.state in ('charging', 'stopping')
                      limit 1) p on true
  left join lateral (select * from wallet.holds_public h
                      where h.session_id = s.id and h.state = 'open' limit 1) h on true
  left join lateral (select * from stations.stations_public t
                      where t.id = s.station_id limit 1) t on true
  left join lateral (select * from stations.locations_public l
                      where l.id = t.location_id limit 1) l on true
"""


async def lock_cursor(connection: Connection) -> datetime | None:
    """Returns up to when sessions were looked at, locked; None: another worker has it."""
    return await connection.fetchval(
        "select watched_to from push.cursor where id = 1 for update skip locked"
    )


async def begin_cursor(connection: Connection, now: datetime) -> None:
    """Makes the cursor where there is none: what was before is not looked at."""
    await connection.execute(
        "insert into push.cursor (id, watched_to) values (1, $1) on conflict do nothing", now
    )


async def move_cursor(connection: Connection, to: datetime) -> None:
    """Stores up to when sessions were looked at."""
    await connection.execute("update push.cursor set watched_to = $1 where id = 1", to)


async def watch_new(
    connection: Connection, since: datetime, kinds: Sequence[str], now: datetime
) -> int:
    """Watches the sessions made since then whose client has a device. Returns how many.

    Of one that is over already, a device made after its end gets no message.
    """
    done = await connection.execute(
        f"""
        insert into push.sessions (session_id, client_id, watched_at)
        select s.id, s.client_id, $3 from charging.sessions_public s
         where s.source = 'evpower' and s.created_at > $1 and s.started_by is not null
           and exists (select from push.devices d
                        where d.client_id = s.client_id and d.kind = any ($2)
                          and (s.state not in {_FINAL} or d.created_at <= s.updated_at))
        on conflict do nothing
        """,
        since,
        list(kinds),
        now,
    )
    return count(done)


async def open_sessions(connection: Connection, client_id: UUID) -> list[SessionFacts]:
    """Returns a client's sessions that are not over, of the newest ones."""
    rows = await connection.fetch(
        f"""
        select {_FACTS}, array[]::text[] as events
          from (select * from charging.sessions_public s where s.client_id = $1
                 order by s.created_at desc, s.id desc limit 5) s
        {_OF_SESSION}
         where s.started_by is not null and s.state not in {_FINAL}
        """,
        client_id,
    )
    return [read_row(SessionFacts, row) for row in rows]


async def watch(
    connection: Connection, facts: SessionFacts, events: Sequence[str], now: datetime
) -> None:
    """Watches a session from now on; of these events no message is written."""
    await connection.execute(
        """
        insert into push.sessions (session_id, client_id, events, watched_at)
        values ($1, $2, $3, $4) on conflict do nothing
        """,
        facts.session_id,
        facts.client_id,
        list(events),
        now,
    )


async def watched(connection: Connection, after: UUID | None, at_most: int) -> list[SessionFacts]:
    """Returns what is stored of the watched sessions, by id, after one of them."""
    rows = await connection.fetch(
        f"""
        select {_FACTS}, w.events
          from (select * from push.sessions w
                 where w.done_at is null and ($1::uuid is null or w.session_id > $1)
                 order by w.session_id limit $2) w
         cross join lateral (select * from charging.sessions_public s
                              where s.id = w.session_id offset 0) s
        {_OF_SESSION}
         order by w.session_id
        """,
        after,
        at_most,
    )
    return [read_row(SessionFacts, row) for row in rows]


async def write_messages(
    connection: Connection, messages: Sequence[NewMessage], vapid_key: str, now: datetime
) -> int:
    """Writes each message for the devices of its client that can be reached. Returns how many.

    `vapid_key`: ours; a subscription made for another key is of no use.
    """
    if not messages:
        return 0
    done = await connection.execute(
        """
        insert into push.messages
          (device_id, session_id, event, facts, created_at, due_at, expires_at)
        select d.id, e.session_id, e.event, e.facts, $7, $7, $7::timestamptz + e.lives
          from unnest($1::uuid[], $2::uuid[], $3::text[], $4::jsonb[], $5::interval[])
               as e (session_id, client_id, event, facts, lives)
          join push.devices d on d.client_id = e.client_id and d.kind = 'web' and d.vapid_key = $6
         order by e.session_id, d.id
        on conflict do nothing
        """,
        [message.session_id for message in messages],
        [message.client_id for message in messages],
        [message.event for message in messages],
        [dict(message.facts) for message in messages],
        [message.lives for message in messages],
        vapid_key,
        now,
    )
    return count(done)


async def set_written(
    connection: Connection, written: Sequence[tuple[UUID, Sequence[str], bool]], now: datetime
) -> None:
    """Stores of which events messages were written, and which sessions are done."""
    await connection.executemany(
        """
        update push.sessions
           set events = events || $2::text[], done_at = case when $3 then $4::timestamptz end
         where session_id = $1
        """,
        [(session_id, list(events), done, now) for session_id, events, done in written],
    )


async def purge_sessions(
    connection: Connection, now: datetime, age: timedelta, at_most: int
) -> int:
    """Deletes sessions that were done so long ago. Returns how many."""
    done = await connection.execute(
        """
        delete from push.sessions where session_id in (
          select session_id from push.sessions where done_at < $1 limit $2)
        """,
        now - age,
        at_most,
    )
    return count(done)
