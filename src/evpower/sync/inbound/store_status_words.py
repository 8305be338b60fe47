"""SQL of status words: what each means, and which client's word was handled."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from evpower.foundation.db import Connection, Record

Meaning = Literal["active", "blocked", "inactive"]


@dataclass(frozen=True, slots=True)
class StatusWord:
    """What an operator said a project's own status word means."""

    word: str
    meaning: Meaning
    operator: str
    reason: str
    mapped_at: datetime


async def words(connection: Connection) -> list[StatusWord]:
    """Every mapped word, in order."""
    rows: list[Record] = await connection.fetch(
        "select word, meaning, operator, reason, mapped_at from sync.status_words order by word"
    )
    return [StatusWord(**dict(row)) for row in rows]


async def meaning_of(connection: Connection, word: str) -> Meaning | None:
    """What a word means; None: no operator has said."""
    return await connection.fetchval("select meaning from sync.status_words where word = $1", word)


async def insert_word(
    connection: Connection, word: str, meaning: Meaning, operator: str, reason: str
) -> bool:
    """Store what a word means; false when it is mapped already: clients were handled by it."""
    found = await connection.fetchval(
        """
        insert into sync.status_words (word, meaning, operator, reason) values ($1, $2, $3, $4)
        on conflict (word) do nothing returning true
        """,
        word,
        meaning,
        operator,
        reason,
    )
    return found is not None


async def insert_handled(connection: Connection, client_id: UUID, word: str) -> bool:
    """Remember that a client's word from before EvPower was handled; false: it was before."""
    found = await connection.fetchval(
        """
        insert into sync.status_before (client_id, word) values ($1, $2)
        on conflict (client_id) do nothing returning true
        """,
        client_id,
        word,
    )
    return found is not None


async def waiting(connection: Connection, word: str, limit: int) -> list[UUID]:
    """Clients that wait for this word to be mapped."""
    rows: list[Record] = await connection.fetch(
        "select id from identity.clients where unmapped_status = $1 order by id limit $2",
        word,
        limit,
    )
    return [row["id"] for row in rows]
