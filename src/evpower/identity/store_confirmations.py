"""The SQL of queued confirmation mails."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, fetch_one
from evpower.foundation.purge import count
from evpower.foundation.rows import read_row

_MAX_ERROR: Final = 300


@dataclass(frozen=True, slots=True)
class RegistrationConfirmation:
    """A queued mail. `attempts` counts those of the job, including the current one."""

    client_id: UUID
    email: str
    attempts: int


@dataclass(frozen=True, slots=True)
class WaitingConfirmations:
    """The number of queued mails, the age of the oldest in seconds, and the newest error."""

    count: int
    oldest_s: float
    error: str | None


async def queue(
    connection: Connection, client_id: UUID, email: str, now: datetime, retry_at: datetime
) -> None:
    """Queues a mail: the caller sends it at once, the job from `retry_at` on."""
    await connection.execute(
        """
        insert into identity.confirmations as c (client_id, email, requested_at, next_try_at)
        values ($1, $2, $3, $4) on conflict (client_id) do update
        set email = excluded.email, requested_at = excluded.requested_at
        """,
        client_id,
        email,
        now,
        retry_at,
    )


async def claim(
    connection: Connection, now: datetime, leased_until: datetime
) -> RegistrationConfirmation | None:
    """Claims the mail that has been due the longest until `leased_until`; None: none is due."""
    row = await connection.fetchrow(
        """
        update identity.confirmations set attempts = attempts + 1, next_try_at = $2
        where client_id = (select client_id from identity.confirmations where next_try_at <= $1
         order by next_try_at, requested_at limit 1 for update skip locked)
        returning client_id, email, attempts
        """,
        now,
        leased_until,
    )
    return read_row(RegistrationConfirmation, row) if row else None


async def delete_sent(connection: Connection, client_id: UUID) -> None:
    """Deletes a mail that was sent."""
    await connection.execute("delete from identity.confirmations where client_id = $1", client_id)


async def postpone(connection: Connection, client_id: UUID, until: datetime, error: str) -> None:
    """Postpones one mail and stores the error."""
    await connection.execute(
        "update identity.confirmations set next_try_at = $2, last_error = $3 where client_id = $1",
        client_id,
        until,
        error[:_MAX_ERROR],
    )


async def postpone_all(connection: Connection, until: datetime) -> None:
    """Postpones all mails at least until then: Supabase Auth sends no more for now."""
    await connection.execute(
        "update identity.confirmations set next_try_at = $1 where next_try_at < $1", until
    )


async def give_up(connection: Connection, requested_before: datetime) -> int:
    """Deletes mails requested before then, and those of closed clients; returns how many."""
    return count(
        await connection.execute(
            """
            delete from identity.confirmations q using identity.clients c
            where c.id = q.client_id and (q.requested_at < $1 or c.status = 'closed')
            """,
            requested_before,
        )
    )


async def waiting(connection: Connection) -> WaitingConfirmations:
    """Returns the number, age and newest error of the queued mails."""
    row = await fetch_one(
        connection,
        """
        select count(*) as count,
               coalesce(extract(epoch from clock_timestamp() - min(requested_at)), 0)::float8
                 as oldest_s,
               (array_agg(last_error order by next_try_at desc)
         filter (where last_error is not null))[1] as error from identity.confirmations
        """,
    )
    return read_row(WaitingConfirmations, row)


async def find_registered(connection: Connection, email: str, phone: str) -> UUID | None:
    """Returns the open client of the last finished registration with this email and phone."""
    return await connection.fetchval(
        """
        select r.client_id from identity.registrations r
        join identity.clients c on c.id = r.client_id and c.status <> 'closed'
        where r.email = $1 and r.phone = $2 and r.state = 'done'
        order by r.updated_at desc limit 1
        """,
        email,
        phone,
    )
