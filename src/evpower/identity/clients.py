"""The life of a client: created on first sight, active, blocked, closed; never deleted."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, cast
from uuid import UUID

import asyncpg
import structlog

from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Forbidden, NotFound, Unavailable
from evpower.identity import metrics, store
from evpower.identity.audit import record_act
from evpower.identity.model import Claims, Client, Contact, Origin, Profile

_TRIES: Final = 5
_LOGGED: Final = 20  # one by one; of more, how many
_log: Final = structlog.get_logger()


async def ensure_client(connection: Connection, claims: Claims) -> Client:
    """Return the client of a verified token, created with an empty wallet on first sight."""
    return await ensure(connection, claims.sub, claims.profile, "token")


async def ensure(
    connection: Connection, client_id: UUID, profile: Profile, origin: Origin
) -> Client:
    """Return the client, or create it; any number of callers at once make one.

    An email or phone that another open client has verified is not stored. One that nobody verified
    is a claim, which several may make; who verifies it takes it from them.
    """
    found = await store.client_by_id(connection, client_id)
    tries = 0
    while found is None:
        created = await store.insert_client(connection, client_id, profile, origin)
        if created is not None:
            metrics.CLIENTS_CREATED.labels(origin).inc()
            _log.info("client_created", client_id=str(client_id), origin=origin)
            return created
        found = await store.client_by_id(connection, client_id)
        if found is None:
            profile = await _without_taken(connection, client_id, profile)
        tries += 1
        if tries > _TRIES:  # others take and give up the same email faster than we look
            raise Unavailable("database_busy", "the client could not be created", retry_after_s=1)
    return found


async def ensure_new_clients(
    connection: Connection, people: Mapping[UUID, Profile], origin: Origin
) -> set[UUID]:
    """Create many in one statement; answers whom. For the others `ensure` is needed."""
    created = await store.insert_clients(connection, people, origin)
    metrics.CLIENTS_CREATED.labels(origin).inc(len(created))
    if len(created) > _LOGGED:
        _log.info("clients_created", count=len(created), origin=origin)
        return created
    for client_id in created:
        _log.info("client_created", client_id=str(client_id), origin=origin)
    return created


async def _without_taken(connection: Connection, client_id: UUID, profile: Profile) -> Profile:
    by_email, by_phone = await store.holders(connection, profile.email, profile.phone)
    for contact, holder in (("email", by_email), ("phone", by_phone)):
        if holder is not None:
            metrics.CONTACTS_LEFT_OUT.labels(contact).inc()
            _log.warning(
                "contact_left_out", contact=contact, client_id=str(client_id), held_by=str(holder)
            )
    taken: list[Contact] = []
    if by_email is not None:
        taken.append("email")
    if by_phone is not None:
        taken.append("phone")
    return profile.without(taken)


async def get_client(connection: Connection, client_id: UUID) -> Client:
    """Read a client. Raises NotFound("client_not_found")."""
    found = await store.client_by_id(connection, client_id)
    if found is None:
        raise NotFound("client_not_found", "there is no such client")
    return found


async def require_active(
    connection: Connection, client_id: UUID, *, clock: Clock = utc_now
) -> Client:
    """Read a client as it is now, for money to move in the same transaction.

    Raises NotFound("client_not_found"),
    Forbidden("client_blocked" | "client_closed" | "client_deleted"), the last for one who asked
    to be deleted.
    """
    found = await get_client(connection, client_id)
    if found.status != "active":
        raise Forbidden(f"client_{found.status}", f"the client is {found.status}")
    if found.banned_until is not None and found.banned_until > clock():
        raise Forbidden("client_blocked", "the user is banned in Supabase Auth")
    if found.unmapped_status is not None:
        raise Forbidden("client_blocked", "the status from before EvPower is not mapped yet")
    if found.deletion_requested_at is not None:
        raise Forbidden("client_deleted", "the client asked for the account to be deleted")
    return found


async def lock_client(connection: Connection, client_id: UUID) -> Client | None:
    """Read a client whom nobody else may change until the transaction ends; None: unknown."""
    return await store.lock_client(connection, client_id)


async def update_profile(connection: Connection, client_id: UUID, profile: Profile) -> Client:
    """Replace contacts and name as Supabase has them now.

    Raises NotFound("client_not_found"), Conflict("email_taken" | "phone_taken").
    """
    try:
        async with connection.transaction():
            changed = await store.set_profile(connection, client_id, profile)
    except asyncpg.UniqueViolationError as error:
        contact = "phone" if error.constraint_name == "clients_phone_key" else "email"
        raise Conflict(f"{contact}_taken", f"another client has this {contact}") from error
    if changed is None:
        raise NotFound("client_not_found", "there is no such client")
    return changed


async def sync_profile(
    connection: Connection, known: Client, profile: Profile
) -> tuple[Client, Mapping[Contact, UUID]]:
    """Make a locked client's contacts and name those of Supabase.

    A contact that another open client has verified is left out and becomes empty, as the one before
    is no longer theirs; the answer says who has it. Who only claims one that is verified here loses
    it in the same statement.
    """
    for _ in range(_TRIES):
        by_email, by_phone = await store.holders(connection, profile.email, profile.phone)
        taken: dict[Contact, UUID] = {}
        if by_email not in {None, known.id}:
            taken["email"] = cast("UUID", by_email)
        if by_phone not in {None, known.id}:
            taken["phone"] = cast("UUID", by_phone)
        free = profile.without(taken)
        if free == known.profile:
            return known, taken
        try:
            return await update_profile(connection, known.id, free), taken
        except Conflict:  # somebody took it since we looked
            continue
    raise Unavailable("database_busy", "the profile could not be changed", retry_after_s=1)


async def request_deletion(connection: Connection, client_id: UUID, at: datetime) -> None:
    """The driver asked for it: no new charges and top-ups from now on, reading stays."""
    await store.set_deletion_requested(connection, client_id, at)


async def withdraw_deletion(connection: Connection, client_id: UUID) -> None:
    """The driver changed their mind."""
    await store.set_deletion_requested(connection, client_id, None)


async def set_ban(connection: Connection, client_id: UUID, until: datetime | None) -> Client:
    """Store the ban of Supabase Auth, a fact of its own beside the operator's block.

    Raises NotFound("client_not_found").
    """
    changed = await store.set_ban(connection, client_id, until)
    return changed if changed is not None else await get_client(connection, client_id)


async def set_unmapped_status(connection: Connection, client_id: UUID, word: str | None) -> Client:
    """Keep a client from spending until its status word has a meaning; None: it has.

    Raises NotFound("client_not_found").
    """
    changed = await store.set_unmapped_status(connection, client_id, word)
    return changed if changed is not None else await get_client(connection, client_id)


async def block_client(
    connection: Connection,
    client_id: UUID,
    *,
    actor: str,
    reason: str,
    details: Mapping[str, object] | None = None,
) -> Client:
    """Keep a client from moving money; reading stays. Blocked twice is blocked.

    Raises NotFound("client_not_found"), Conflict("client_closed").
    """
    changed = await store.set_status(connection, client_id, "blocked", ["active", "blocked"])
    return await _acted(connection, client_id, changed, "client.block", actor, reason, details)


async def unblock_client(
    connection: Connection,
    client_id: UUID,
    *,
    actor: str,
    reason: str,
    details: Mapping[str, object] | None = None,
) -> Client:
    """Make a blocked client active again.

    Raises NotFound("client_not_found"), Conflict("client_closed").
    """
    changed = await store.set_status(connection, client_id, "active", ["active", "blocked"])
    return await _acted(connection, client_id, changed, "client.unblock", actor, reason, details)


async def close_client(
    connection: Connection,
    client_id: UUID,
    *,
    actor: str,
    reason: str,
    details: Mapping[str, object] | None = None,
) -> Client:
    """Close a client for good: money and history stay, email and phone become free for others.

    Raises NotFound("client_not_found").
    """
    changed = await store.set_status(
        connection, client_id, "closed", ["active", "blocked", "closed"]
    )
    return await _acted(connection, client_id, changed, "client.close", actor, reason, details)


async def _acted(
    connection: Connection,
    client_id: UUID,
    changed: Client | None,
    action: str,
    actor: str,
    reason: str,
    details: Mapping[str, object] | None,
) -> Client:
    if changed is None:
        await get_client(connection, client_id)
        raise Conflict("client_closed", "the client is closed")
    await record_act(
        connection,
        actor=actor,
        action=action,
        subject=str(client_id),
        reason=reason,
        details=details,
    )
    return changed
