"""Applies a Supabase user's change to the client: profile, status, deletion. Never money.

The rules are the rows of conflicts.py. Applying the same user again changes nothing.
"""

from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Connection
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
from evpower.sync.inbound.store_changes import KnownClient
from evpower.sync.model import CLIENT_STATUS, DELETION_STATUSES
from evpower.sync.outbound import store

_ACTOR: Final = "supabase"
_CONTACTS: Final[tuple[Contact, Contact]] = ("email", "phone")


@dataclass(frozen=True, slots=True)
class UserResult:
    """What was done for a user. `known` is false when neither side has anything of the id.

    `contact_released`: an email or phone became free, and another client may wait for it.
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
        """The label it is counted by."""
        if not self.known:
            return "unknown"
        if self.closed:
            return "closed"
        if self.created:
            return "created"
        return "changed" if self.changed or self.sent_again else "same"


def is_same(
    remote: RemoteUser,
    known: KnownClient | None,
    *,
    user_deleted: bool = False,
    blocked_before: bool = False,
) -> bool:
    """Returns whether applying would change and count nothing, so that no lock is needed."""
    if known is None:
        return remote.row is None and remote.user is None and not user_deleted
    if known.status == "closed":
        return not (remote.alive or known.pending_contacts or _is_status_to_send(known, remote))
    return not (
        _is_deleted(remote, user_deleted=user_deleted)
        or blocked_before
        or known.pending_contacts
        or remote.unusable
        or (remote.row is None and (remote.alive or remote.user is None))
        or (_is_blocked_before(remote, blocked_before=False) and not known.block_seen)
        or (
            remote.deletion_requested is not None
            and remote.deletion_requested != bool(known.deletion_requested_at)
        )
        or profile_from(remote, known.profile) != known.profile
        or remote.unmapped_word is not None
        or known.unmapped_status is not None
        or (remote.user is not None and remote.user.banned_until != known.banned_until)
        or _is_status_to_send(known, remote)
    )


def is_new_user(remote: RemoteUser) -> bool:
    """Returns whether an unknown user needs only a new client: no block, ban or deletion."""
    return (
        (remote.row is not None or remote.alive)
        and not (remote.user is not None and (remote.user.deleted or remote.user.banned_until))
        and not remote.unusable
        and not remote.deletion_requested
        and (remote.row is None or remote.row.status != "blocked")
        and remote.unmapped_word is None
    )


async def apply_user(
    connection: Connection,
    remote: RemoteUser,
    *,
    user_deleted: bool,
    blocked_before: bool = False,
    clock: Clock = utc_now,
) -> UserResult:
    """Applies a user as Supabase has it now; the caller commits, and counts the conflicts.

    `user_deleted`: a deletion of the auth user was seen. `blocked_before`: Supabase preserved a
    block from before EvPower first wrote the row.
    """
    client = await lock_client(connection, remote.id)
    created = client is None
    conflicts: list[ConflictKind] = []
    if client is None:
        is_deleted = _is_deleted(remote, user_deleted=user_deleted)
        if remote.row is None and remote.user is None and not is_deleted:
            return UserResult(remote.id, known=False)
        # A deleted user gets a closed client without contacts: otherwise the row that is left, or a
        # token that is still valid, would create an open client later.
        profile = Profile() if is_deleted else profile_from(remote, Profile())
        created_client = await ensure(connection, remote.id, profile, "supabase")
        if created_client.origin != "supabase":  # EvPower created the client at the same moment
            conflicts.append("concurrent_create")
        elif remote.user is None and not is_deleted:
            conflicts.append("row_alone")
        client = await lock_client(connection, remote.id)
        assert client is not None  # noqa: S101 - clients are never deleted
    change = _UserChange(connection, remote, client, conflicts, clock)
    if client.status == "closed":
        await change.stay_closed()
    elif _is_deleted(remote, user_deleted=user_deleted):
        await change.close()
    else:
        # A block that EvPower wrote and lost (it was restored from a backup) is applied as well.
        await change.apply_block(blocked_before=blocked_before or created)
        await change.apply_status_word()
        await change.apply_ban()
        await change.apply_deletion()
        await change.apply_profile()
        await change.enqueue_if_needed(created=created)
    return UserResult(
        remote.id,
        created=created,
        changed=change.changed,
        closed=change.closed,
        sent_again=change.sent_again,
        contact_released=change.contact_released,
        conflicts=tuple(conflicts),
    )


class _UserChange:
    """Applies one user, step by step, to its locked client."""

    def __init__(
        self,
        connection: Connection,
        remote: RemoteUser,
        client: Client,
        conflicts: list[ConflictKind],
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._remote = remote
        self._client = client
        self._conflicts = conflicts
        self._clock = clock
        self.changed = self.closed = self.sent_again = self.contact_released = False

    async def stay_closed(self) -> None:
        if self._remote.alive:
            self._conflicts.append("closed_but_alive")
        known = await self._known_client()
        if known.pending_contacts:
            await store_changes.store_pending_contacts(self._connection, known.id, {})
        if _is_status_to_send(known, self._remote):
            await self._enqueue(known)

    async def close(self) -> None:
        """Closes the client. Money and history stay; a running session is settled when it ends."""
        self._conflicts.append("user_deleted")
        await close_client(
            self._connection,
            self._client.id,
            actor=_ACTOR,
            reason="the user was deleted in Supabase",
        )
        await store_changes.store_pending_contacts(self._connection, self._client.id, {})
        if self._remote.row is None:  # it was deleted with the user, and must not be created again
            await store_changes.delete_outbox_entry(self._connection, self._client.id)
        self.changed = self.closed = self.contact_released = True

    async def apply_block(self, *, blocked_before: bool) -> None:
        if not _is_blocked_before(self._remote, blocked_before=blocked_before):
            return
        first = await store_changes.record_block_before(self._connection, self._client.id)
        if not first or self._client.status != "active":
            return
        self._conflicts.append("blocked_before")
        self._client = await block_client(
            self._connection,
            self._client.id,
            actor=_ACTOR,
            reason="blocked in Supabase before EvPower",
        )
        self.changed = True

    async def apply_status_word(self) -> None:
        """Applies the status the row had before EvPower, in a word of the project's own."""
        word, before = self._remote.unmapped_word, self._client
        if word is not None:
            self._client = await status_words.handle(
                self._connection, before, word, self._clock, actor=_ACTOR
            )
            if self._client.unmapped_status is not None and before.unmapped_status != word:
                self._conflicts.append("status_unmapped")
        elif before.unmapped_status is not None and self._remote.row is not None:
            self._client = await set_unmapped_status(self._connection, before.id, None)
        self.changed = self.changed or self._client != before

    async def apply_ban(self) -> None:
        """Stores the ban Auth has now; a ban that has expired stays stored in Auth too."""
        user = self._remote.user
        if user is None or user.banned_until == self._client.banned_until:
            return
        self._conflicts.append("ban_changed")
        self._client = await set_ban(self._connection, self._client.id, user.banned_until)
        self.changed = True

    async def apply_deletion(self) -> None:
        is_requested, requested_at = (
            self._remote.deletion_requested,
            self._client.deletion_requested_at,
        )
        if is_requested is True and requested_at is None:
            self._conflicts.append("deletion_requested")
            row = self._remote.row
            at = row.delete_requested_at if row is not None else None
            await request_deletion(self._connection, self._client.id, at or self._clock())
            self.changed = True
        elif is_requested is False and requested_at is not None:
            self._conflicts.append("deletion_withdrawn")
            await withdraw_deletion(self._connection, self._client.id)
            self.changed = True

    async def apply_profile(self) -> None:
        if self._remote.row is None and self._remote.user is None:
            self._conflicts.append(
                "user_unknown"
            )  # Supabase may have been restored: nothing is closed
            return
        self._conflicts.extend("contact_unusable" for _ in self._remote.unusable)
        before = self._client.profile
        desired_profile = profile_from(self._remote, before)
        pending_before = await store_changes.pending_contacts(self._connection, self._client.id)
        if before == desired_profile and not pending_before:
            return
        self._client, holders = await sync_profile(self._connection, self._client, desired_profile)
        after = self._client.profile
        unavailable = store_changes.pending_contacts_of(desired_profile, holders)
        if unavailable or pending_before:
            await store_changes.store_pending_contacts(
                self._connection, self._client.id, unavailable
            )
        self._conflicts.extend(
            "contact_taken"
            for contact, claim in unavailable.items()
            if contact not in pending_before or pending_before[contact].value != claim.value
        )
        if after == before:
            return
        self.changed = True
        lost = [(before.email, after.email), (before.phone, after.phone), (before.name, after.name)]
        if any(old is not None and old != new for old, new in lost):
            self._conflicts.append("profile_differs")
        self.contact_released = _releases_contact(before, after)

    async def enqueue_if_needed(self, *, created: bool) -> None:
        """Enqueues a client whose row is missing or has another status, to be written again."""
        if created or self._client.unmapped_status is not None:
            return  # it is in the outbox already, or its status must be mapped first
        known = await self._known_client()
        if self._remote.row is None:
            if self._remote.alive:
                if not known.pending:
                    self._conflicts.append("row_gone")
                await store.enqueue(self._connection, "client", [known.id], force=True)
                self.sent_again = True
        elif _is_status_to_send(known, self._remote):
            self._conflicts.append("status_differs")
            await self._enqueue(known)

    async def _enqueue(self, known: KnownClient) -> None:
        if not known.parked:  # an operator must act first
            await store.enqueue(self._connection, "client", [known.id])
            self.sent_again = True

    async def _known_client(self) -> KnownClient:
        return (await store_changes.known(self._connection, [self._client.id]))[self._client.id]


def _is_deleted(remote: RemoteUser, *, user_deleted: bool) -> bool:
    """Returns whether the auth user was deleted: it is missing, or Auth marks it as deleted."""
    return remote.user.deleted if remote.user is not None else user_deleted


def _is_blocked_before(remote: RemoteUser, *, blocked_before: bool) -> bool:
    row = remote.row
    return row is not None and row.status == "blocked" and (blocked_before or not row.written)


def _is_status_to_send(known: KnownClient, remote: RemoteUser) -> bool:
    """Returns whether Supabase has a status that the relay would overwrite."""
    if remote.row is None:
        return False
    there = remote.row.status
    match known.status:
        case "active":  # a word EvPower does not know is overwritten too
            return there != CLIENT_STATUS["active"] and there not in DELETION_STATUSES
        case "closed":
            return there not in DELETION_STATUSES
        case _:
            return there != CLIENT_STATUS[known.status]


def profile_from(remote: RemoteUser, before: Profile) -> Profile:
    """Returns the profile by Supabase; while the row is missing, what only the row had stays.

    A row without a user gives no email or phone, because a user who can sign in may need it. What
    the client has already stays while the row has the same, for a Supabase restored without users.
    """
    theirs = remote.profile
    if remote.row is None and remote.user is None:
        return before
    if remote.user is None:
        unchanged: tuple[bool, bool] = (theirs.email == before.email, theirs.phone == before.phone)
        lost: list[Contact] = [
            contact for contact, is_same in zip(_CONTACTS, unchanged, strict=True) if not is_same
        ]
        return replace(before.without(lost), name=theirs.name)
    if remote.row is not None:
        return theirs
    return Profile(
        email=theirs.email or before.email,
        phone=theirs.phone or before.phone,
        name=theirs.name or before.name,
        email_verified=theirs.email_verified,
        phone_verified=theirs.phone_verified,
    )


def _releases_contact(before: Profile, now: Profile) -> bool:
    """Returns whether a contact became free: the client lost it, or its verification."""
    return (
        (before.email is not None and before.email != now.email)
        or (before.phone is not None and before.phone != now.phone)
        or (before.email_verified and not now.email_verified)
        or (before.phone_verified and not now.phone_verified)
    )
