"""All SQL of the inbound sync: the cursor, users that failed, contacts that two clients claim."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, Record, fetch_one
from evpower.foundation.rows import read_row
from evpower.identity import Contact, Profile

_CURSOR_COLUMNS: Final = "xid, seq, revision, scanning, scan_after, scanned, scanned_at"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the change log was applied; each transaction that applies users raises `revision`."""

    xid: str | None
    seq: int | None
    revision: int
    scanning: bool
    scan_after: str | None
    scanned: int
    scanned_at: datetime | None


@dataclass(frozen=True, slots=True)
class KnownClient:
    """The fields of a client that Supabase can change.

    `pending_contacts`: contacts of this client in Supabase that another client has here.
    """

    id: UUID
    profile: Profile
    status: str
    deletion_requested_at: datetime | None
    banned_until: datetime | None
    unmapped_status: str | None
    pending_contacts: Mapping[Contact, str]
    block_seen: bool  # a block from before EvPower was applied once
    pending: bool  # the client is in the outbox
    parked: bool  # Supabase refused the client's entry


@dataclass(frozen=True, slots=True)
class FailedUser:
    """A user whose change could not be applied."""

    id: UUID
    user_deleted: bool
    blocked_before: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class PendingContact:
    """A contact a client waits for; `verified` in Supabase; `holder` is who has it here."""

    value: str
    verified: bool
    holder: UUID


@dataclass(frozen=True, slots=True)
class FreeContact:
    """A pending contact that no other client has any more."""

    client_id: UUID
    contact: Contact
    value: str


async def cursor(connection: Connection) -> Cursor:
    """Returns the cursor."""
    row = await fetch_one(
        connection, f"select {_CURSOR_COLUMNS} from sync.cursors where name = 'supabase'"
    )
    return Cursor(**dict(row))


# skip locked: a transaction that finds the row locked has read an old state, so it need not wait.
_RAISE_REVISION: Final = """
with current as (
  select name from sync.cursors where name = 'supabase' and revision = $1
     for no key update skip locked
)
update sync.cursors c set revision = c.revision + 1, {changes}
  from current k where c.name = k.name returning c.revision
"""


async def advance(connection: Connection, revision: int, xid: str, seq: int) -> bool:
    """Moves to the end of a page. Returns false when users were applied since `revision`."""
    changes = "xid = $2, seq = $3, moved_at = now()"
    return (
        await connection.fetchval(_RAISE_REVISION.format(changes=changes), revision, xid, seq)
        is not None
    )


async def restart(connection: Connection, revision: int) -> bool:
    """Restarts at the log's beginning with a full scan, after Supabase was restored."""
    changes = """
    xid = null, seq = null, moved_at = now(), resets = c.resets + 1,
    scanning = true, scan_after = null, scanned = 0
    """
    return await connection.fetchval(_RAISE_REVISION.format(changes=changes), revision) is not None


async def advance_scan(
    connection: Connection, revision: int, after: str | None, users: int
) -> bool:
    """Stores the position of the full scan; without `after` it is finished."""
    changes = """
    scanned = c.scanned + $3, scan_after = $2, scanning = $2::text is not null,
    scanned_at = case when $2::text is null then now() else c.scanned_at end
    """
    moved = await connection.fetchval(
        _RAISE_REVISION.format(changes=changes), revision, after, users
    )
    return moved is not None


async def raise_revision(connection: Connection, revision: int) -> bool:
    """Raises the revision without moving. False: users were applied since `revision`."""
    raised = await connection.fetchval(_RAISE_REVISION.format(changes="name = c.name"), revision)
    return raised is not None


async def start_scan(connection: Connection) -> None:
    """Starts a full scan from the first id."""
    await connection.execute(
        """
        update sync.cursors set scanning = true, scan_after = null, scanned = 0,
          revision = revision + 1 where name = 'supabase'
        """
    )


async def record_log_end(connection: Connection) -> None:
    """Stores that the log was read to its end; at most every 5 s, and never waits for a lock."""
    await connection.execute(
        """
        update sync.cursors set checked_at = now() where name = (select name from sync.cursors
        where name = 'supabase' and (checked_at is null or checked_at < now() - interval '5 s')
        for no key update skip locked)
        """
    )


_KNOWN: Final = """
select c.id, c.email, c.phone, c.name, c.email_verified, c.phone_verified, c.status,
       c.deletion_requested_at, c.banned_until, c.unmapped_status,
       (select array_agg(array[w.contact, w.value]) from sync.contact_conflicts w
         where w.client_id = c.id) as pending_contacts,
       exists (select from sync.blocked_before b where b.client_id = c.id) as block_seen,
       p.key is not null as pending, p.parked_at is not null as parked
  from identity.clients_public c
  left join sync.pending p on p.topic = 'client' and p.key = c.id
 where c.id = any ($1::uuid[])
"""


async def known(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, KnownClient]:
    """Returns the clients that exist, by id."""
    rows: list[Record] = await connection.fetch(_KNOWN, ids)
    return {
        row["id"]: KnownClient(
            id=row["id"],
            profile=Profile(
                row["email"],
                row["phone"],
                row["name"],
                row["email_verified"],
                row["phone_verified"],
            ),
            status=row["status"],
            deletion_requested_at=row["deletion_requested_at"],
            banned_until=row["banned_until"],
            unmapped_status=row["unmapped_status"],
            pending_contacts=dict(row["pending_contacts"] or ()),
            block_seen=row["block_seen"],
            pending=row["pending"],
            parked=row["parked"],
        )
        for row in rows
    }


async def delete_outbox_entry(connection: Connection, client_id: UUID) -> None:
    """Deletes a client's outbox entry, because its row in Supabase was deleted.

    A leased entry stays: the relay's call may create the row again, which is then corrected.
    """
    await connection.execute(
        """
        delete from sync.pending where topic = 'client' and key = $1
          and (leased_until is null or leased_until < now())
        """,
        client_id,
    )


async def record_block_before(connection: Connection, client_id: UUID) -> bool:
    """Stores that a block from before EvPower was applied. Returns false when it already was."""
    first = await connection.fetchval(
        """
        insert into sync.blocked_before (client_id) values ($1)
        on conflict do nothing returning true
        """,
        client_id,
    )
    return first is not None


async def store_pending_contacts(
    connection: Connection, client_id: UUID, contacts: Mapping[Contact, PendingContact]
) -> None:
    """Replaces the contacts the client waits for."""
    await connection.execute(
        "delete from sync.contact_conflicts where client_id = $1 and contact <> all ($2::text[])",
        client_id,
        list(contacts),
    )
    await connection.executemany(
        """
        insert into sync.contact_conflicts as k (client_id, contact, value, verified, holder)
        values ($1, $2, $3, $4, $5) on conflict (client_id, contact) do update
        set value = excluded.value, verified = excluded.verified, holder = excluded.holder,
          since = case when k.value = excluded.value then k.since else now() end
        """,
        [
            (client_id, contact, claim.value, claim.verified, claim.holder)
            for contact, claim in contacts.items()
        ],
    )


_FREE: Final = """
select k.client_id, k.contact, k.value from sync.contact_conflicts k
  join identity.clients_public w on w.id = k.client_id
 where w.status = 'closed'
    or not exists (select from identity.clients_public c where c.status <> 'closed'
                    and k.contact = 'email' and c.email_verified and c.email = k.value)
   and not exists (select from identity.clients_public c where c.status <> 'closed'
                    and k.contact = 'phone' and c.phone_verified and c.phone = k.value)
 order by k.since, k.client_id limit $1
"""


async def free_contacts(connection: Connection, limit: int) -> list[FreeContact]:
    """Returns pending contacts that no client has or that no open client needs, oldest first."""
    rows: list[Record] = await connection.fetch(_FREE, limit)
    return [FreeContact(row["client_id"], row["contact"], row["value"]) for row in rows]


async def pending_contacts(
    connection: Connection, client_id: UUID
) -> dict[Contact, PendingContact]:
    """Returns the contacts a client waits for, by kind."""
    rows: list[Record] = await connection.fetch(
        "select contact, value, verified, holder from sync.contact_conflicts where client_id = $1",
        client_id,
    )
    return {
        row["contact"]: PendingContact(row["value"], row["verified"], row["holder"]) for row in rows
    }


def pending_contacts_of(
    profile: Profile, holders: Mapping[Contact, UUID]
) -> dict[Contact, PendingContact]:
    """Returns the contacts of a profile that other clients hold, by kind."""
    contacts: dict[Contact, PendingContact] = {}
    if "email" in holders and profile.email is not None:
        contacts["email"] = PendingContact(profile.email, profile.email_verified, holders["email"])
    if "phone" in holders and profile.phone is not None:
        contacts["phone"] = PendingContact(profile.phone, profile.phone_verified, holders["phone"])
    return contacts


async def store_failed(
    connection: Connection, failed: Sequence[tuple[FailedUser, str]], next_at: Sequence[datetime]
) -> None:
    """Stores users whose change failed; a deletion or block seen earlier is preserved."""
    await connection.executemany(
        """
        insert into sync.failed_users as f
          (client_id, user_deleted, blocked_before, error, attempts, next_at)
        values ($1, $2, $3, $4, $5, $6) on conflict (client_id) do update
        set user_deleted = f.user_deleted or excluded.user_deleted, error = excluded.error,
          blocked_before = f.blocked_before or excluded.blocked_before,
          attempts = f.attempts + 1, next_at = excluded.next_at
        """,
        [
            (user.id, user.user_deleted, user.blocked_before, error, user.attempts, at)
            for (user, error), at in zip(failed, next_at, strict=True)
        ],
    )


async def delete_failed(connection: Connection, ids: Sequence[UUID]) -> None:
    """Deletes users whose change is applied now."""
    await connection.execute(
        "delete from sync.failed_users where client_id = any ($1::uuid[])", ids
    )


async def failed_among(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, FailedUser]:
    """Returns those of the users whose last change failed."""
    rows: list[Record] = await connection.fetch(
        """
        select client_id as id, user_deleted, blocked_before, attempts from sync.failed_users
        where client_id = any ($1::uuid[])
        """,
        ids,
    )
    return {row["id"]: read_row(FailedUser, row) for row in rows}


async def due_failed(connection: Connection, now: datetime, limit: int) -> list[FailedUser]:
    """Returns the users whose next attempt is due."""
    rows: list[Record] = await connection.fetch(
        """
        select client_id as id, user_deleted, blocked_before, attempts from sync.failed_users
        where next_at <= $1 order by next_at limit $2
        """,
        now,
        limit,
    )
    return [read_row(FailedUser, row) for row in rows]
