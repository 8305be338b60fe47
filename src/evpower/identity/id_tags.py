"""Cards of clients: an operator gives one to a client, or takes it away."""

from typing import Final, Literal, cast
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.identity import store_aliases
from evpower.identity.aliases import MAX_LENGTH, fold_id_tag, id_tag_forms, resolve_id_tag
from evpower.identity.store_aliases import IdTag

LIST_LIMIT: Final = 100
IdTagAdded = Literal["added", "repeated", "of_another", "not_found"]


def plain_id_tag(tag: str) -> str | None:
    """Returns a card as it is compared and stored; None: it is no card."""
    plain = fold_id_tag(tag)
    fits = 0 < len(plain) <= MAX_LENGTH and plain.isprintable()
    return plain if fits and tag.strip().isprintable() else None


async def add_id_tag(connection: Connection, tag: str, client_id: UUID) -> IdTagAdded:
    """Gives a card to a client. Another client's stays there, however it was written."""
    owner = await resolve_id_tag(connection, tag)
    if owner not in {None, client_id}:
        return "of_another"
    plain = fold_id_tag(tag)
    return cast("IdTagAdded", await store_aliases.add_id_tag(connection, plain, client_id))


async def remove_id_tag(connection: Connection, tag: str) -> UUID | None:
    """Takes a card away, however it was written; returns whose it was, None: no client's."""
    owner: UUID | None = None
    for form in id_tag_forms(tag):
        owner = await store_aliases.remove_id_tag(connection, form) or owner
    return owner


async def list_id_tags(
    connection: Connection,
    *,
    client_id: UUID | None = None,
    plain: str | None = None,
    limit: int = LIST_LIMIT,
) -> list[IdTag]:
    """Returns cards of clients, the newest first; of one client, or one card."""
    return await store_aliases.list_id_tags(connection, client_id, plain, limit)
