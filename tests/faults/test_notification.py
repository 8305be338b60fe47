"""Change notifications through real processes: a change arrives at once, and without them too."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from evpower.devstack.local import LocalEvPower
from tests.faults.driver import Driver
from tests.faults.supabase_webhook import (
    cut_webhook,
    is_looked_up,
    ring_once_more,
    set_webhook,
    worker_away,
)
from tests.waiting import WAIT_LIMIT_S, until

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
async def driver(evpower: LocalEvPower) -> AsyncIterator[Driver]:
    async with httpx.AsyncClient(timeout=WAIT_LIMIT_S, trust_env=False) as http:
        driver = Driver(evpower, http)
        await driver.sign_up()
        await until(lambda: _has_row(driver), "no row in Supabase")
        yield driver
        await set_webhook(evpower, http)
        await evpower.restart("worker")


async def test_the_notification_alone_brings_a_change(
    evpower: LocalEvPower, driver: Driver
) -> None:
    await set_webhook(evpower, driver.http)
    await until(lambda: is_looked_up(evpower), "the worker never read the log to its end")
    async with worker_away(evpower):
        before = await _calls(evpower)
        await driver.rename("notified")
        await ring_once_more(evpower, driver.http)
        await until(lambda: _is_named(driver, "notified"), "the notification brought nothing")
        assert await _calls(evpower) > before


async def test_without_any_notification_the_period_brings_it(
    evpower: LocalEvPower, driver: Driver
) -> None:
    await cut_webhook(evpower, driver.http)
    await evpower.restart("worker", {"EVPOWER_PULL_POLL_S": "0.5"})
    before = await _calls(evpower)
    await driver.rename("looked up")
    await until(lambda: _is_named(driver, "looked up"), "without a notification nothing came")
    assert await _calls(evpower) == before


async def _has_row(driver: Driver) -> bool:
    return (await driver.there()).balance_minor >= 0


async def _is_named(driver: Driver, name: str) -> bool:
    standing = await driver.standing()
    return standing is not None and standing.name == name


async def _calls(evpower: LocalEvPower) -> int:
    """How many calls Supabase has ever handed to its pg_net, whenever they arrive."""
    connection = await asyncpg.connect(evpower.urls().supabase_database_url)
    try:
        count: int = await connection.fetchval(
            "select case when is_called then last_value else 0 end"
            " from net.http_request_queue_id_seq"
        )
        return count
    finally:
        await connection.close()
