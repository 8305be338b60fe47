"""Supabase stopped or hanging under a whole stack: no request fails, both sides become equal."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from evpower.devstack.local import LocalEvPower
from tests.faults.driver import Driver, Money
from tests.waiting import COMMAND_S, WAIT_LIMIT_S, freeze, until

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.timeout(900)]
READS = ("/api/v1/balance/{}", "/api/v1/balance/history/{}", "/api/v1/charging/history/{}")
ROUNDS = 50  # whoever waited for Supabase, 2 s each time, would still be reading after COMMAND_S


@pytest.fixture(scope="module")
async def driver(evpower: LocalEvPower) -> AsyncIterator[Driver]:
    async with httpx.AsyncClient(timeout=WAIT_LIMIT_S, trust_env=False) as http:
        driver = Driver(evpower, http)
        await driver.sign_up()
        yield driver


@asynccontextmanager
async def hanging(pid: int) -> AsyncIterator[None]:
    """Its sockets stay open and nothing answers: the worst kind of slow."""
    await freeze(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_hanging_supabase_is_noticed_by_no_driver(
    evpower: LocalEvPower, driver: Driver
) -> None:
    before = await driver.here()
    async with hanging(evpower.stack.supabase.pid):
        await _pay_and_read(driver, before)
    await _meet(driver, before)


async def test_a_dead_supabase_is_noticed_by_no_driver(
    evpower: LocalEvPower, driver: Driver
) -> None:
    before = await driver.here()
    evpower.stack.supabase.kill()
    try:
        await _pay_and_read(driver, before)
        await until(lambda: _is_degraded(driver), "Supabase being down is degraded, not unready")
    finally:
        await evpower.stack.supabase.start()
    await _meet(driver, before)


async def _pay_and_read(driver: Driver, before: Money) -> None:
    invoice = await driver.open_invoice(40)
    await driver.approve(invoice)

    async def credited() -> bool:
        return (await driver.here()).balance_minor == before.balance_minor + 40_00

    await until(credited, "the payment was not credited")
    async with asyncio.timeout(COMMAND_S):
        for path in READS * ROUNDS:
            answer = await driver.read(path.format(driver.client_id))
            assert answer.status_code == 200, answer.text


async def _is_degraded(driver: Driver) -> bool:
    """What it says of Supabase may be some seconds old; a busy database may unready it a moment."""
    ready = await driver.http.get(f"{driver.urls.api}/readyz")
    return ready.status_code == 200 and ready.json()["supabase"] != "ok"


async def _meet(driver: Driver, before: Money) -> None:
    after = Money(before.balance_minor + 40_00, before.transactions + 1)

    async def equal() -> bool:
        return await driver.here() == after == await driver.there()

    await until(equal, "after the outage the sides never met", within_s=COMMAND_S)
