"""What a person in Supabase means for EvPower: the client, the profile, deletion. Never money.

The rules are the rows of conflicts.py. To accept the same person again changes nothing.
"""

from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Connection, Database
from evpower.identity import (
    Client,
    Contact,
    Profile,
    block_client,
    close_client,
    ensure,
    lock_client,
    request_deletion,
    set_ban,
    set_unmapped_status,
    sync_profile,
    withdraw_deletion,
)
from evpower.sync.inbound import status_words, store_changes
from evpower.sync.inbound.conflicts import ConflictKind
from evpower.sync.inbound.remote_users import RemoteUser
from evpower.sync.inbound.store_changes import Known
from evpower.sync.model import CLIENT_STATUS, ON_THE_WAY_OUT
from evpower.sync.outbound import store

_ACTOR: Final = "supabase"
_SETTLED_AT_ONCE: Final = 100
_CONTACTS: Final[tuple[Contact, Contact]] = ("email", "phone")


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a person. `known` is false for somebody EvPower need not know.

    `contact_released`: an email or phone became free, another client may wait for it.
    """

    client_id: UUID
    known: bool = True
    created: bool = False
    changed: bool = False
    closed: bool = False
    sent_again: bool = False
    contact_released: bool = False
    conflicts: tuple[ConflictKind, ...] = ()

    @property
    def outcome(self) -> str:
        """One word, for counting."""
        if not self.known:
            return "unknown"
        if self.closed:
            return "closed"
        if self.created:
            return "created"
        return "changed" if self.changed or self.sent_again else "same"


def is_same(
    person: RemoteUser, known: Known | None, *, gone: bool = False, blocked_before: bool = False
) -> bool:
    """Whether accepting would change and count nothing: no transaction, no lock is needed."""
    if known is None:
        return person.row is None and person.user is None and not gone
    if known.status == "closed":
        return not (person.alive or known.waiting or _is_status_to_send(known, person))
    return not (
        _is_dead(person, gone=gone)
        or blocked_before
        or known.waiting
        or person.unusable
        or (person.row is None and (person.alive or person.user is None))
        or (_is_blocked_before(person, blocked_before=False) and not known.block_seen)
        or (person.leaving is not None and person.leaving != bool(known.deletion_requested_at))
        or wanted(person, known.profile) != known.profile
        or person.unknown_word is not None
        or known.unmapped_status is not None
        or (person.user is not None and person.user.banned_until != known.banned_until)
        or _is_status_to_send(known, person)
    )


def is_new_user(person: RemoteUser) -> bool:
    """Whether a person EvPower does not know is a client and a wallet, and nothing else."""
    return (
        (person.row is not None or person.alive)
        and not (person.user is not None and (person.user.deleted or person.user.banned_until))
        and not person.unusable
        and not person.leaving
        and (person.row is None or person.row.status != "blocked")
        and person.unknown_word is None
    )


async def accept(
    connection: Connection,
    person: RemoteUser,
    *,
    gone: bool,
    blocked_before: bool = False,
    clock: Clock = utc_now,
) -> Accepted:
    """Apply a person as Supabase has them now; the caller commits, and counts the conflicts.

    `gone`: a deletion of the auth user was seen. `blocked_before`: Supabase kept a block that was
    there before EvPower first wrote the row.
    """
    client = await lock_client(connection, person.id)
    created = client is None
    met: list[ConflictKind] = []
    if client is None:
        dead = _is_dead(person, gone=gone)
        if person.row is None and person.user is None and not dead:
            return Accepted(person.id, known=False)
        # A deleted user is kept in mind, closed and nameless: the row that was left behind, or a
        # token that is still good, must not make an open client later.
        profile = Profile() if dead else wanted(person, Profile())
        made = await ensure(connection, person.id, profile, "supabase")
        if made.origin != "supabase":  # EvPower was faster by a moment
            met.append("born_twice")
        elif person.user is None and not dead:
            met.append("row_alone")
        client = await lock_client(connection, person.id)
        assert client is not None  # noqa: S101 - clients are never deleted
    work = _Work(connection, person, client, met, clock)
    if client.status == "closed":
        await work.stay_closed()
    elif _is_dead(person, gone=gone):
        await work.close()
    else:
        # A block EvPower wrote and does not remember (it was restored from a backup) is one too.
        await work.take_block(blocked_before=blocked_before or created)
        await work.take_status_word()
        await work.take_ban()
        await work.take_deletion()
        await work.take_profile()
        await work.send_what_is_ours(created=created)
    return Accepted(
        person.id,
        created=created,
        changed=work.changed,
        closed=work.closed,
        sent_again=work.sent_again,
        contact_released=work.contact_released,
        conflicts=tuple(met),
    )


class _Work:
    """One locked client on its way to what Supabase says."""

    def __init__(
        self,
        connection: Connection,
        person: RemoteUser,
        client: Client,
        met: list[ConflictKind],
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._person = person
        self._client = client
        self._met = met
        self._clock = clock
        self.changed = self.closed = self.sent_again = self.contact_released = False

    async def stay_closed(self) -> None:
        if self._person.alive:
            self._met.append("closed_but_alive")
        known = await self._known()
        if known.waiting:
            await store_changes.keep_contacts(self._connection, known.id, {})
        if _is_status_to_send(known, self._person):
            await self._send(known)

    async def close(self) -> None:
        """Money and history stay; what is running here is settled when it ends."""
        self._met.append("user_deleted")
        await close_client(
            self._connection,
            self._client.id,
            actor=_ACTOR,
            reason="the user was deleted in Supabase",
        )
        await store_changes.keep_contacts(self._connection, self._client.id, {})
        if self._person.row is None:  # it went with the user; it is not made again for nothing
            await store_changes.unmark(self._connection, self._client.id)
        self.changed = self.closed = self.contact_released = True

    async def take_block(self, *, blocked_before: bool) -> None:
        if not _is_blocked_before(self._person, blocked_before=blocked_before):
            return
        first = await store_changes.adopt_block(self._connection, self._client.id)
        if not first or self._client.status != "active":
            return
        self._met.append("blocked_before")
        self._client = await block_client(
            self._connection,
            self._client.id,
            actor=_ACTOR,
            reason="blocked in Supabase before EvPower",
        )
        self.changed = True

    async def take_status_word(self) -> None:
        """What the row said before EvPower, in a word of the project's own."""
        word, before = self._person.unknown_word, self._client
        if word is not None:
            self._client = await status_words.handle(
                self._connection, before, word, self._clock, actor=_ACTOR
            )
            if self._client.unmapped_status is not None and before.unmapped_status != word:
                self._met.append("status_unmapped")
        elif before.unmapped_status is not None and self._person.row is not None:
            self._client = await set_unmapped_status(self._connection, before.id, None)
        self.changed = self.changed or self._client != before

    async def take_ban(self) -> None:
        """Store the ban Auth has now. One that ends by its time changes nothing in Auth either."""
        user = self._person.user
        if user is None or user.banned_until == self._client.banned_until:
            return
        self._met.append("ban_changed")
        self._client = await set_ban(self._connection, self._client.id, user.banned_until)
        self.changed = True

    async def take_deletion(self) -> None:
        leaving, asked_at = self._person.leaving, self._client.deletion_requested_at
        if leaving is True and asked_at is None:
            self._met.append("deletion_requested")
            row = self._person.row
            at = row.delete_requested_at if row is not None else None
            await request_deletion(self._connection, self._client.id, at or self._clock())
            self.changed = True
        elif leaving is False and asked_at is not None:
            self._met.append("deletion_withdrawn")
            await withdraw_deletion(self._connection, self._client.id)
            self.changed = True

    async def take_profile(self) -> None:
        if self._person.row is None and self._person.user is None:
            self._met.append("user_unknown")  # a restored Supabase, perhaps: nothing is concluded
            return
        self._met.extend("contact_unusable" for _ in self._person.unusable)
        before = self._client.profile
        desired_profile = wanted(self._person, before)
        waiting = await store_changes.waits_for(self._connection, self._client.id)
        if before == desired_profile and not waiting:
            return
        self._client, taken = await sync_profile(self._connection, self._client, desired_profile)
        now = self._client.profile
        kept = store_changes.waits_of(desired_profile, taken)
        if kept or waiting:
            await store_changes.keep_contacts(self._connection, self._client.id, kept)
        self._met.extend(
            "contact_taken"
            for contact, claim in kept.items()
            if contact not in waiting or waiting[contact].value != claim.value
        )
        if now == before:
            return
        self.changed = True
        lost = [(before.email, now.email), (before.phone, now.phone), (before.name, now.name)]
        if any(old is not None and old != new for old, new in lost):
            self._met.append("profile_differs")
        self.contact_released = _lets_go(before, now)

    async def send_what_is_ours(self, *, created: bool) -> None:
        """The row that is gone, or says another status, is written again by the relay."""
        if created or self._client.unmapped_status is not None:  # on its way, or it must wait
            return
        known = await self._known()
        if self._person.row is None:
            if self._person.alive:
                if not known.pending:
                    self._met.append("row_gone")
                await store.mark(self._connection, "client", [known.id], force=True)
                self.sent_again = True
        elif _is_status_to_send(known, self._person):
            self._met.append("status_differs")
            await self._send(known)

    async def _send(self, known: Known) -> None:
        if not known.parked:  # a person must look at that first
            await store.mark(self._connection, "client", [known.id])
            self.sent_again = True

    async def _known(self) -> Known:
        return (await store_changes.known(self._connection, [self._client.id]))[self._client.id]


async def give_free_contacts(db: Database) -> list[UUID]:
    """Give emails and phones that were let go to those who wait; answers who got one.

    What they wait for is what Supabase said when they were last accepted, and is read after their
    client is locked, as accepting locks it.
    """
    async with db.connection() as connection:
        free = await store_changes.free_contacts(connection, _SETTLED_AT_ONCE)
    got: list[UUID] = []
    for one in free:
        async with db.transaction() as connection:
            client = await lock_client(connection, one.client_id)
            assert client is not None  # noqa: S101 - clients are never deleted
            waiting = await store_changes.waits_for(connection, client.id)
            if client.status == "closed":
                await store_changes.keep_contacts(connection, client.id, {})
                continue
            desired_profile = client.profile
            if "email" in waiting:
                email = waiting["email"]
                desired_profile = replace(
                    desired_profile, email=email.value, email_verified=email.verified
                )
            if "phone" in waiting:
                phone = waiting["phone"]
                desired_profile = replace(
                    desired_profile, phone=phone.value, phone_verified=phone.verified
                )
            now, taken = await sync_profile(connection, client, desired_profile)
            kept = store_changes.waits_of(desired_profile, taken)
            await store_changes.keep_contacts(connection, client.id, kept)
            if now != client:
                got.append(client.id)
    return got


def _is_dead(person: RemoteUser, *, gone: bool) -> bool:
    """Deleted for good: the row of the user is gone, or Auth keeps it as deleted."""
    return person.user.deleted if person.user is not None else gone


def _is_blocked_before(person: RemoteUser, *, blocked_before: bool) -> bool:
    row = person.row
    return row is not None and row.status == "blocked" and (blocked_before or not row.written)


def _is_status_to_send(known: Known, person: RemoteUser) -> bool:
    """Whether Supabase says a status that the relay would write over."""
    if person.row is None:
        return False
    there = person.row.status
    match known.status:
        case "active":  # what is no word of EvPower's is written over too
            return there != CLIENT_STATUS["active"] and there not in ON_THE_WAY_OUT
        case "closed":
            return there not in ON_THE_WAY_OUT
        case _:
            return there != CLIENT_STATUS[known.status]


def wanted(person: RemoteUser, before: Profile) -> Profile:
    """The profile Supabase gives; while the row is missing, what only the row said stays.

    A row nobody can sign in to gives no email or phone: a person who lives may need it. What is
    held already stays while the row says the same, for a Supabase restored without its users.
    """
    said = person.profile
    if person.row is None and person.user is None:
        return before
    if person.user is None:
        same: tuple[bool, bool] = (said.email == before.email, said.phone == before.phone)
        lost: list[Contact] = [
            contact for contact, is_same in zip(_CONTACTS, same, strict=True) if not is_same
        ]
        return replace(before.without(lost), name=said.name)
    if person.row is not None:
        return said
    return Profile(
        email=said.email or before.email,
        phone=said.phone or before.phone,
        name=said.name or before.name,
        email_verified=said.email_verified,
        phone_verified=said.phone_verified,
    )


def _lets_go(before: Profile, now: Profile) -> bool:
    """Whether others may have a contact now that was this client's, or verified by this client."""
    return (
        (before.email is not None and before.email != now.email)
        or (before.phone is not None and before.phone != now.phone)
        or (before.email_verified and not now.email_verified)
        or (before.phone_verified and not now.phone_verified)
    )
