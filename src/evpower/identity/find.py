"""Finds clients by an id, an old id, an email or a phone."""

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
    """Returns the clients of an id, email or phone, open ones first; at most 50.

    Raises Invalid("invalid_request") if the query is none of these.
    """
    text = query.strip()
    client_id = await resolve(connection, text) if len(text) <= MAX_QUERY else None
    if client_id is not None:
        client = await store.client_by_id(connection, client_id)
        return [client] if client is not None else []
    if as_uuid(text) is not None:
        return []
    return await find_claimants(connection, text)


async def find_claimants(connection: Connection, contact: str) -> list[Client]:
    """Returns the clients with this email or phone, at most 50.

    Open clients come first, and those that verified it before the others. Several clients may claim
    an unverified contact, so it alone identifies none of them. Raises Invalid("invalid_request") if
    it is no email or phone.
    """
    email, phone = normal_email(contact), phone_as_typed(contact)
    if email is None and phone is None:
        raise Invalid("invalid_request", "this is no id, old id, email or phone of a client")
    return await store.clients_by_contact(connection, email, phone, _MOST)


async def find_verified(connection: Connection, contact: str) -> Client | None:
    """Returns the open client that has verified this email or phone; None: no client has.

    Raises Invalid("invalid_request") if it is no email or phone.
    """
    for client in await find_claimants(connection, contact):
        by_email = client.email_verified and client.email == normal_email(contact)
        by_phone = client.phone_verified and client.phone == phone_as_typed(contact)
        if client.status != "closed" and (by_email or by_phone):
            return client
    return None
