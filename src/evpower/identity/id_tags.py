"""Cards of clients: an operator gives one to a client, or takes it away."""

from typing import Final, Literal, cast
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.identity import store_aliases
from evpower.identity.aliases import MAX_LENGTH
from evpower.identity.store_aliases import IdTag

LIST_LIMIT: Final = 100
IdTagAdded = Literal["added", "repeated", "of_another", "not_found"]


def plain_id_tag(tag: str) -> str | None:
    """Returns a card as it is compared and stored; None: it is no card."""
    plain = tag.strip().lower()
    return plain if 0 < len(plain) <= MAX_LENGTH and plain.isprintable() else None


async def add_id_tag(connection: Connection, plain: str, client_id: UUID) -> IdTagAdded:
    """Gives a card to a client. Another client's stays there."""
    return cast("IdTagAdded", await store_aliases.add_id_tag(connection, plain, client_id))


async def remove_id_tag(connection: Connection, plain: str) -> UUID | None:
    """Takes a card away; returns whose it was, None: no client's."""
    return await store_aliases.remove_id_tag(connection, plain)


async def list_id_tags(
    connection: Connection,
    *,
    client_id: UUID | None = None,
    plain: str | None = None,
    limit: int = LIST_LIMIT,
) -> list[IdTag]:
    """Returns cards of clients, the newest first; of one client, or one card."""
    return await store_aliases.list_id_tags(connection, client_id, plain, limit)
