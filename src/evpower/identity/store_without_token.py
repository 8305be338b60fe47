"""The SQL of the clients that may still call without a token."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from evpower.foundation.db import Connection
from evpower.foundation.rows import columns, read_row


@dataclass(frozen=True, slots=True)
class WithoutToken:
    """A client that may still call without a token."""

    client_id: UUID
    actor: str
    added_at: datetime


async def insert_without_token(
    connection: Connection, client_ids: Sequence[UUID], actor: str
) -> list[UUID]:
    """Inserts clients; returns those that were not there."""
    rows = await connection.fetch(
        """
        insert into identity.clients_without_token (client_id, actor)
        select distinct id, $2 from unnest($1::uuid[]) as given (id)
        on conflict (client_id) do nothing returning client_id
        """,
        client_ids,
        actor,
    )
    return [row["client_id"] for row in rows]


async def delete_without_token(connection: Connection, client_id: UUID) -> bool:
    """Deletes a client's row. Returns whether there was one."""
    deleted = await connection.fetchval(
        "delete from identity.clients_without_token where client_id = $1 returning true", client_id
    )
    return deleted is True


async def is_without_token(connection: Connection, client_id: UUID) -> bool:
    """Returns whether the client is there."""
    return await connection.fetchval(
        "select exists (select from identity.clients_without_token where client_id = $1)",
        client_id,
    )


async def list_without_token(connection: Connection, limit: int) -> list[WithoutToken]:
    """Returns the newest."""
    rows = await connection.fetch(
        f"""
        select {columns(WithoutToken)} from identity.clients_without_token
         order by added_at desc, client_id limit $1
        """,
        limit,
    )
    return [read_row(WithoutToken, row) for row in rows]


async def count_without_token(connection: Connection) -> int:
    """Returns how many there are."""
    return await connection.fetchval("select count(*) from identity.clients_without_token")
