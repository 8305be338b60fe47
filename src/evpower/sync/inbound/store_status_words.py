"""SQL of status words: the meaning of each, and the clients whose word was handled."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from evpower.foundation.db import Connection, Record

Meaning = Literal["active", "blocked", "inactive"]


@dataclass(frozen=True, slots=True)
class StatusWord:
    """The meaning an operator gave to a status word of the project."""

    word: str
    meaning: Meaning
    operator: str
    reason: str
    mapped_at: datetime


async def words(connection: Connection) -> list[StatusWord]:
    """Returns every mapped word, in order."""
    rows: list[Record] = await connection.fetch(
        "select word, meaning, operator, reason, mapped_at from sync.status_words order by word"
    )
    return [StatusWord(**dict(row)) for row in rows]


async def meaning_of(connection: Connection, word: str) -> Meaning | None:
    """Returns the meaning of a word; None: no operator has mapped it."""
    return await connection.fetchval("select meaning from sync.status_words where word = $1", word)


async def insert_word(
    connection: Connection, word: str, meaning: Meaning, operator: str, reason: str
) -> bool:
    """Stores the meaning of a word. Returns false when it is mapped already."""
    inserted = await connection.fetchval(
        """
        insert into sync.status_words (word, meaning, operator, reason) values ($1, $2, $3, $4)
        on conflict (word) do nothing returning true
        """,
        word,
        meaning,
        operator,
        reason,
    )
    return inserted is not None


async def insert_handled(connection: Connection, client_id: UUID, word: str) -> bool:
    """Stores that a client's earlier word was handled. Returns false when it already was."""
    inserted = await connection.fetchval(
        """
        insert into sync.status_before (client_id, word) values ($1, $2)
        on conflict (client_id) do nothing returning true
        """,
        client_id,
        word,
    )
    return inserted is not None


async def waiting(connection: Connection, word: str, limit: int) -> list[UUID]:
    """Returns clients that wait for this word to be mapped, at most `limit`."""
    rows: list[Record] = await connection.fetch(
        "select id from identity.clients_public where unmapped_status = $1 order by id limit $2",
        word,
        limit,
    )
    return [row["id"] for row in rows]
