"""The SQL of clients and registrations."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, Record
from evpower.foundation.purge import count
from evpower.identity.model import Client, ClientStatus, Intent, Origin, Profile

_CLIENT: Final = """
id, email, phone, name, status, origin, created_at, updated_at, deletion_requested_at,
email_verified, phone_verified, banned_until, unmapped_status
"""
# A condition for a new row n: no other client has verified one of its contacts.
_CONTACTS_AVAILABLE: Final = """
not exists (select from identity.clients v
             where v.email = n.email and v.email_verified and v.status <> 'closed')
and not exists (select from identity.clients v
                 where v.phone = n.phone and v.phone_verified and v.status <> 'closed')
"""
_INTENT: Final = "client_id, email, phone, name, created_at"


def _client(row: Record | None) -> Client | None:
    return Client(**dict(row)) if row is not None else None


def _intent(row: Record | None) -> Intent | None:
    return Intent(**dict(row)) if row is not None else None


async def client_by_id(connection: Connection, client_id: UUID) -> Client | None:
    """Reads one client."""
    return _client(
        await connection.fetchrow(
            f"select {_CLIENT} from identity.clients where id = $1", client_id
        )
    )


async def clients_by_id(connection: Connection, ids: Sequence[UUID]) -> list[Client]:
    """Reads clients; those that do not exist are left out."""
    rows = await connection.fetch(
        f"select {_CLIENT} from identity.clients where id = any ($1::uuid[])", list(ids)
    )
    return [Client(**dict(row)) for row in rows]


async def list_clients(
    connection: Connection, statuses: Sequence[str], limit: int, offset: int
) -> list[Client]:
    """Returns a page of the clients with one of these statuses, by id."""
    rows = await connection.fetch(
        f"""
        select {_CLIENT} from identity.clients where status = any ($1::text[])
         order by id limit $2 offset $3
        """,
        list(statuses),
        limit,
        offset,
    )
    return [Client(**dict(row)) for row in rows]


async def count_clients(connection: Connection, statuses: Sequence[str]) -> int:
    """Returns how many clients have one of these statuses."""
    return await connection.fetchval(
        "select count(*) from identity.clients where status = any ($1::text[])", list(statuses)
    )


async def lock_client(connection: Connection, client_id: UUID) -> Client | None:
    """Reads one client, locked until the transaction ends."""
    return _client(
        await connection.fetchrow(
            f"select {_CLIENT} from identity.clients where id = $1 for no key update", client_id
        )
    )


async def insert_client(
    connection: Connection, client_id: UUID, profile: Profile, origin: Origin
) -> Client | None:
    """Inserts a client with its wallet.

    None: the id exists, or another client has verified one of the contacts.
    """
    return _client(
        await connection.fetchrow(
            f"""
            insert into identity.clients
              (id, email, phone, name, email_verified, phone_verified, origin)
            select n.* from (values ($1::uuid, $2::text, $3::text, $4::text, $5::bool, $6::bool,
              $7::text)) as n (id, email, phone, name, email_verified, phone_verified, origin)
            where {_CONTACTS_AVAILABLE} on conflict do nothing returning {_CLIENT}
            """,
            client_id,
            profile.email,
            profile.phone,
            profile.name,
            profile.email_verified,
            profile.phone_verified,
            origin,
        )
    )


async def insert_clients(
    connection: Connection, profiles: Mapping[UUID, Profile], origin: Origin
) -> set[UUID]:
    """Inserts clients with their wallets, as `insert_client`; returns the inserted ids."""
    ids = sorted(profiles)
    rows: list[Record] = await connection.fetch(
        f"""
        insert into identity.clients
          (id, email, phone, name, email_verified, phone_verified, origin)
        select n.*, $7
          from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::bool[])
            as n (id, email, phone, name, email_verified, phone_verified)
        where {_CONTACTS_AVAILABLE} on conflict do nothing returning id
        """,
        ids,
        [profiles[client_id].email for client_id in ids],
        [profiles[client_id].phone for client_id in ids],
        [profiles[client_id].name for client_id in ids],
        [profiles[client_id].email_verified for client_id in ids],
        [profiles[client_id].phone_verified for client_id in ids],
        origin,
    )
    return {row["id"] for row in rows}


async def holders(
    connection: Connection, email: str | None, phone: str | None
) -> tuple[UUID | None, UUID | None]:
    """Returns the open clients that have verified this email and this phone; claims don't count."""
    row = await connection.fetchrow(
        """
        select (select id from identity.clients
          where status <> 'closed' and email_verified and email = $1) as email,
          (select id from identity.clients
          where status <> 'closed' and phone_verified and phone = $2) as phone
        """,
        email,
        phone,
    )
    return (row["email"], row["phone"]) if row is not None else (None, None)


async def clients_by_contact(
    connection: Connection, email: str | None, phone: str | None, limit: int
) -> list[Client]:
    """Returns clients with this email or phone; open ones first, then those that verified it."""
    rows: list[Record] = await connection.fetch(
        f"""
        select {_CLIENT} from identity.clients where email = $1 or phone = $2
        order by status = 'closed', coalesce(email_verified and email = $1, false)
          or coalesce(phone_verified and phone = $2, false) desc, created_at, id limit $3
        """,
        email,
        phone,
        limit,
    )
    return [Client(**dict(row)) for row in rows]


async def set_profile(connection: Connection, client_id: UUID, profile: Profile) -> Client | None:
    """Replaces contacts and name; None: no such client. May raise UniqueViolationError."""
    return _client(
        await connection.fetchrow(
            f"""
            update identity.clients set email = $2, phone = $3, name = $4, email_verified = $5,
              phone_verified = $6, updated_at = now(),
              phone_since = case when phone is not distinct from $3 then phone_since else now() end
             where id = $1 returning {_CLIENT}
            """,
            client_id,
            profile.email,
            profile.phone,
            profile.name,
            profile.email_verified,
            profile.phone_verified,
        )
    )


async def set_status(
    connection: Connection,
    client_id: UUID,
    status: ClientStatus,
    allowed_from: Sequence[ClientStatus],
) -> Client | None:
    """Change the status if it is one of `allowed_from`; None: it is not, or no such client."""
    return _client(
        await connection.fetchrow(
            f"""
            update identity.clients set status = $2, updated_at = now()
            where id = $1 and status = any($3) returning {_CLIENT}
            """,
            client_id,
            status,
            list(allowed_from),
        )
    )


async def set_deletion_requested(
    connection: Connection, client_id: UUID, at: datetime | None
) -> None:
    """Stores when the driver requested deletion; None: the request was withdrawn."""
    await connection.execute(
        """
        update identity.clients set deletion_requested_at = $2, updated_at = now()
        where id = $1 and status <> 'closed'
        """,
        client_id,
        at,
    )


async def set_ban(connection: Connection, client_id: UUID, until: datetime | None) -> Client | None:
    """Stores until when Supabase Auth bans the user; returns None if there is no such client."""
    return _client(
        await connection.fetchrow(
            f"""
            update identity.clients set banned_until = $2, updated_at = now()
            where id = $1 returning {_CLIENT}
            """,
            client_id,
            until,
        )
    )


async def set_unmapped_status(
    connection: Connection, client_id: UUID, word: str | None
) -> Client | None:
    """Stores an unmapped status word; returns None if there is no such client."""
    return _client(
        await connection.fetchrow(
            f"""
            update identity.clients set unmapped_status = $2,
              updated_at = case when unmapped_status is distinct from $2 then now()
              else updated_at end where id = $1 returning {_CLIENT}
            """,
            client_id,
            word,
        )
    )


async def insert_intent(connection: Connection, intent: Intent) -> Intent | None:
    """Inserts a registration; None: one is open for this email."""
    return _intent(
        await connection.fetchrow(
            f"""
            insert into identity.registrations
              (client_id, email, phone, name, created_at, updated_at)
            values ($1, $2, $3, $4, $5, $5) on conflict do nothing returning {_INTENT}
            """,
            intent.client_id,
            intent.email,
            intent.phone,
            intent.name,
            intent.created_at,
        )
    )


async def resume_intent(connection: Connection, email: str, now: datetime) -> Intent | None:
    """Resumes the open registration of this email; the job skips it for a while. None: no such."""
    return _intent(
        await connection.fetchrow(
            f"""
            update identity.registrations set updated_at = greatest(updated_at, $2)
            where email = $1 and state = 'intended' returning {_INTENT}
            """,
            email,
            now,
        )
    )


async def finish_intent(connection: Connection, client_id: UUID) -> None:
    """Marks a registration done, whatever its state: its user and client exist."""
    await connection.execute(
        """
        update identity.registrations set state = 'done', reason = null, updated_at = now()
        where client_id = $1 and state <> 'done'
        """,
        client_id,
    )


async def end_intent(connection: Connection, client_id: UUID, state: str, reason: str) -> bool:
    """Closes an open registration as refused or expired; False: it was not open any more."""
    closed = await connection.fetchval(
        """
        update identity.registrations set state = $2, reason = $3, updated_at = now()
        where client_id = $1 and state = 'intended' returning true
        """,
        client_id,
        state,
        reason,
    )
    return closed is not None


async def claim_idle_intents(
    connection: Connection, now: datetime, idle_before: datetime, limit: int
) -> list[Intent]:
    """Claims open registrations not updated since `idle_before`, oldest first; updates them."""
    rows: list[Record] = await connection.fetch(
        f"""
        update identity.registrations set updated_at = $1 where client_id in (
         select client_id from identity.registrations
         where state = 'intended' and updated_at <= $2
         order by updated_at limit $3 for update skip locked
          ) returning {_INTENT}
        """,
        now,
        idle_before,
        limit,
    )
    return [Intent(**dict(row)) for row in rows]


async def purge_registrations(connection: Connection, ended_before: datetime, at_most: int) -> int:
    """Deletes registrations that ended before then; returns how many."""
    return count(
        await connection.execute(
            """
            delete from identity.registrations where ctid = any (array(
            select ctid from identity.registrations where state <> 'intended'
             and updated_at < $1 order by updated_at limit $2 for update skip locked))
            """,
            ended_before,
            at_most,
        )
    )
