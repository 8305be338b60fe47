"""Clients of the oldest app, which sends no token: the list is closed, and an operator made it.

It comes from what the older proxy saw before EvPower took over. EvPower never adds to it: whoever
calls without a token names a client, and proves nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.errors import NotFound
from evpower.identity import store_without_token as store
from evpower.identity.aliases import resolve
from evpower.identity.audit import record_act


class AddedWithoutToken(NamedTuple):
    """What an import did: how many are new, and the ids that no client has."""

    new: int
    known: int
    unknown: list[str]


async def add_without_token(
    connection: Connection, ids: Sequence[str], *, actor: str, reason: str
) -> AddedWithoutToken:
    """Adds clients by their ids or old ids; one act of the audit for all."""
    resolved = [(raw, await resolve(connection, raw)) for raw in ids]
    known = {client_id for _, client_id in resolved if client_id is not None}
    new = await store.insert_without_token(connection, sorted(known), actor)
    if new:
        await record_act(
            connection,
            actor=actor,
            action="client.add_without_token",
            subject=f"{len(new)} clients",
            reason=reason,
            details={"clients": [str(client_id) for client_id in new[:1000]], "count": len(new)},
        )
    unknown = [raw for raw, client_id in resolved if client_id is None]
    return AddedWithoutToken(len(new), len(known) - len(new), unknown)


async def remove_without_token(
    connection: Connection, raw: str, *, actor: str, reason: str
) -> UUID:
    """Takes a client off the list. Raises NotFound("client_not_found")."""
    client_id = await resolve(connection, raw)
    if client_id is None or not await store.delete_without_token(connection, client_id):
        raise NotFound("client_not_found", "the list has no such client")
    await record_act(
        connection, actor=actor, action="client.remove_without_token",
        subject=str(client_id), reason=reason,
    )  # fmt: skip
    return client_id


async def find_without_token(connection: Connection, raw: str) -> UUID | None:
    """Returns the client of an id or old id if it is on the list, else None."""
    client_id = await resolve(connection, raw)
    if client_id is None or not await store.is_without_token(connection, client_id):
        return None
    return client_id
