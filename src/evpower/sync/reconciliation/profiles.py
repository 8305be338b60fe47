"""Compares profiles: email, phone, name, deletion. Supabase is right; a repair is apply_user()."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast
from uuid import UUID

import orjson

from evpower.foundation.backoff import Backoff
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.identity import Profile
from evpower.sync.errors import TargetUnavailable
from evpower.sync.inbound import conflicts, store_changes, store_status_words
from evpower.sync.inbound.apply_user import profile_from
from evpower.sync.inbound.apply_users import BatchResult, apply_users
from evpower.sync.inbound.assign_contacts import assign_free_contacts
from evpower.sync.inbound.remote_users import RemoteUser, parse_all
from evpower.sync.inbound.store_changes import KnownClient
from evpower.sync.reconciliation.drift import Drift, DriftKind
from evpower.sync.supabase_rpc import Rpc

_BATCH: Final = 100  # users applied in one transaction
_TRIES: Final = 8
_RETRY: Final = Backoff(0.02, 5.0)


@dataclass(frozen=True, slots=True)
class ProfileSide:
    """A profile of one side, masked: it is stored for months, and must not identify a user."""

    email: str | None
    phone: str | None
    name: str | None
    deletion_requested: bool
    status: str | None
    user: bool | None = None  # whether a user can sign in; None on EvPower's side


async def differing(db: Database, rpc: Rpc, ids: Sequence[UUID]) -> dict[str, Drift]:
    """Returns the users whose sides differ now, notices included, by id."""
    differences: dict[str, Drift] = {}
    for start in range(0, len(ids), 1000):
        part = ids[start : start + 1000]
        users = {user.id: user for user in await read(rpc, part)}
        async with db.connection() as connection:
            known = await store_changes.known(connection, part)
        for user_id in part:
            drift = judge(known.get(user_id), users.get(user_id) or RemoteUser(user_id))
            if drift is not None:
                differences[str(user_id)] = drift
    return differences


async def read(rpc: Rpc, ids: Sequence[UUID]) -> list[RemoteUser]:
    """Returns the users as Supabase has them."""
    body = orjson.dumps({"payload": {"ids": [str(user_id) for user_id in ids]}})
    response = await rpc.call("evpower_people", body)
    try:
        return parse_all(cast("Mapping[str, object]", response)["people"])
    except (KeyError, TypeError, ValueError) as error:
        raise TargetUnavailable("evpower_people returned an unknown form") from error


async def unapplied(db: Database, rpc: Rpc) -> set[str]:
    """Returns ids with changes in Supabase's log not applied yet; of the first 1,000 changes."""
    async with db.connection() as connection:
        cursor = await store_changes.cursor(connection)
    after = {"xid": cursor.xid, "seq": cursor.seq} if cursor.xid is not None else None
    response = await rpc.call(
        "evpower_changes", orjson.dumps({"payload": {"after": after, "limit": 1000}})
    )
    try:
        fields = cast("Mapping[str, object]", response)
        changes = cast("list[Mapping[str, object]]", fields["changes"])
        return {str(change["id"]) for change in changes}
    except (KeyError, TypeError) as error:
        raise TargetUnavailable("evpower_changes returned an unknown form") from error


def judge(known: KnownClient | None, remote: RemoteUser) -> Drift | None:
    """Returns what differs; None: nothing. Of a closed client Supabase has no contact or name."""
    key = str(remote.id)
    if known is None:
        # An anonymous user is no client; where the settings allow it, tokens and the puller create
        # one.
        is_new = (remote.row is not None or remote.alive) and not remote.anonymous
        return Drift("profile", key, "unseen", None, _theirs(remote)) if is_new else None
    if known.status == "closed":
        if remote.row is None or not remote.row.filled:
            return None
        ours = _side(Profile(), known.status, deletion_requested=False)
        return Drift("profile", key, "closed_contact", ours, _theirs(remote), remote.row.filled)
    kind, fields = _compare(known, remote)
    if kind is None:
        return None
    is_requested = known.deletion_requested_at is not None
    ours = _side(known.profile, known.status, deletion_requested=is_requested)
    return Drift("profile", key, kind, ours, _theirs(remote), fields)


def _compare(known: KnownClient, remote: RemoteUser) -> tuple[DriftKind | None, tuple[str, ...]]:
    differing, unavailable = _profile(known, remote)
    if differing:
        return "profile", differing
    if field := _deletion(known, remote):
        return "deletion", (field,)
    row = remote.row
    blocked_before = row is not None and row.status == "blocked" and not row.written
    if blocked_before and known.status == "active" and not known.block_seen:
        return "block", ("status",)
    if not remote.alive:
        return "userless", ("user",)
    if unavailable:
        return "contact_taken", unavailable
    return ("email_apart", ("email",)) if _has_two_emails(remote) else (None, ())


def _profile(known: KnownClient, remote: RemoteUser) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the fields that differ, and the contacts that another client has."""
    differing: list[str] = []
    unavailable: list[str] = []
    pending: dict[str, str] = {**known.pending_contacts}
    theirs = profile_from(remote, known.profile)
    for name in ("email", "phone", "name"):
        ours, their_value = getattr(known.profile, name), getattr(theirs, name)
        if their_value == ours:
            if getattr(known.profile, f"{name}_verified", None) != getattr(
                theirs, f"{name}_verified", None
            ):
                differing.append(f"{name}_verified")
            continue
        is_pending = ours is None and pending.get(name) == their_value
        (unavailable if is_pending else differing).append(name)
    if remote.user is not None and remote.user.banned_until != known.banned_until:
        differing.append("banned_until")
    return tuple(differing), tuple(unavailable)


def _deletion(known: KnownClient, remote: RemoteUser) -> str | None:
    if remote.user is not None and remote.user.deleted:
        return "user"
    is_requested = known.deletion_requested_at is not None
    differs = remote.deletion_requested not in {None, is_requested}
    return "deletion_requested" if differs else None


def _has_two_emails(remote: RemoteUser) -> bool:
    """Returns whether the row and the user in Supabase have different emails."""
    if remote.row is None or remote.user is None:
        return False
    return len({remote.row.profile.email, remote.user.profile.email} - {None}) > 1


def _theirs(remote: RemoteUser) -> ProfileSide:
    status = remote.row.status if remote.row is not None else None
    is_requested = remote.deletion_requested is True
    return _side(remote.profile, status, deletion_requested=is_requested, user=remote.alive)


def _side(
    profile: Profile, status: str | None, *, deletion_requested: bool, user: bool | None = None
) -> ProfileSide:
    return ProfileSide(
        email=_masked_email(profile.email),
        phone=_masked_phone(profile.phone),
        name=_masked(profile.name),
        deletion_requested=deletion_requested,
        status=status,
        user=user,
    )


def _masked(text: str | None) -> str | None:
    return f"{text[0]}***" if text else None


def _masked_email(email: str | None) -> str | None:
    return f"{email[0]}***@{email.partition('@')[2]}" if email else None


def _masked_phone(phone: str | None) -> str | None:
    return f"{phone[:4]}***{phone[-3:]}" if phone else None


async def apply_current(db: Database, rpc: Rpc, ids: Sequence[UUID]) -> set[UUID]:
    """Applies users as Supabase has them now. Returns those that were applied.

    When the puller applies users in the meantime, the read is too old and is repeated.
    """
    done: set[UUID] = set()
    contact_released = False
    for start in range(0, len(ids), _BATCH):
        part = ids[start : start + _BATCH]
        for attempt in range(1, _TRIES + 1):
            batch = await _apply_once(db, rpc, part)
            if batch is not None:
                done |= set(part) - {failed.id for failed in batch.failed}
                contact_released = contact_released or any(
                    result.contact_released for result in batch.results
                )
                break
            await asyncio.sleep(_RETRY.pause_s(attempt))
    if contact_released:
        await assign_free_contacts(db)
    return done


async def _apply_once(db: Database, rpc: Rpc, ids: Sequence[UUID]) -> BatchResult | None:
    async with db.connection() as connection:
        revision = (await store_changes.cursor(connection)).revision
    users = await read(rpc, ids)
    async with db.transaction() as connection:
        if not await store_changes.raise_revision(connection, revision):
            return None
        batch = await apply_users(
            connection,
            users,
            deleted_users=(),
            blocked_before=(),
            clock=utc_now,
            jitter=random.random,
        )
    for result in batch.results:
        conflicts.count(result.conflicts)
    return batch


async def apply_status_word(db: Database, rpc: Rpc, word: str) -> int:
    """Applies all clients that wait for a mapped status word, as Supabase has them now.

    Returns how many. When Supabase fails, the rest is applied when the puller next reads those
    clients, or by the next call.
    """
    handled = 0
    while True:
        async with db.connection() as connection:
            clients = await store_status_words.waiting(connection, word, _BATCH)
        if not clients:
            return handled
        done = await apply_current(db, rpc, clients)
        handled += len(done)
        if len(done) < len(clients):  # the puller tries the others again
            return handled
