"""Everybody Supabase knows, and what each says their email and phone are, proven or not.

A contact is proven when Auth has it confirmed, EvPower did not merely say so (decision 0009), and
somebody vouches for it (identity.proof). The last evpower_people can't tell: that is asked of the
admin API. What stands in user_metadata or in a profile is the user's own word and proves nothing.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, Protocol, TypeVar, cast
from uuid import UUID

import orjson
import structlog

from evpower.client_migration.model import RowRefused
from evpower.foundation.backoff import Backoff
from evpower.foundation.clock import Sleep
from evpower.foundation.errors import Unavailable
from evpower.identity.contact import normal_email, phone_as_typed, phone_from_auth
from evpower.identity.model import Contact
from evpower.identity.supabase_admin import SupabaseAdmin
from evpower.identity.verification import trusted_contacts

PER_PAGE: Final = 1000
_ATTEMPTS: Final = 8  # some two minutes: a plan reads for many, and keeps nothing until its end
_RETRY: Final = Backoff(1.0, 30.0)
_log: Final = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ContactClaim:
    """That somebody has this email or phone; `typed`: in a profile, where anybody may write it."""

    kind: Contact
    value: str
    proven: bool
    typed: bool = False


@dataclass(frozen=True, slots=True)
class KnownUser:
    """A user of Supabase Auth, or a row of its clients alone."""

    id: UUID
    is_user: bool
    deleted: bool
    claims: tuple[ContactClaim, ...]


KnownUsers = AsyncIterator[Sequence[KnownUser]]


class UsersRpc(Protocol):
    """Calls one function of the Supabase project."""

    async def call(self, function: str, body: bytes) -> object:
        """Answer the parsed JSON."""
        ...


async def people_by_rpc(
    rpc: UsersRpc,
    *,
    limit: int = PER_PAGE,
    passing: type[Exception] = Unavailable,
    sleep: Sleep = asyncio.sleep,
) -> KnownUsers:
    """Walk users and clients by id, by the project's own function.

    A page that fails by `passing` is asked for again for a while, but for the first: then nothing
    is lost. What it says is proven is confirmed: whether anybody vouches for it, only the admin
    API tells.
    """
    after: str | None = None
    while True:
        body = orjson.dumps({"payload": {"after": after, "limit": limit}})
        once = after is None
        raw = await _retried(
            lambda sent=body: rpc.call("evpower_people", sent), passing, sleep, once=once
        )
        try:
            answer = cast("Mapping[str, object]", raw)
            records = cast("Sequence[Mapping[str, object]]", answer["people"])
            yield [person for record in records if (person := of_project(record)) is not None]
            after = cast("str | None", answer["next"])
        except (KeyError, TypeError, AttributeError) as error:
            raise RowRefused(
                "supabase_unavailable", "evpower_people answered in an unknown form"
            ) from error
        if after is None:
            return


async def people_by_admin(
    admin: SupabaseAdmin,
    *,
    per_page: int = PER_PAGE,
    trusted: Collection[Contact] = (),
    sleep: Sleep = asyncio.sleep,
) -> KnownUsers:
    """Page through the users alone; of kinds in `trusted` what Auth has confirmed is proven.

    A page that does not come is asked for again for a while, but for the first.
    """
    for page in count(1):
        users = await _retried(
            lambda at=page: admin.list_users(at, per_page), Unavailable, sleep, once=page == 1
        )
        if not users:
            return
        yield [person for user in users if (person := of_auth(user, trusted)) is not None]


async def _retried(
    read: Callable[[], Awaitable[T]], passing: type[Exception], sleep: Sleep, *, once: bool
) -> T:
    """Returns what `read` returns. Raises `passing` after the last attempt."""
    for attempt in range(1, 1 if once else _ATTEMPTS):
        try:
            return await read()
        except passing as error:
            pause_s = _RETRY.pause_s(attempt, random.random)
            _log.warning("page_read_retried", error=str(error), attempt=attempt, pause_s=pause_s)
            await sleep(pause_s)
    return await read()


def of_project(record: Mapping[str, object]) -> KnownUser | None:
    """Read an entry of evpower_people; None for the row of a client whose id is no UUID."""
    person_id = _uuid(record.get("id"))
    if person_id is None:
        return None
    user, client = _fields(record.get("user")), _fields(record.get("client"))
    claims: list[ContactClaim] = []
    deleted = user is not None and user.get("deleted") is True
    if user is not None and not deleted:
        unverified = user.get("email_unverified") is True
        claims += _accounts(
            user,
            email_proven=user.get("email_confirmed") is True and not unverified,
            phone_proven=user.get("phone_confirmed") is True,
        )
        claims += _told({"phone": (_fields(user.get("metadata")) or {}).get("phone")})
    if client is not None:
        claims += _told(client)
    return KnownUser(person_id, user is not None, deleted, _strongest(claims))


def of_auth(user: Mapping[str, object], trusted: Collection[Contact] = ()) -> KnownUser | None:
    """Read a user as the admin API writes it."""
    person_id = _uuid(user.get("id"))
    if person_id is None:
        return None
    if user.get("deleted_at"):
        return KnownUser(person_id, is_user=True, deleted=True, claims=())
    marks = _fields(user.get("app_metadata")) or {}
    unverified = marks.get("evpower_email_unverified") is True
    owned = trusted_contacts(user) | set(trusted)
    claims = _accounts(
        user,
        email_proven=bool(user.get("email_confirmed_at")) and not unverified and "email" in owned,
        phone_proven=bool(user.get("phone_confirmed_at")) and "phone" in owned,
    )
    claims += _told({"phone": (_fields(user.get("user_metadata")) or {}).get("phone")})
    return KnownUser(person_id, is_user=True, deleted=False, claims=_strongest(claims))


def _accounts(
    fields: Mapping[str, object], *, email_proven: bool, phone_proven: bool
) -> list[ContactClaim]:
    """The contacts of the account itself; Auth keeps a phone's digits with its country, bare."""
    email = fields.get("email")
    found = _told({"email": email}, typed=False)
    if isinstance(email, str) and (own := normal_email(email)) is not None:
        found = [ContactClaim("email", own, email_proven)]
    phone = fields.get("phone")
    if isinstance(phone, str) and phone:
        value = phone_from_auth(phone)
        found += [ContactClaim("phone", value, phone_proven)] if value is not None else []
    return found


def _told(fields: Mapping[str, object], *, typed: bool = True) -> list[ContactClaim]:
    """What somebody typed: never proven, so a phone is taken in every way it may be meant."""
    found: list[ContactClaim] = []
    email, phone = fields.get("email"), fields.get("phone")
    if isinstance(email, str) and email.strip():
        plain = email.strip().lower()
        found.append(ContactClaim("email", normal_email(plain) or plain, proven=False, typed=typed))
    if isinstance(phone, str) and phone.strip():
        plain = phone.strip()
        readings = {phone_as_typed(plain), phone_from_auth(plain)}
        found += [
            ContactClaim("phone", value, proven=False, typed=typed)
            for value in readings
            if value is not None
        ]
    return found


def _strongest(claims: Sequence[ContactClaim]) -> tuple[ContactClaim, ...]:
    best: dict[tuple[str, str], ContactClaim] = {}
    for claim in claims:
        key = (claim.kind, claim.value)
        if key not in best or claim.proven or best[key].typed:
            best[key] = claim
    return tuple(best.values())


def _fields(value: object) -> Mapping[str, object] | None:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else None


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
