"""Cards of clients: an operator gives one to a client, or takes it away."""

from typing import Final, Literal, cast
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.identity import store_aliases
from evpower.identity.aliases import MAX_LENGTH, fold_id_tag
from evpower.identity.store_aliases import IdTag, RemovedIdTag, SharedIdTag

LIST_LIMIT: Final = 100
IdTagAdded = Literal["added", "repeated", "of_another", "not_found"]


def plain_id_tag(tag: str) -> str | None:
    """Returns a card as it is compared and stored; None: it is no card."""
    plain = fold_id_tag(tag)
    return plain if 0 < len(plain) <= MAX_LENGTH and _fits(tag) else None


async def add_id_tag(connection: Connection, tag: str, client_id: UUID) -> IdTagAdded:
    """Gives a card to a client. Another client's stays there, however it was written."""
    plain = fold_id_tag(tag)
    return cast("IdTagAdded", await store_aliases.add_id_tag(connection, plain, client_id))


async def remove_id_tag(connection: Connection, tag: str) -> list[RemovedIdTag]:
    """Takes a card away in each spelling; returns each with the client whose it was."""
    return await store_aliases.remove_id_tag(connection, fold_id_tag(tag)) if _fits(tag) else []


async def list_id_tags(
    connection: Connection,
    *,
    client_id: UUID | None = None,
    tag: str | None = None,
    limit: int = LIST_LIMIT,
) -> list[IdTag]:
    """Returns cards of clients, the newest first; of one client, or one card however written."""
    if tag is not None and not _fits(tag):
        return []
    folded = None if tag is None else fold_id_tag(tag)
    return await store_aliases.list_id_tags(connection, client_id, folded, limit)


async def list_shared_id_tags(connection: Connection, limit: int = LIST_LIMIT) -> list[SharedIdTag]:
    """Returns cards that several clients have, each in another spelling."""
    return await store_aliases.list_shared_id_tags(connection, limit)


def _fits(tag: str) -> bool:
    return tag.strip() != "" and tag.strip().isprintable()
