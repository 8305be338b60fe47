"""All SQL of the way in: the cursor, people that failed, contacts that two claim."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, Record, fetch_one
from evpower.identity import Contact, Profile

_CURSOR: Final = "xid, seq, revision, walking, walk_after, walked, walked_at"


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the change log was taken; `revision` orders everything that takes people."""

    xid: str | None
    seq: int | None
    revision: int
    walking: bool
    walk_after: str | None
    walked: int
    walked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Known:
    """A client of EvPower as far as Supabase has a say; `waiting`: contacts another one has."""

    id: UUID
    profile: Profile
    status: str
    deletion_requested_at: datetime | None
    banned_until: datetime | None
    unmapped_status: str | None
    waiting: Mapping[Contact, str]
    block_seen: bool  # a block from before EvPower was taken over once
    pending: bool  # Supabase is about to be told of the client
    parked: bool  # Supabase was told and refused


@dataclass(frozen=True, slots=True)
class Failed:
    """Somebody whose change could not be applied."""

    id: UUID
    gone: bool
    blocked_before: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class PendingContact:
    """A contact a client waits for: whether Supabase has it verified, and who has it here."""

    value: str
    verified: bool
    holder: UUID


@dataclass(frozen=True, slots=True)
class Waiting:
    """A contact that is this client's by Supabase and was another's here."""

    client_id: UUID
    contact: Contact
    value: str


async def cursor(connection: Connection) -> Cursor:
    """Where the next reading begins."""
    row = await fetch_one(connection, f"select {_CURSOR} from sync.cursors where name = 'supabase'")
    return Cursor(**dict(row))


# Nobody waits for another's page: whoever finds the row taken has read something old.
_TAKE: Final = """
with mine as (
  select name from sync.cursors where name = 'supabase' and revision = $1
     for no key update skip locked
)
update sync.cursors c set revision = c.revision + 1, {changes}
  from mine where c.name = mine.name returning c.revision
"""


async def advance(connection: Connection, revision: int, xid: str, seq: int) -> bool:
    """Move to the end of a page; false when somebody took people since `revision`."""
    changes = "xid = $2, seq = $3, moved_at = now()"
    return await connection.fetchval(_TAKE.format(changes=changes), revision, xid, seq) is not None


async def begin_again(connection: Connection, revision: int) -> bool:
    """Supabase was restored: from the log's beginning, and everybody once more."""
    changes = """
    xid = null, seq = null, moved_at = now(), resets = c.resets + 1,
    walking = true, walk_after = null, walked = 0
    """
    return await connection.fetchval(_TAKE.format(changes=changes), revision) is not None


async def walk_on(connection: Connection, revision: int, after: str | None, people: int) -> bool:
    """Note a page of the walk; without `after` it was the last one."""
    changes = """
    walked = c.walked + $3, walk_after = $2, walking = $2::text is not null,
    walked_at = case when $2::text is null then now() else c.walked_at end
    """
    taken = await connection.fetchval(_TAKE.format(changes=changes), revision, after, people)
    return taken is not None


async def take(connection: Connection, revision: int) -> bool:
    """Take people without moving; false when somebody took people since `revision`."""
    taken = await connection.fetchval(_TAKE.format(changes="name = c.name"), revision)
    return taken is not None


async def start_walk(connection: Connection) -> None:
    """Look at everybody again, from the first id on."""
    await connection.execute(
        """
        update sync.cursors set walking = true, walk_after = null, walked = 0,
          revision = revision + 1 where name = 'supabase'
        """
    )


async def note_end(connection: Connection) -> None:
    """The log was read to its end just now; seldom written, never waited for."""
    await connection.execute(
        """
        update sync.cursors set checked_at = now() where name = (select name from sync.cursors
        where name = 'supabase' and (checked_at is null or checked_at < now() - interval '5 s')
        for no key update skip locked)
        """
    )


async def set_source(connection: Connection, state: str, error: str | None) -> None:
    """Tell other processes whether Supabase says what changed."""
    await connection.execute(
        """
        insert into sync.targets as t (name, state, error) values ('changes', $1, $2)
        on conflict (name) do update set state = excluded.state, error = excluded.error,
          since = case when t.state = excluded.state then t.since else now() end
        """,
        state,
        error,
    )


_KNOWN: Final = """
select c.id, c.email, c.phone, c.name, c.email_verified, c.phone_verified, c.status,
       c.deletion_requested_at, c.banned_until, c.unmapped_status,
       (select array_agg(array[w.contact, w.value]) from sync.contact_conflicts w
         where w.client_id = c.id) as waiting,
       exists (select from sync.blocked_before b where b.client_id = c.id) as block_seen,
       p.key is not null as pending, p.parked_at is not null as parked
  from identity.clients c
  left join sync.pending p on p.topic = 'client' and p.key = c.id
 where c.id = any ($1::uuid[])
"""


async def known(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Known]:
    """What EvPower has of these."""
    rows: list[Record] = await connection.fetch(_KNOWN, ids)
    return {
        row["id"]: Known(
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
            waiting=dict(row["waiting"] or ()),
            block_seen=row["block_seen"],
            pending=row["pending"],
            parked=row["parked"],
        )
        for row in rows
    }


async def unmark(connection: Connection, client_id: UUID) -> None:
    """There is no row in Supabase to write this client into any more.

    Not while a relay is sending what it read before: that makes a row, which is then corrected.
    """
    await connection.execute(
        """
        delete from sync.pending where topic = 'client' and key = $1
          and (leased_until is null or leased_until < now())
        """,
        client_id,
    )


async def adopt_block(connection: Connection, client_id: UUID) -> bool:
    """Remember that the block from before EvPower was seen; false when it was before."""
    first = await connection.fetchval(
        """
        insert into sync.blocked_before (client_id) values ($1)
        on conflict do nothing returning true
        """,
        client_id,
    )
    return first is not None


async def keep_contacts(
    connection: Connection, client_id: UUID, wanted: Mapping[Contact, PendingContact]
) -> None:
    """Make these the contacts the client waits for."""
    await connection.execute(
        "delete from sync.contact_conflicts where client_id = $1 and contact <> all ($2::text[])",
        client_id,
        list(wanted),
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
            for contact, claim in wanted.items()
        ],
    )


_FREE: Final = """
select k.client_id, k.contact, k.value from sync.contact_conflicts k
  join identity.clients w on w.id = k.client_id
 where w.status = 'closed'
    or not exists (select from identity.clients c where c.status <> 'closed'
                    and k.contact = 'email' and c.email_verified and c.email = k.value)
   and not exists (select from identity.clients c where c.status <> 'closed'
                    and k.contact = 'phone' and c.phone_verified and c.phone = k.value)
 order by k.since, k.client_id limit $1
"""


async def free_contacts(connection: Connection, limit: int) -> list[Waiting]:
    """Contacts nobody has any more, or wants any more; who waits longest first."""
    rows: list[Record] = await connection.fetch(_FREE, limit)
    return [Waiting(row["client_id"], row["contact"], row["value"]) for row in rows]


async def waits_for(connection: Connection, client_id: UUID) -> dict[Contact, PendingContact]:
    """The contacts a client waits for, by kind."""
    rows: list[Record] = await connection.fetch(
        "select contact, value, verified, holder from sync.contact_conflicts where client_id = $1",
        client_id,
    )
    return {
        row["contact"]: PendingContact(row["value"], row["verified"], row["holder"]) for row in rows
    }


def waits_of(wanted: Profile, taken: Mapping[Contact, UUID]) -> dict[Contact, PendingContact]:
    """The contacts of a profile that others have, by kind."""
    claims: dict[Contact, PendingContact] = {}
    if "email" in taken and wanted.email is not None:
        claims["email"] = PendingContact(wanted.email, wanted.email_verified, taken["email"])
    if "phone" in taken and wanted.phone is not None:
        claims["phone"] = PendingContact(wanted.phone, wanted.phone_verified, taken["phone"])
    return claims


async def keep_failed(
    connection: Connection, failed: Sequence[tuple[Failed, str]], next_at: Sequence[datetime]
) -> None:
    """Remember whom a change could not be applied to; what was known of them stays known."""
    await connection.executemany(
        """
        insert into sync.failed_people as f
          (client_id, gone, blocked_before, error, attempts, next_at)
        values ($1, $2, $3, $4, $5, $6) on conflict (client_id) do update
        set gone = f.gone or excluded.gone, error = excluded.error,
          blocked_before = f.blocked_before or excluded.blocked_before,
          attempts = f.attempts + 1, next_at = excluded.next_at
        """,
        [
            (one.id, one.gone, one.blocked_before, error, one.attempts, at)
            for (one, error), at in zip(failed, next_at, strict=True)
        ],
    )


async def forget_failed(connection: Connection, ids: Sequence[UUID]) -> None:
    """They are applied now."""
    await connection.execute(
        "delete from sync.failed_people where client_id = any ($1::uuid[])", ids
    )


async def failed_among(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Failed]:
    """Those of these that could not be applied last time."""
    rows: list[Record] = await connection.fetch(
        """
        select client_id, gone, blocked_before, attempts from sync.failed_people
        where client_id = any ($1::uuid[])
        """,
        ids,
    )
    return {row["client_id"]: Failed(*row) for row in rows}


async def due_failed(connection: Connection, now: datetime, limit: int) -> list[Failed]:
    """Whom to try again."""
    rows: list[Record] = await connection.fetch(
        """
        select client_id, gone, blocked_before, attempts from sync.failed_people
        where next_at <= $1 order by next_at limit $2
        """,
        now,
        limit,
    )
    return [Failed(*row) for row in rows]
