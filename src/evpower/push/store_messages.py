"""The SQL of messages: what waits, what is on its way, how it ended."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from evpower.foundation.db import Connection
from evpower.foundation.purge import count
from evpower.foundation.rows import read_row
from evpower.push.model import DeviceKind, PushMessage

_OF_MESSAGE: Final = (
    "m.number, m.session_id, m.event, m.facts, m.expires_at, m.attempts, m.device_id"
)
_OF_DEVICE: Final = "d.address, d.host, d.p256dh, d.auth, d.language"


async def claim(
    connection: Connection,
    kind: DeviceKind,
    now: datetime,
    *,
    lease: timedelta,
    busy: Collection[str],
    limit: int,
) -> list[PushMessage]:
    """Leases messages that are due, the oldest first; each attempt is counted.

    `busy`: hosts to which a batch is on its way.
    """
    rows = await connection.fetch(
        f"""
        update push.messages m
           set due_at = $2::timestamptz + $3::interval, attempts = attempts + 1
          from (select w.number from push.messages w join push.devices e on e.id = w.device_id
                 where e.kind = $1 and e.host <> all ($4::text[]) and w.due_at <= $2
                   and w.sent_at is null and w.given_up_at is null and w.begun_at is null
                 order by w.due_at, w.number limit $5 for no key update of w skip locked) due,
               push.devices d
         where m.number = due.number and d.id = m.device_id
        returning {_OF_MESSAGE}, {_OF_DEVICE}
        """,
        kind,
        now,
        lease,
        list(busy),
        limit,
    )
    return sorted((read_row(PushMessage, row) for row in rows), key=lambda message: message.number)


async def begin(connection: Connection, number: int, attempt: int, now: datetime) -> bool:
    """Stores that a request begins, while the lease lasts. False: another worker has it."""
    begun: bool | None = await connection.fetchval(
        """
        update push.messages set begun_at = $3
         where number = $1 and attempts = $2 and begun_at is null and due_at > $3
           and sent_at is null and given_up_at is null
        returning true
        """,
        number,
        attempt,
        now,
    )
    return begun is True


async def finish(connection: Connection, number: int, now: datetime) -> None:
    """Stores that a message was accepted."""
    await connection.execute(
        """
        update push.messages set sent_at = $2, error = null
         where number = $1 and begun_at is not null and sent_at is null and given_up_at is null
        """,
        number,
        now,
    )


async def postpone(connection: Connection, number: int, error: str, due_at: datetime) -> None:
    """Stores why an attempt failed without effect, and when the next one is due."""
    await connection.execute(
        """
        update push.messages set error = $2, due_at = $3, begun_at = null
         where number = $1 and sent_at is null and given_up_at is null
        """,
        number,
        error,
        due_at,
    )


async def give_up(connection: Connection, number: int, error: str, now: datetime) -> None:
    """Stores that no further attempt is made, and why."""
    await connection.execute(
        """
        update push.messages set error = $2, given_up_at = $3
         where number = $1 and sent_at is null and given_up_at is null
        """,
        number,
        error,
        now,
    )


async def give_up_interrupted(connection: Connection, now: datetime) -> int:
    """Gives up what was on its way when its worker ended: it may have been accepted.

    Returns how many.
    """
    done = await connection.execute(
        """
        update push.messages set given_up_at = $1, error = 'interrupted: it may have been accepted'
         where number in (
           select number from push.messages
            where due_at <= $1 and begun_at is not null and sent_at is null
              and given_up_at is null for update skip locked)
        """,
        now,
    )
    return count(done)


async def purge(connection: Connection, before: datetime, at_most: int) -> int:
    """Deletes messages that ended, of before then. Returns how many."""
    done = await connection.execute(
        """
        delete from push.messages where number in (
          select number from push.messages
           where created_at < $1 and num_nonnulls(sent_at, given_up_at) > 0 limit $2)
        """,
        before,
        at_most,
    )
    return count(done)
