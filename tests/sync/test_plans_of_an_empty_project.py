"""Plans live as long as a connection: one made while nobody was there must be good for many."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import asyncpg

from evpower.foundation.db import Connection
from tests.sync.world import Target, by_hand

MANY = 20_000
PAGE = 1000
PATIENCE_MS = 60_000  # everybody compared with everybody takes longer on any machine


async def asked(there: Connection, function: str, payload: Mapping[str, Any]) -> Any:
    sql = f"select public.{function}($1::jsonb)"
    return json.loads(await there.fetchval(sql, json.dumps(payload)))


def digests(ids: list[str]) -> list[dict[str, Any]]:
    """Every form in which a comparison asks for rows by their ids."""
    return [
        {"topic": "clients", "ids": ids},
        {"topic": "clients", "ids": ids, "chunk": 50},
        {"topic": "people", "ids": ids, "chunk": 50},
        {"topic": "sessions", "ids": ids},
        {"topic": "sessions", "ids": ids, "chunk": 50},
    ]


async def test_people_are_found_by_their_ids(
    fresh_project: Target, there_fresh: Connection
) -> None:
    async with by_hand(there_fresh):
        await there_fresh.execute("truncate auth.users cascade")
    await there_fresh.execute("vacuum (analyze)")
    early: Connection = await asyncpg.connect(fresh_project.dsn)
    try:
        await early.execute(f"set statement_timeout = {PATIENCE_MS}")
        for payload in ({"ids": [str(uuid4())]}, {"after": None, "limit": PAGE}):
            await asked(early, "evpower_people", payload)
        for payload in digests([str(uuid4())]):
            await asked(early, "evpower_digest", payload)
        await asked(early, "evpower_changes", {"after": None, "limit": PAGE})
        async with by_hand(there_fresh):
            await there_fresh.execute(
                "insert into auth.users (id, email)"
                " select gen_random_uuid(), g || '@e.kg' from generate_series(1, $1::int) g",
                MANY,
            )
            await there_fresh.execute(
                "insert into public.clients (id, name) select id, 'x' from auth.users"
            )
        page = await asked(early, "evpower_people", {"after": None, "limit": PAGE})
        assert len(page["people"]) == PAGE
        assert all(one["client"] and one["user"] for one in page["people"])
        ids = [one["id"] for one in page["people"]]
        for payload in digests(ids):
            assert await asked(early, "evpower_digest", payload)
        changes = await asked(early, "evpower_changes", {"after": None, "limit": PAGE})
        assert len(changes["people"]) > 0
    finally:
        await early.close()
        async with by_hand(there_fresh):
            await there_fresh.execute("truncate auth.users cascade")
            await there_fresh.execute("truncate evpower.changes")
