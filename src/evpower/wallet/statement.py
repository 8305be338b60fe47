"""Reads a client's balance and history as JSON built by the database."""

from collections.abc import Sequence
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.wallet import store


async def balance(connection: Connection, client_id: UUID) -> bytes | None:
    """Returns the JSON object of a client's balance, in som; None: no such client.

    It reads one row by its key.
    """
    return await store.get_balance_json(connection, client_id)


async def statement(
    connection: Connection, client_id: UUID, limit: int, before_version: int | None = None
) -> tuple[bytes, int | None]:
    """Returns a page of transactions below a version as a JSON array, newest first, in som.

    The second value is the `before_version` of the next page; None: this was the last page.
    """
    page, lowest = await store.get_statement_json(connection, client_id, before_version, limit)
    return page, _next_version(lowest)


async def first_statements(
    connection: Connection, requested: Sequence[tuple[UUID, int]]
) -> list[tuple[bytes, int | None]]:
    """Returns what `statement` returns for each of these clients and limits, in one statement."""
    pages = await store.get_first_statements_json(connection, requested)
    return [(page, _next_version(lowest)) for page, lowest in pages]


def _next_version(lowest: int | None) -> int | None:
    # Versions are dense from 1, so the lowest one tells whether there is a next page.
    return lowest if lowest is not None and lowest > 1 else None
