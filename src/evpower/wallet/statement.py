"""What a client reads: the balance and the history, as ready JSON."""

from uuid import UUID

from evpower.foundation.db import Connection
from evpower.wallet import store


async def balance(connection: Connection, client_id: UUID) -> bytes | None:
    """The JSON object of a client's balance, in som; one indexed row. None: no such client."""
    return await store.get_balance_json(connection, client_id)


async def statement(
    connection: Connection, client_id: UUID, limit: int, before_version: int | None = None
) -> tuple[bytes, int | None]:
    """A page of transactions below a version as a JSON array, newest first, in som.

    The second answer is the `before_version` of the next page; None: this was the last one.
    """
    page, lowest = await store.get_statement_json(connection, client_id, before_version, limit)
    # Versions are dense from 1, so whether there is more needs no look.
    return page, lowest if lowest is not None and lowest > 1 else None
