"""A driver deletes the account, asks for it, or takes the request back.

Whether an account is to be deleted is decided in Supabase (decision 0018): a request is written
there first, and the account is gone when its user is. The puller closes the client then.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from evpower.config import Settings
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, NotFound
from evpower.foundation.module import Shared
from evpower.identity import clients
from evpower.identity.audit import record_act
from evpower.identity.model import Client
from evpower.identity.sign_in.refresh import revoke_user
from evpower.identity.supabase_admin import SupabaseAdmin
from evpower.identity.supabase_rows import ClientRows

_ACTOR: Final = "client"
# Returns if the account may go. Raises Conflict if it holds money, owes some, or charges.
CheckAccount = Callable[[Connection, UUID], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class AccountDeletion:
    """What deletion works with."""

    db: Database
    admin: SupabaseAdmin
    rows: ClientRows
    clock: Clock


def configured_deletion(
    settings: Settings, shared: Shared, admin: SupabaseAdmin
) -> AccountDeletion:
    """Returns it for the settings' project."""
    rows = ClientRows(
        shared.http, url=settings.supabase_url, secret_key=settings.supabase_secret_key
    )
    return AccountDeletion(shared.db, admin, rows, shared.clock)


async def delete_account(calls: AccountDeletion, client_id: UUID, check: CheckAccount) -> None:
    """Deletes the user in Supabase Auth; money and history stay with the closed client.

    The request is stored first: from then on no top-up and no charge begins. A repetition goes on
    where an earlier call ended. Raises what `check` raises, NotFound("client_not_found"),
    Unavailable.
    """
    async with calls.db.transaction() as connection:
        client = await _lock(connection, client_id)
        if client.status != "closed":
            await check(connection, client_id)
            at = client.deletion_requested_at or calls.clock()
            await clients.request_deletion(connection, client_id, at)
    had_user = await calls.admin.delete_user(client_id)
    async with calls.db.transaction() as connection:
        await revoke_user(connection, client_id, calls.clock(), "deletion")
        await record_act(
            connection,
            actor=_ACTOR,
            action="client.delete_account",
            subject=str(client_id),
            details={"had_user": had_user},
        )
        if not had_user:  # no change in Supabase tells the puller
            await clients.close_client(
                connection,
                client_id,
                actor=_ACTOR,
                reason="the driver deleted the account",
                clock=calls.clock,
            )


async def ask_for_deletion(calls: AccountDeletion, client_id: UUID, check: CheckAccount) -> None:
    """Stores the request in both systems; a repetition changes nothing.

    Raises what `check` raises, NotFound("client_not_found"), Conflict("client_closed"),
    Unavailable.
    """
    async with calls.db.connection() as connection:
        client = await clients.get_client(connection, client_id)
        if client.status == "closed":
            raise _closed()
        if client.deletion_requested_at is not None:
            return
        await check(connection, client_id)
    at = calls.clock()
    await calls.rows.request_deletion(client_id, at)
    async with calls.db.transaction() as connection:
        await _lock(connection, client_id)
        await check(connection, client_id)
        await clients.request_deletion(connection, client_id, at)


async def restore_account(calls: AccountDeletion, client_id: UUID) -> None:
    """Takes the request back, in both systems; without one nothing changes.

    Raises NotFound("client_not_found"), Conflict("client_closed"), Unavailable.
    """
    async with calls.db.connection() as connection:
        client = await clients.get_client(connection, client_id)
        if client.status == "closed":
            raise _closed()
    await calls.rows.withdraw_deletion(client_id)
    async with calls.db.transaction() as connection:
        await clients.withdraw_deletion(connection, client_id)


async def _lock(connection: Connection, client_id: UUID) -> Client:
    client = await clients.lock_client(connection, client_id)
    if client is None:
        raise NotFound("client_not_found", "there is no such client")
    return client


def _closed() -> Conflict:
    return Conflict("client_closed", "the account is closed")
