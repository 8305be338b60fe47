"""Supabase answers one byte at a time, or never: relay and puller go on as soon as it is well."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.sync import Puller, Relay, SupabaseRpc
from tests.faults.proxy import NEVER_ENDING, Fault, FaultProxy, HttpThrough
from tests.sync.pulling import Supabase, emptied
from tests.sync.scenario import Scenario, Target, balance
from tests.waiting import PatientHttp, until

pytestmark = pytest.mark.parametrize("fault", sorted(NEVER_ENDING, key=lambda item: item.value))


@pytest.fixture
async def proxy(fresh_project: Target) -> AsyncGenerator[FaultProxy]:
    async with FaultProxy(fresh_project.local.url) as proxy:
        yield proxy


@pytest.fixture
async def rpc(proxy: FaultProxy, fresh_project: Target) -> AsyncGenerator[SupabaseRpc]:
    async with HttpThrough(proxy) as http:
        yield SupabaseRpc(http, proxy.url, fresh_project.local.secret_key)


async def test_every_slot_of_the_relay_is_free_again(
    fault: Fault, db: Database, rpc: SupabaseRpc, proxy: FaultProxy, scenario: Scenario,
    there_fresh: Connection,
) -> None:  # fmt: skip
    settings = Settings(_env_file=None, relay_poll_s=0.05, relay_batch=1, relay_in_flight=3)
    relay = Relay(db, rpc, settings, utc_now, jitter=lambda: 0.0)
    clients = await scenario.clients(10)
    await scenario.top_up_everyone(clients, 1)
    proxy.fault = fault
    stop = asyncio.Event()
    running = asyncio.create_task(relay.run(stop))
    await until(lambda: proxy.requests > settings.relay_in_flight)
    proxy.fault = Fault.NONE

    async def everything_is_there() -> bool:
        rows = await there_fresh.fetchval("select count(*) from public.transactions")
        return rows == len(clients) and await scenario.pending() == 0

    await scenario.db.execute("update sync.pending set next_at = now(), leased_until = null")
    await until(everything_is_there)
    stop.set()
    await running
    assert await balance(there_fresh, clients[0]) != "0.00"


async def test_the_puller_takes_what_changed_meanwhile(
    fault: Fault, db: Database, rpc: SupabaseRpc, proxy: FaultProxy, scenario: Scenario,
    fresh_project: Target, there_fresh: Connection, http: PatientHttp,
) -> None:  # fmt: skip
    await emptied(fresh_project, there_fresh)
    supabase = Supabase(fresh_project, there_fresh, http)
    settings = Settings(_env_file=None, pull_poll_s=0.05)
    puller = Puller(db, rpc, settings, utc_now, jitter=lambda: 0.0)
    proxy.fault = fault
    stop = asyncio.Event()
    running = asyncio.create_task(puller.run(stop))
    driver = await supabase.sign_up(name="Aida")
    await until(lambda: proxy.requests > 1)
    proxy.fault = Fault.NONE

    async def is_known() -> bool:
        return await scenario.db.fetchval(
            "select exists (select from identity.clients where id = $1)", driver.id
        )

    await until(is_known)
    stop.set()
    await running
