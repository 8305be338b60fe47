"""Enqueuing whole clients waits for other transactions without blocking them: no deadlock."""

import asyncio

import pytest

from evpower.foundation.db import Connection, Database
from evpower.sync.outbound import store
from evpower.sync.outbound.backfill import backfill, replay_parked
from tests.sync.scenario import Scenario
from tests.waiting import until


async def test_two_transactions_that_enqueue_a_client_at_once_wait_for_each_other(
    db: Database, scenario: Scenario, owner: Connection
) -> None:
    """The puller has changed the client already, and a run only enqueues it."""
    client = await scenario.client()

    async def compares() -> None:
        async with db.transaction() as connection:
            await store.enqueue(connection, "client", [client], force=True)

    async with db.transaction() as puller:
        await puller.execute("update identity.clients set name = 'B' where id = $1", client)
        comparing = asyncio.create_task(compares())
        await until(lambda: comparing.done() or _waits(owner))
        await store.enqueue(puller, "client", [client], force=True)
    await comparing


@pytest.mark.parametrize("changed", [slice(0, 2), slice(1, 2)], ids=["both", "the last"])
async def test_a_backfill_from_scratch_waits_for_an_entry_without_blocking_it(
    db: Database, scenario: Scenario, owner: Connection, changed: slice
) -> None:
    """The puller has changed clients already and sends them whole: a backfill comes between."""
    clients = sorted([await scenario.client(), await scenario.client()])
    for client in clients:
        await owner.execute(
            "insert into sync.acknowledged (client_id, version) values ($1, 7)", client
        )
    async with db.transaction() as puller:
        await puller.execute(
            "update identity.clients set name = 'B' where id = any ($1)", clients[changed]
        )
        filling = asyncio.create_task(backfill(db, ["client"], from_scratch=True))
        await until(lambda: filling.done() or _waits(owner))
        await store.enqueue(puller, "client", clients[changed], force=True)
    assert (await filling).clients == 2
    assert await owner.fetchval("select sum(version)::int from sync.acknowledged") == 0


async def test_a_replay_of_all_parked_keys_locks_in_the_order_of_entries(
    db: Database, scenario: Scenario, owner: Connection
) -> None:
    second, first = sorted([await scenario.client(), await scenario.client()], reverse=True)
    for client in (second, first):  # a scan of the table meets the second one first
        await owner.execute("delete from sync.pending where key = $1", client)
        await store.enqueue(owner, "client", [client])
    await owner.execute("update sync.pending set parked_at = now()")
    async with db.transaction() as puller:
        await puller.execute("update identity.clients set name = 'B' where id = $1", first)
        replaying = asyncio.create_task(_replay(db))
        await until(lambda: replaying.done() or _waits(owner))
        await puller.execute("update identity.clients set name = 'B' where id = $1", second)
    assert await replaying == 0  # the changes of both have unparked them


async def _replay(db: Database) -> int:
    async with db.transaction() as connection:
        return await replay_parked(connection)


async def _waits(owner: Connection) -> bool:
    return await owner.fetchval(
        "select exists (select from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock')"
    )
