"""Profiles compared: email, phone, name, deletion. Supabase is right, and taking it is accept()."""

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
from evpower.sync.inbound import conflicts, store_changes
from evpower.sync.inbound.apply_user import give_free_contacts, wanted
from evpower.sync.inbound.apply_users import UserResult, take_people
from evpower.sync.inbound.remote_users import RemoteUser, parse_all
from evpower.sync.inbound.store_changes import Known
from evpower.sync.reconciliation.drift import Drift, DriftKind
from evpower.sync.supabase_rpc import Rpc

_TOGETHER: Final = 100  # taken in one transaction
_TRIES: Final = 8
_RETRY: Final = Backoff(0.02, 5.0)


@dataclass(frozen=True, slots=True)
class ProfileSide:
    """A person in short, as one side has them: kept for long, so nobody is recognised by it."""

    email: str | None
    phone: str | None
    name: str | None
    leaving: bool
    status: str | None
    user: bool | None = None  # whether somebody can sign in; EvPower does not know


async def differing(db: Database, rpc: Rpc, ids: Sequence[UUID]) -> dict[str, Drift]:
    """People whose sides differ now, and those worth a notice."""
    found: dict[str, Drift] = {}
    for start in range(0, len(ids), 1000):
        part = ids[start : start + 1000]
        people = {person.id: person for person in await read(rpc, part)}
        async with db.connection() as connection:
            known = await store_changes.known(connection, part)
        for one in part:
            drift = judge(known.get(one), people.get(one) or RemoteUser(one))
            if drift is not None:
                found[str(one)] = drift
    return found


async def read(rpc: Rpc, ids: Sequence[UUID]) -> list[RemoteUser]:
    """What Supabase has of these people."""
    body = orjson.dumps({"payload": {"ids": [str(one) for one in ids]}})
    answer = await rpc.call("evpower_people", body)
    try:
        return parse_all(cast("Mapping[str, object]", answer)["people"])
    except (KeyError, TypeError, ValueError) as error:
        raise TargetUnavailable("evpower_people answered in an unknown form") from error


async def on_the_way(db: Database, rpc: Rpc) -> set[str]:
    """Whose changes lie in Supabase's log and were not taken yet; of a long log its beginning."""
    async with db.connection() as connection:
        at = await store_changes.cursor(connection)
    after = {"xid": at.xid, "seq": at.seq} if at.xid is not None else None
    answer = await rpc.call(
        "evpower_changes", orjson.dumps({"payload": {"after": after, "limit": 1000}})
    )
    try:
        fields = cast("Mapping[str, object]", answer)
        changes = cast("list[Mapping[str, object]]", fields["changes"])
        return {str(one["id"]) for one in changes}
    except (KeyError, TypeError) as error:
        raise TargetUnavailable("evpower_changes answered in an unknown form") from error


def judge(known: Known | None, person: RemoteUser) -> Drift | None:
    """Say what differs; None: nothing does. A closed client has no profile to keep."""
    key = str(person.id)
    if known is None:
        # An anonymous user is no client; where settings say otherwise, tokens and the puller do it.
        seen = (person.row is not None or person.alive) and not person.anonymous
        return Drift("profile", key, "unseen", None, _theirs(person)) if seen else None
    if known.status == "closed":
        return None
    kind, fields = _compare(known, person)
    if kind is None:
        return None
    asked = known.deletion_requested_at is not None
    ours = _side(known.profile, known.status, leaving=asked)
    return Drift("profile", key, kind, ours, _theirs(person), fields)


def _compare(known: Known, person: RemoteUser) -> tuple[DriftKind | None, tuple[str, ...]]:
    wrong, taken = _profile(known, person)
    if wrong:
        return "profile", wrong
    if field := _deletion(known, person):
        return "deletion", (field,)
    row = person.row
    blocked_before = row is not None and row.status == "blocked" and not row.written
    if blocked_before and known.status == "active" and not known.block_seen:
        return "block", ("status",)
    if not person.alive:
        return "userless", ("user",)
    if taken:
        return "contact_taken", taken
    return ("email_apart", ("email",)) if _has_two_emails(person) else (None, ())


def _profile(known: Known, person: RemoteUser) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What says something else, and what another client has."""
    wrong: list[str] = []
    taken: list[str] = []
    waiting: dict[str, str] = {**known.waiting}
    said = wanted(person, known.profile)
    for name in ("email", "phone", "name"):
        ours, value = getattr(known.profile, name), getattr(said, name)
        if value == ours:
            if getattr(known.profile, f"{name}_verified", None) != getattr(
                said, f"{name}_verified", None
            ):
                wrong.append(f"{name}_verified")
            continue
        waits = ours is None and waiting.get(name) == value
        (taken if waits else wrong).append(name)
    if person.user is not None and person.user.banned_until != known.banned_until:
        wrong.append("banned_until")
    return tuple(wrong), tuple(taken)


def _deletion(known: Known, person: RemoteUser) -> str | None:
    if person.user is not None and person.user.deleted:
        return "user"
    asked = known.deletion_requested_at is not None
    return "leaving" if person.leaving is not None and person.leaving != asked else None


def _has_two_emails(person: RemoteUser) -> bool:
    """Whether the row and the user of Supabase itself disagree."""
    if person.row is None or person.user is None:
        return False
    return len({person.row.profile.email, person.user.profile.email} - {None}) > 1


def _theirs(person: RemoteUser) -> ProfileSide:
    status = person.row.status if person.row is not None else None
    return _side(person.profile, status, leaving=person.leaving is True, user=person.alive)


def _side(
    said: Profile, status: str | None, *, leaving: bool, user: bool | None = None
) -> ProfileSide:
    return ProfileSide(
        email=_masked_email(said.email),
        phone=_masked_phone(said.phone),
        name=_masked(said.name),
        leaving=leaving,
        status=status,
        user=user,
    )


def _masked(text: str | None) -> str | None:
    return f"{text[0]}***" if text else None


def _masked_email(email: str | None) -> str | None:
    return f"{email[0]}***@{email.partition('@')[2]}" if email else None


def _masked_phone(phone: str | None) -> str | None:
    return f"{phone[:4]}***{phone[-3:]}" if phone else None


async def take(db: Database, rpc: Rpc, ids: Sequence[UUID]) -> set[UUID]:
    """Accept these people as Supabase has them now; answers whom it worked for.

    What the puller takes meanwhile makes our reading old: it is read again.
    """
    done: set[UUID] = set()
    contact_released = False
    for start in range(0, len(ids), _TOGETHER):
        part = ids[start : start + _TOGETHER]
        for attempt in range(1, _TRIES + 1):
            taken = await _take(db, rpc, part)
            if taken is not None:
                done |= set(part) - {one.id for one in taken.failed}
                contact_released = contact_released or any(
                    one.contact_released for one in taken.accepted
                )
                break
            await asyncio.sleep(_RETRY.pause_s(attempt))
    if contact_released:
        await give_free_contacts(db)
    return done


async def _take(db: Database, rpc: Rpc, ids: Sequence[UUID]) -> UserResult | None:
    async with db.connection() as connection:
        revision = (await store_changes.cursor(connection)).revision
    people = await read(rpc, ids)
    async with db.transaction() as connection:
        if not await store_changes.take(connection, revision):
            return None
        taken = await take_people(
            connection, people, gone=(), blocked_before=(), clock=utc_now, jitter=random.random
        )
    for one in taken.accepted:
        conflicts.count(one.conflicts)
    return taken
