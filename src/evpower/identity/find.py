"""Finds clients by what an operator has at hand: an id, an old id, an email or a phone."""

from typing import Final

from evpower.foundation.db import Connection
from evpower.foundation.errors import Invalid
from evpower.identity import store
from evpower.identity.aliases import as_uuid, resolve
from evpower.identity.contact import normal_email, phone_as_typed
from evpower.identity.model import Client

MAX_QUERY: Final = 320
_MOST: Final = 50


async def find_clients(connection: Connection, query: str) -> list[Client]:
    """Return the clients of an id, email or phone, open ones first; at most 50.

    Raises Invalid("invalid_request") for what is none of these.
    """
    text = query.strip()
    client_id = await resolve(connection, text) if len(text) <= MAX_QUERY else None
    if client_id is not None:
        found = await store.client_by_id(connection, client_id)
        return [found] if found is not None else []
    if as_uuid(text) is not None:
        return []
    return await find_claimants(connection, text)


async def find_claimants(connection: Connection, contact: str) -> list[Client]:
    """Return the clients with this email or phone: open ones first, who verified it before others.

    Several may claim a contact that none has verified; by it alone nothing may be done for any of
    them. At most 50. Raises Invalid("invalid_request") for what is no email or phone.
    """
    email, phone = normal_email(contact), phone_as_typed(contact)
    if email is None and phone is None:
        raise Invalid("invalid_request", "this is no id, old id, email or phone of a client")
    return await store.clients_by_contact(connection, email, phone, _MOST)


async def find_verified(connection: Connection, contact: str) -> Client | None:
    """Return the open client who has verified this email or phone; None: no client has.

    Raises Invalid("invalid_request") for what is no email or phone.
    """
    for client in await find_claimants(connection, contact):
        by_email = client.email_verified and client.email == normal_email(contact)
        by_phone = client.phone_verified and client.phone == phone_as_typed(contact)
        if client.status != "closed" and (by_email or by_phone):
            return client
    return None
