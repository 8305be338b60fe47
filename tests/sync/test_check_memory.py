"""A Supabase that lost everything takes no more memory to compare than one that is equal."""

import gc
import tracemalloc
from collections.abc import Iterator

import httpx
import pytest

from evpower.foundation.db import Connection, Database
from evpower.sync import Relay, Rpc
from evpower.sync.reconciliation.run import SAMPLE
from tests.sync.checking import compare, drift_rows, empty, give_users, past_every_guard
from tests.sync.conftest import rpc_to
from tests.sync.scenario import Scenario, Target

pytestmark = pytest.mark.parametrize("target", ["fresh_project"], indirect=True)
_BATCH = 100


class Sizes:
    """Passes calls on and keeps nothing of them but how many keys the largest had."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc
        self.most_keys = 0

    async def call(self, function: str, body: bytes) -> object:
        self.most_keys = max(self.most_keys, body.count(b"-") // 4)
        return await self.rpc.call(function, body)


@pytest.fixture
def little_garbage() -> Iterator[None]:
    """What waits to be collected would be measured, too: it is as little as Python lets it be."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("little_garbage")
async def test_three_thousand_lost_clients_are_compared_and_repaired_page_by_page(
    db: Database,
    http: httpx.AsyncClient,
    target: Target,
    scenario: Scenario,
    relay: Relay,
    there: Connection,
) -> None:
    await empty(there)
    calls = Sizes(rpc_to(http, target))
    peaks: list[int] = []
    for more in (300, 2_700):
        clients = await scenario.clients(more)
        await scenario.top_up_everyone(clients, 1)
        await give_users(scenario, there)
        await relay.drain()
        async with past_every_guard(there):
            await there.execute("delete from public.transactions; delete from public.clients")
        gc.collect()
        tracemalloc.start()
        result = await compare(db, calls, batch=_BATCH)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert result.differ == await scenario.db.fetchval("select count(*) from identity.clients")
        assert (len(result.drift), result.closed) == (SAMPLE, 0)
    assert calls.most_keys <= _BATCH
    assert peaks[1] - peaks[0] < 640 * 1024, peaks  # gathered, the others would take 2 MB
    waiting: list[int] = []

    async def deliver() -> None:
        waiting.append(await scenario.pending())
        await relay.drain()

    repaired = await compare(db, calls, batch=_BATCH, repair=True, deliver=deliver)
    assert (repaired.differ, repaired.closed, repaired.equal) == (3_000, 3_000, True)
    assert max(waiting) <= _BATCH  # repaired page by page, not gathered
    assert len(waiting) == 30
    assert await there.fetchval("select count(*) from public.transactions") == 3_000
    assert await drift_rows(db) == {}
