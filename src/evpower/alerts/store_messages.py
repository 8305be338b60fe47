"""The SQL of messages: what waits for which channel, and how its attempts ended."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final

from evpower.alerts.model import AlertMessage, ChannelState
from evpower.foundation.db import Connection
from evpower.foundation.purge import count
from evpower.foundation.rows import columns, read_row

_OF_MESSAGE: Final = "m.number, m.id, m.event, m.created_at, m.attempts, m.alert_id, m.count"
_OF_ALERT: Final = "a.kind, a.subject, a.detail, a.opened_at, a.last_seen_at, a.closed_at"


async def claim(
    connection: Connection,
    channel: str,
    now: datetime,
    *,
    lease: timedelta,
    grave: Collection[str],
    only_grave: bool,
    gather_for: timedelta,
    limit: int,
) -> list[AlertMessage]:
    """Leases messages of a channel that are due, the oldest first; each attempt is counted.

    One waits while an earlier one of its alert is being sent or waits for its next attempt. Those
    of kinds that are not grave wait `gather_for` first, and, with `only_grave`, for now.
    """
    rows = await connection.fetch(
        f"""
        update alerts.messages m
           set due_at = $2::timestamptz + $3::interval, attempts = attempts + 1
          from (select w.number from alerts.messages w join alerts.alerts a on a.id = w.alert_id
                 where w.channel = $1 and w.sent_at is null and w.given_up_at is null
                   and w.due_at <= $2
                   and (a.kind = any ($4)
                     or not $5 and w.created_at <= $2::timestamptz - $6::interval)
                   and not exists (
                     select from alerts.messages e
                      where e.alert_id = w.alert_id and e.channel = w.channel
                        and e.number < w.number and e.sent_at is null and e.given_up_at is null
                        and e.due_at > $2)
                 order by w.number limit $7 for no key update of w) due,
               alerts.alerts a
         where m.number = due.number and a.id = m.alert_id
        returning {_OF_MESSAGE}, {_OF_ALERT}
        """,
        channel,
        now,
        lease,
        list(grave),
        only_grave,
        gather_for,
        limit,
    )
    return sorted((read_row(AlertMessage, row) for row in rows), key=lambda message: message.number)


async def finish(connection: Connection, number: int, now: datetime) -> None:
    """Stores that a message was accepted."""
    await connection.execute(
        """
        update alerts.messages set sent_at = $2, error = null
         where number = $1 and sent_at is null and given_up_at is null
        """,
        number,
        now,
    )


async def postpone(
    connection: Connection, number: int, error: str, due_at: datetime | None, now: datetime
) -> None:
    """Stores why an attempt failed, and when the next one is due; None: it is given up."""
    await connection.execute(
        """
        update alerts.messages
           set error = $2, due_at = coalesce($3, due_at),
               given_up_at = case when $3::timestamptz is null then $4::timestamptz end
         where number = $1 and sent_at is null and given_up_at is null
        """,
        number,
        error,
        due_at,
        now,
    )


async def drop_of_others(connection: Connection, channels: Collection[str]) -> int:
    """Deletes what waits for channels that are not these."""
    done = await connection.execute(
        """
        delete from alerts.messages
         where channel <> all ($1::text[]) and sent_at is null and given_up_at is null
        """,
        list(channels),
    )
    return count(done)


async def write_missing(connection: Connection, channels: Sequence[str], now: datetime) -> int:
    """Writes a message for each open alert that a channel never had one about.

    A channel that was set up after an alert had opened tells of it, too.
    """
    done = await connection.execute(
        """
        insert into alerts.messages (alert_id, channel, event, count, created_at, due_at)
        select a.id, c.channel, 'opened', a.count, $2, $2
          from alerts.alerts a cross join unnest($1::text[]) as c (channel)
         where a.closed_at is null and a.acknowledged_at is null
           and not exists (select from alerts.messages m
                            where m.alert_id = a.id and m.channel = c.channel)
        on conflict do nothing
        """,
        list(channels),
        now,
    )
    return count(done)


async def write_repeats(
    connection: Connection, channels: Sequence[str], now: datetime, every: timedelta
) -> int:
    """Writes a message for each open alert that was seen again since the newest one about it.

    At most once in `every`, and none of an alert that an operator has taken up.
    """
    done = await connection.execute(
        """
        insert into alerts.messages (alert_id, channel, event, count, created_at, due_at)
        select a.id, c.channel, 'repeated', a.count, $2, $2
          from alerts.alerts a cross join unnest($1::text[]) as c (channel)
         cross join lateral (
           select m.count, m.created_at from alerts.messages m
            where m.alert_id = a.id and m.channel = c.channel order by m.number desc limit 1) last
         where a.closed_at is null and a.acknowledged_at is null and a.count > last.count
           and last.created_at <= $2::timestamptz - $3::interval
        """,
        list(channels),
        now,
        every,
    )
    return count(done)


async def purge(connection: Connection, before: datetime, at_most: int) -> int:
    """Deletes messages that were sent or given up, of alerts that are closed; returns how many."""
    done = await connection.execute(
        """
        delete from alerts.messages where number in (
          select m.number from alerts.messages m join alerts.alerts a on a.id = m.alert_id
           where m.created_at < $1 and num_nonnulls(m.sent_at, m.given_up_at) > 0
             and a.closed_at is not null
           limit $2)
        """,
        before,
        at_most,
    )
    return count(done)


async def channel_states(
    connection: Connection, channels: Sequence[str], since: datetime
) -> list[ChannelState]:
    """Returns what waits for each channel, and how many were given up since then."""
    rows = await connection.fetch(
        f"""
        select {columns(ChannelState)} from (
          select c.channel, count(m.number) filter (where m.given_up_at is null) as waiting,
                 min(m.created_at) filter (where m.given_up_at is null) as oldest_at,
                 (array_agg(m.error order by m.number desc)
                   filter (where m.error is not null and m.given_up_at is null))[1] as error,
                 count(m.given_up_at) as given_up
            from unnest($1::text[]) as c (channel)
            left join alerts.messages m on m.channel = c.channel and m.sent_at is null
                 and (m.given_up_at is null or m.given_up_at >= $2)
           group by c.channel) states
        """,
        list(channels),
        since,
    )
    return [read_row(ChannelState, row) for row in rows]
