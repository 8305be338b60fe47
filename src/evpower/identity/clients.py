"""The life of a client: created at the first request, active, blocked, closed; never deleted."""

from collections.abc import Mapping, Sequence
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
from evpower.identity.model import Claims, Client, ClientStatus, Contact, Origin, Profile, Standing
from evpower.identity.sign_in import store_refresh

_TRIES: Final = 5
_MAX_LOGGED: Final = 20  # new clients logged one by one; of more, only the number is logged
_log: Final = structlog.get_logger()


async def ensure_client(connection: Connection, claims: Claims) -> Client:
    """Returns the client of a verified token; creates it with an empty wallet if it is new."""
    return await ensure(connection, claims.sub, claims.profile, "token")


async def ensure(
    connection: Connection, client_id: UUID, profile: Profile, origin: Origin
) -> Client:
    """Returns the client, or creates it; concurrent callers create one.

    An email or phone that another open client has verified is not stored. An unverified contact is
    a claim that several clients may make; the client that verifies it removes it from the others.
    """
    client = await store.client_by_id(connection, client_id)
    tries = 0
    while client is None:
        created = await store.insert_client(connection, client_id, profile, origin)
        if created is not None:
            metrics.CLIENTS_CREATED.labels(origin).inc()
            _log.info("client_created", client_id=str(client_id), origin=origin)
            return created
        client = await store.client_by_id(connection, client_id)
        if client is None:
            profile = await _without_verified(connection, client_id, profile)
        tries += 1
        if tries > _TRIES:  # other clients verify and release the same contact all the time
            raise Unavailable("database_busy", "the client could not be created", retry_after_s=1)
    return client


async def ensure_new_clients(
    connection: Connection, profiles: Mapping[UUID, Profile], origin: Origin
) -> set[UUID]:
    """Creates clients in one statement; returns the created ids. The others need `ensure`."""
    created = await store.insert_clients(connection, profiles, origin)
    metrics.CLIENTS_CREATED.labels(origin).inc(len(created))
    if len(created) > _MAX_LOGGED:
        _log.info("clients_created", count=len(created), origin=origin)
        return created
    for client_id in created:
        _log.info("client_created", client_id=str(client_id), origin=origin)
    return created


async def _without_verified(connection: Connection, client_id: UUID, profile: Profile) -> Profile:
    """Returns the profile without contacts that another client has verified."""
    by_email, by_phone = await store.holders(connection, profile.email, profile.phone)
    for contact, holder in (("email", by_email), ("phone", by_phone)):
        if holder is not None:
            metrics.CONTACTS_LEFT_OUT.labels(contact).inc()
            _log.warning(
                "contact_left_out", contact=contact, client_id=str(client_id), holder=str(holder)
            )
    unavailable: list[Contact] = []
    if by_email is not None:
        unavailable.append("email")
    if by_phone is not None:
        unavailable.append("phone")
    return profile.without(unavailable)


async def get_client(connection: Connection, client_id: UUID) -> Client:
    """Reads a client. Raises NotFound("client_not_found")."""
    client = await store.client_by_id(connection, client_id)
    if client is None:
        raise NotFound("client_not_found", "there is no such client")
    return client


async def require_active(
    connection: Connection, client_id: UUID, *, clock: Clock = utc_now
) -> Client:
    """Reads a client that may move money in the same transaction.

    Raises NotFound("client_not_found"),
    Forbidden("client_blocked" | "client_closed" | "client_deleted"); the last one if the client
    requested deletion.
    """
    client = await get_client(connection, client_id)
    standing = Standing(
        client.status, client.banned_until, client.unmapped_status, client.deletion_requested_at
    )
    check_standing(standing, clock())
    return client


def check_standing(standing: Standing, now: datetime) -> None:
    """Passes for a client that may move money.

    Raises Forbidden("client_blocked" | "client_closed" | "client_deleted").
    """
    if standing.status != "active":
        raise Forbidden(f"client_{standing.status}", f"the client is {standing.status}")
    require_not_banned(standing.banned_until, now)
    if standing.unmapped_status is not None:
        raise Forbidden("client_blocked", "the status from before EvPower is not mapped yet")
    if standing.deletion_requested_at is not None:
        raise Forbidden("client_deleted", "the client asked for the account to be deleted")


def require_not_banned(banned_until: datetime | None, now: datetime) -> None:
    """Passes for a user that Supabase Auth lets sign in. Raises Forbidden("client_blocked")."""
    if banned_until is not None and banned_until > now:
        raise Forbidden("client_blocked", "the user is banned in Supabase Auth")


async def lock_client(connection: Connection, client_id: UUID) -> Client | None:
    """Reads a client, locked until the transaction ends; None: there is no such client."""
    return await store.lock_client(connection, client_id)


async def update_profile(connection: Connection, client_id: UUID, profile: Profile) -> Client:
    """Replaces contacts and name with those of Supabase.

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
    """Gives a locked client the contacts and name of Supabase.

    A contact that another open client has verified becomes empty, because the earlier value is no
    longer the client's; the second result names the holder of each such contact. Clients that only
    claim a contact that is verified here lose it in the same statement.
    """
    for _ in range(_TRIES):
        by_email, by_phone = await store.holders(connection, profile.email, profile.phone)
        holders: dict[Contact, UUID] = {}
        if by_email not in {None, known.id}:
            holders["email"] = cast("UUID", by_email)
        if by_phone not in {None, known.id}:
            holders["phone"] = cast("UUID", by_phone)
        allowed = profile.without(holders)
        if allowed == known.profile:
            return known, holders
        try:
            return await update_profile(connection, known.id, allowed), holders
        except Conflict:  # another client verified the contact since it was read
            continue
    raise Unavailable("database_busy", "the profile could not be changed", retry_after_s=1)


async def request_deletion(connection: Connection, client_id: UUID, at: datetime) -> None:
    """Stores the driver's request for deletion: no new charges and top-ups, reading stays."""
    await store.set_deletion_requested(connection, client_id, at)


async def withdraw_deletion(connection: Connection, client_id: UUID) -> None:
    """Removes the driver's request for deletion."""
    await store.set_deletion_requested(connection, client_id, None)


async def set_ban(connection: Connection, client_id: UUID, until: datetime | None) -> Client:
    """Stores the ban of Supabase Auth, which is independent of the operator's block.

    Raises NotFound("client_not_found").
    """
    changed = await store.set_ban(connection, client_id, until)
    return changed if changed is not None else await get_client(connection, client_id)


async def set_unmapped_status(connection: Connection, client_id: UUID, word: str | None) -> Client:
    """Keeps a client from spending while its status word is not mapped; None: it is mapped.

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
    """Keeps a client from moving money; reading stays. A blocked client may be blocked again.

    Raises NotFound("client_not_found"), Conflict("client_closed").
    """
    changed = await store.set_status(connection, client_id, "blocked", ["active", "blocked"])
    return await _audited(connection, client_id, changed, "client.block", actor, reason, details)


async def unblock_client(
    connection: Connection,
    client_id: UUID,
    *,
    actor: str,
    reason: str,
    details: Mapping[str, object] | None = None,
) -> Client:
    """Makes a blocked client active again.

    Raises NotFound("client_not_found"), Conflict("client_closed").
    """
    changed = await store.set_status(connection, client_id, "active", ["active", "blocked"])
    return await _audited(connection, client_id, changed, "client.unblock", actor, reason, details)


async def close_client(
    connection: Connection,
    client_id: UUID,
    *,
    actor: str,
    reason: str,
    details: Mapping[str, object] | None = None,
    clock: Clock = utc_now,
) -> Client:
    """Closes a client for good: money and history stay, email and phone become free for others.

    Its refresh tokens end in the same transaction. Raises NotFound("client_not_found").
    """
    changed = await set_client_status(
        connection, client_id, "closed", ["active", "blocked", "closed"], clock=clock
    )
    return await _audited(connection, client_id, changed, "client.close", actor, reason, details)


async def set_client_status(
    connection: Connection,
    client_id: UUID,
    status: ClientStatus,
    allowed_from: Sequence[ClientStatus],
    *,
    clock: Clock = utc_now,
) -> Client | None:
    """Changes the status if it is one of `allowed_from`; None: it is not, or no such client.

    The refresh tokens of a client that is closed end in the same transaction.
    """
    changed = await store.set_status(connection, client_id, status, allowed_from)
    if status == "closed" and changed is not None:
        await store_refresh.revoke_users(connection, [client_id], clock(), "deletion")
    return changed


async def _audited(
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
