"""A key is parked by the answer to its last change, never by the answer to an earlier one."""

import httpx

from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.sync import Relay, replay_parked
from evpower.sync.model import Finish
from evpower.sync.outbound import store
from tests.sync.conftest import rpc_to
from tests.sync.scenario import Meanwhile, Scenario, Target, balance


async def test_a_session_that_changes_while_its_client_is_refused_is_sent_again(
    db: Database, http: httpx.AsyncClient, target: Target, settings: Settings, scenario: Scenario,
    there: Connection,
) -> None:  # fmt: skip
    client = await scenario.client()
    await scenario.top_up(client, 20_000)
    await Relay(db, rpc_to(http, target), settings, utc_now).drain()
    await there.execute("delete from public.clients")
    session = await scenario.session(client)
    await scenario.db.execute("update sync.pending set parked_at = now() where topic = 'client'")

    async def change() -> None:
        async with db.transaction() as connection:
            await store.enqueue(connection, "session", [session])

    rpc = Meanwhile(rpc_to(http, target), change)
    relay = Relay(db, rpc, settings, utc_now)
    assert (await relay.run_once()).refused == 1
    entry = await scenario.db.fetchrow("select * from sync.pending where topic = 'session'")
    assert entry is not None
    assert (entry["key"], entry["parked_at"], entry["leased_until"]) == (session, None, None)
    assert (await relay.run_once()).refused == 1  # it is sent: nothing has changed since
    assert await scenario.db.fetchval(
        "select parked_at is not null from sync.pending where topic = 'session'"
    )


async def test_a_key_that_an_operator_replays_is_not_parked_by_an_older_call(
    db: Database, http: httpx.AsyncClient, target: Target, settings: Settings, scenario: Scenario,
    there: Connection,
) -> None:  # fmt: skip
    client = await scenario.client()
    async with db.connection() as connection:
        (older,) = await store.claim(connection, keys=1, transactions=1, lease_s=0.0)
    # The older call's lease has expired, and another call parked the key.
    await scenario.db.execute("update sync.pending set parked_at = now(), leased_until = null")
    async with db.transaction() as connection:
        assert await replay_parked(connection) == 1
        assert await store.finish(connection, [Finish(older, "park", "23505: taken")]) == []
    await Relay(db, rpc_to(http, target), settings, utc_now).drain()
    assert await balance(there, client) == "0.00"
