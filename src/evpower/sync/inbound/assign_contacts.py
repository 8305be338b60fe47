"""Gives emails and phones that a client released to the clients that wait for them."""

from dataclasses import replace
from typing import Final
from uuid import UUID

from evpower.foundation.db import Database
from evpower.identity import lock_client, sync_profile
from evpower.sync.inbound import store_changes

_ASSIGNED_AT_ONCE: Final = 100


async def assign_free_contacts(db: Database) -> list[UUID]:
    """Gives released emails and phones to clients that wait for them. Returns the changed clients.

    A client waits for the contacts Supabase had when the client was last applied. They are read
    after the client is locked, as applying a user locks it.
    """
    async with db.connection() as connection:
        free = await store_changes.free_contacts(connection, _ASSIGNED_AT_ONCE)
    changed: list[UUID] = []
    for contact in free:
        async with db.transaction() as connection:
            client = await lock_client(connection, contact.client_id)
            assert client is not None  # noqa: S101 - clients are never deleted
            pending = await store_changes.pending_contacts(connection, client.id)
            if client.status == "closed":
                await store_changes.store_pending_contacts(connection, client.id, {})
                continue
            desired_profile = client.profile
            if "email" in pending:
                email = pending["email"]
                desired_profile = replace(
                    desired_profile, email=email.value, email_verified=email.verified
                )
            if "phone" in pending:
                phone = pending["phone"]
                desired_profile = replace(
                    desired_profile, phone=phone.value, phone_verified=phone.verified
                )
            updated, holders = await sync_profile(connection, client, desired_profile)
            unavailable = store_changes.pending_contacts_of(desired_profile, holders)
            await store_changes.store_pending_contacts(connection, client.id, unavailable)
            if updated != client:
                changed.append(client.id)
    return changed
