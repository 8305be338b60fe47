"""Whoever marks a client to be sent whole waits for others without holding what they need."""

import asyncio

from evpower.foundation.db import Connection, Database
from evpower.sync.outgoing import store
from tests.sync.world import World
from tests.waiting import until


async def test_two_who_mark_a_client_at_once_wait_for_each_other(
    db: Database, world: World, owner: Connection
) -> None:
    """The puller has changed the client already, the comparison only marks."""
    client = await world.client()

    async def compares() -> None:
        async with db.transaction() as connection:
            await store.mark(connection, "client", [client], force=True)

    async with db.transaction() as puller:
        await puller.execute("update identity.clients set name = 'B' where id = $1", client)
        comparing = asyncio.create_task(compares())
        await until(lambda: comparing.done() or _waits(owner))
        await store.mark(puller, "client", [client], force=True)
    await comparing


async def _waits(owner: Connection) -> bool:
    return await owner.fetchval(
        "select exists (select from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock')"
    )
