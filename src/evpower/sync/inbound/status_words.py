"""Status words of a project in use: the status of a row before EvPower first wrote it.

A word of the project's own (`suspended`) is not overwritten, and its client may not spend, until an
operator has mapped it to a meaning. Once EvPower has written a row, it overwrites words that appear
there later, because from then on EvPower is right about the status.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import orjson

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, Invalid
from evpower.foundation.text import checked
from evpower.identity import (
    Client,
    block_client,
    record_act,
    request_deletion,
    set_unmapped_status,
)
from evpower.sync.errors import TargetUnavailable
from evpower.sync.inbound import store_status_words
from evpower.sync.inbound.store_status_words import Meaning, StatusWord
from evpower.sync.model import MAX_STATUS_WORD, is_project_word
from evpower.sync.outbound import store
from evpower.sync.supabase_rpc import Rpc


@dataclass(frozen=True, slots=True)
class FoundWord:
    """A status word of rows EvPower never wrote: number of rows, mapping (None: not mapped)."""

    word: str
    clients: int
    mapped: StatusWord | None


async def handle(
    connection: Connection, client: Client, word: str, clock: Clock, *, actor: str
) -> Client:
    """Applies the meaning of a locked client's word, once; an unmapped word stops it from spending.

    Returns the changed client.
    """
    meaning = await store_status_words.meaning_of(connection, word)
    if meaning is None:
        return await set_unmapped_status(connection, client.id, word)
    if await store_status_words.insert_handled(connection, client.id, word):
        reason = f"the status was {word!r} before EvPower"
        if meaning == "blocked" and client.status == "active":
            await block_client(connection, client.id, actor=actor, reason=reason)
        elif meaning == "inactive" and client.deletion_requested_at is None:
            await request_deletion(connection, client.id, clock())
        await store.enqueue(connection, "client", [client.id])  # Supabase refused it until now
    return await set_unmapped_status(connection, client.id, None)


async def find_words(db: Database, rpc: Rpc) -> list[FoundWord]:
    """Returns the words of rows EvPower never wrote, and mapped words that no row has any more.

    Raises SyncError when Supabase does not respond.
    """
    response = await rpc.call("evpower_status_words", orjson.dumps({"payload": {}}))
    async with db.connection() as connection:
        mapped = {mapping.word: mapping for mapping in await store_status_words.words(connection)}
    try:
        rows = cast("Mapping[str, object]", response)["words"]
        words = [
            FoundWord(str(word), int(str(count)), mapped.pop(str(word), None))
            for word, count in cast("list[list[object]]", rows)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise TargetUnavailable("evpower_status_words returned an unknown form") from error
    return words + [FoundWord(mapping.word, 0, mapping) for mapping in mapped.values()]


async def map_word(
    connection: Connection, word: str, meaning: Meaning, *, operator: str, reason: str
) -> None:
    """Stores the meaning of a word, with a line in the audit.

    Raises Invalid("invalid_request"), Conflict("conflict") when it has another meaning already.
    """
    if not is_project_word(word):
        raise Invalid("invalid_request", f"{word!r} is a word EvPower knows, or none")
    for name, text in (("word", word), ("operator", operator), ("reason", reason)):
        checked(text, name, most=MAX_STATUS_WORD)
    if not operator.strip() or not reason.strip():
        raise Invalid("invalid_request", "an operator and a reason are needed")
    if await store_status_words.insert_word(connection, word, meaning, operator, reason):
        await record_act(
            connection,
            actor=operator,
            action="sync.map_status",
            subject=f"status:{word}",
            reason=reason,
            details={"meaning": meaning},
        )
        return
    known = await store_status_words.meaning_of(connection, word)
    if known != meaning:
        raise Conflict("conflict", f"{word!r} means {known} already, and clients were handled so")
