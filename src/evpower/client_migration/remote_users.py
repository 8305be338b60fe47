"""All users of Supabase with the emails and phones they claim, verified or not.

A contact is verified when Auth has it confirmed, EvPower did not merely mark it so (decision 0009),
and identity.trusted_contacts() trusts the confirmation. evpower_people can't tell the last, so the
admin API is asked. A contact in user_metadata or in a profile is only the user's claim.
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
from evpower.identity import (
    Contact,
    SupabaseAdmin,
    normal_email,
    phone_as_typed,
    phone_from_auth,
    trusted_contacts,
)

PER_PAGE: Final = 1000
_ATTEMPTS: Final = 8  # about two minutes: a plan reads long, and stores nothing until its end
_RETRY: Final = Backoff(1.0, 30.0)
_log: Final = structlog.get_logger()
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ContactClaim:
    """A user's claim to an email or phone; `typed`: in a profile, where any user may write it."""

    kind: Contact
    value: str
    verified: bool
    typed: bool = False


@dataclass(frozen=True, slots=True)
class KnownUser:
    """A user of Supabase Auth, or a row of public.clients without one."""

    id: UUID
    is_user: bool
    deleted: bool
    claims: tuple[ContactClaim, ...]


KnownUsers = AsyncIterator[Sequence[KnownUser]]


class UsersRpc(Protocol):
    """Calls one function of the Supabase project."""

    async def call(self, function: str, body: bytes) -> object:
        """Returns the parsed JSON."""
        ...


async def users_by_rpc(
    rpc: UsersRpc,
    *,
    limit: int = PER_PAGE,
    transient: type[Exception] = Unavailable,
    sleep: Sleep = asyncio.sleep,
) -> KnownUsers:
    """Yields pages of users and clients by id, from evpower_people.

    A page that fails with `transient` is read again for a while, except the first, when nothing is
    lost. `verified` only means confirmed here: the trust in it is known to the admin API alone.
    """
    after: str | None = None
    while True:
        body = orjson.dumps({"payload": {"after": after, "limit": limit}})
        once = after is None
        raw = await _retried(
            lambda sent=body: rpc.call("evpower_people", sent), transient, sleep, once=once
        )
        try:
            response = cast("Mapping[str, object]", raw)
            records = cast("Sequence[Mapping[str, object]]", response["people"])
            yield [user for record in records if (user := of_project(record)) is not None]
            after = cast("str | None", response["next"])
        except (KeyError, TypeError, AttributeError) as error:
            raise RowRefused(
                "supabase_unavailable", "evpower_people returned an unknown form"
            ) from error
        if after is None:
            return


async def users_by_admin(
    admin: SupabaseAdmin,
    *,
    per_page: int = PER_PAGE,
    trusted: Collection[Contact] = (),
    sleep: Sleep = asyncio.sleep,
) -> KnownUsers:
    """Yields pages of users only; of kinds in `trusted` what Auth has confirmed counts as verified.

    A page that fails is read again for a while, except the first.
    """
    for page in count(1):
        users = await _retried(
            lambda at=page: admin.list_users(at, per_page), Unavailable, sleep, once=page == 1
        )
        if not users:
            return
        yield [user for record in users if (user := of_auth(record, trusted)) is not None]


async def _retried(
    read: Callable[[], Awaitable[T]], transient: type[Exception], sleep: Sleep, *, once: bool
) -> T:
    """Returns what `read` returns. Raises `passing` after the last attempt."""
    for attempt in range(1, 1 if once else _ATTEMPTS):
        try:
            return await read()
        except transient as error:
            pause_s = _RETRY.pause_s(attempt, random.random)
            _log.warning("page_read_retried", error=str(error), attempt=attempt, pause_s=pause_s)
            await sleep(pause_s)
    return await read()


def of_project(record: Mapping[str, object]) -> KnownUser | None:
    """Returns an entry of evpower_people; None for the row of a client whose id is no UUID."""
    user_id = _uuid(record.get("id"))
    if user_id is None:
        return None
    user, client = _fields(record.get("user")), _fields(record.get("client"))
    claims: list[ContactClaim] = []
    deleted = user is not None and user.get("deleted") is True
    if user is not None and not deleted:
        unverified = user.get("email_unverified") is True
        claims += _account_contacts(
            user,
            email_verified=user.get("email_confirmed") is True and not unverified,
            phone_verified=user.get("phone_confirmed") is True,
        )
        claims += _typed_contacts({"phone": (_fields(user.get("metadata")) or {}).get("phone")})
    if client is not None:
        claims += _typed_contacts(client)
    return KnownUser(user_id, user is not None, deleted, _strongest(claims))


def of_auth(user: Mapping[str, object], trusted: Collection[Contact] = ()) -> KnownUser | None:
    """Returns a user of the admin API; None without a valid id."""
    user_id = _uuid(user.get("id"))
    if user_id is None:
        return None
    if user.get("deleted_at"):
        return KnownUser(user_id, is_user=True, deleted=True, claims=())
    app_metadata = _fields(user.get("app_metadata")) or {}
    unverified = app_metadata.get("evpower_email_unverified") is True
    trusted_kinds = trusted_contacts(user) | set(trusted)
    claims = _account_contacts(
        user,
        email_verified=bool(user.get("email_confirmed_at"))
        and not unverified
        and "email" in trusted_kinds,
        phone_verified=bool(user.get("phone_confirmed_at")) and "phone" in trusted_kinds,
    )
    claims += _typed_contacts({"phone": (_fields(user.get("user_metadata")) or {}).get("phone")})
    return KnownUser(user_id, is_user=True, deleted=False, claims=_strongest(claims))


def _account_contacts(
    fields: Mapping[str, object], *, email_verified: bool, phone_verified: bool
) -> list[ContactClaim]:
    """Returns the contacts of the account; Auth stores a phone as digits with the country code."""
    email = fields.get("email")
    contacts = _typed_contacts({"email": email}, typed=False)
    if isinstance(email, str) and (normalized := normal_email(email)) is not None:
        contacts = [ContactClaim("email", normalized, email_verified)]
    phone = fields.get("phone")
    if isinstance(phone, str) and phone:
        value = phone_from_auth(phone)
        contacts += [ContactClaim("phone", value, phone_verified)] if value is not None else []
    return contacts


def _typed_contacts(fields: Mapping[str, object], *, typed: bool = True) -> list[ContactClaim]:
    """Returns typed contacts: never verified, so a phone is read in every possible way."""
    contacts: list[ContactClaim] = []
    email, phone = fields.get("email"), fields.get("phone")
    if isinstance(email, str) and email.strip():
        plain = email.strip().lower()
        contacts.append(
            ContactClaim("email", normal_email(plain) or plain, verified=False, typed=typed)
        )
    if isinstance(phone, str) and phone.strip():
        plain = phone.strip()
        readings = {phone_as_typed(plain), phone_from_auth(plain)}
        contacts += [
            ContactClaim("phone", value, verified=False, typed=typed)
            for value in readings
            if value is not None
        ]
    return contacts


def _strongest(claims: Sequence[ContactClaim]) -> tuple[ContactClaim, ...]:
    best: dict[tuple[str, str], ContactClaim] = {}
    for claim in claims:
        key = (claim.kind, claim.value)
        if key not in best or claim.verified or best[key].typed:
            best[key] = claim
    return tuple(best.values())


def _fields(value: object) -> Mapping[str, object] | None:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else None


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
