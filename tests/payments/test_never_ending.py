"""A bank that sends one byte at a time, or nothing, does not stop the recheck of open payments."""

import asyncio

import pytest

from evpower.foundation.db import Connection
from evpower.payments import Providers
from evpower.payments.confirm import Confirmer
from evpower.payments.jobs import recheck_loop
from evpower.payments.providers.sandbox import SandboxProvider
from evpower.payments.recheck import recheck_due
from tests.faults.proxy import NEVER_ENDING, Fault, FaultProxy, HttpThrough
from tests.payments.conftest import SECRET, Scenario
from tests.waiting import until


@pytest.mark.parametrize("fault", sorted(NEVER_ENDING, key=lambda fault: fault.value))
async def test_the_recheck_goes_on_after_responses_that_never_end(
    fault: Fault, scenario: Scenario, owner: Connection
) -> None:
    for _ in range(5):
        await scenario.pay(await scenario.top_up(100), delay_s=3600)
    scenario.clock.forward(seconds=16)
    async with FaultProxy(scenario.bank.url) as proxy, HttpThrough(proxy) as http:
        providers = Providers([SandboxProvider(proxy.url, [SECRET], http)], "sandbox")
        confirmer = Confirmer(scenario.db, scenario.bus)
        proxy.fault = fault
        assert await recheck_due(scenario.db, providers, confirmer, scenario.clock) == 5
        assert await owner.fetchval("select count(*) from wallet.transactions") == 0
        proxy.fault = Fault.NONE
        scenario.clock.forward(seconds=60)
        stop = asyncio.Event()
        loop = recheck_loop(scenario.db, providers, confirmer, scenario.clock, poll_s=0.05)
        running = asyncio.create_task(loop.run(stop))

        async def is_credited() -> bool:
            return await scenario.balance() == 50_000

        await until(is_credited)
        stop.set()
        await running
