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

    A contact may be claimed by several clients and proves nothing by itself.
    Raises Invalid("invalid_request") for what is none of these.
    """
    text = query.strip()
    client_id = await resolve(connection, text) if len(text) <= MAX_QUERY else None
    if client_id is not None:
        found = await store.client_by_id(connection, client_id)
        return [found] if found is not None else []
    if as_uuid(text) is not None:
        return []
    email, phone = normal_email(text), phone_as_typed(text)
    if email is None and phone is None:
        raise Invalid("invalid_request", "this is no id, old id, email or phone of a client")
    return await store.clients_by_contact(connection, email, phone, _MOST)
