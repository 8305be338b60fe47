"""SIGKILL at every step of the way in: what happened in Supabase arrives, and once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest

from evpower.devstack.local import LocalEvPower
from evpower.devstack.services import Service
from evpower.foundation.failpoints import Failpoint
from tests.faults.conftest import set_failpoint
from tests.faults.driver import Driver, Standing
from tests.faults.supabase_webhook import (
    cut_webhook,
    is_looked_up,
    ring_once_more,
    set_webhook,
    worker_away,
)
from tests.waiting import WAIT_LIMIT_S, until

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.timeout(900)]

STEPS = [step for step in Failpoint if step.startswith("pull.")]
NOTIFIED_STEPS = [step for step in Failpoint if step.startswith(("notification.", "pull."))]


@pytest.fixture(scope="module")
async def http(evpower: LocalEvPower) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=WAIT_LIMIT_S, trust_env=False) as http:
        yield http
        await set_webhook(evpower, http)


async def people(evpower: LocalEvPower, http: httpx.AsyncClient) -> tuple[Driver, Driver, Driver]:
    """Users to be created, renamed and deleted."""
    coming, staying, deletion_requested = (Driver(evpower, http) for _ in range(3))
    for driver in (staying, deletion_requested):
        await driver.sign_up()
        await until(lambda driver=driver: _has_row(driver), "no row in Supabase")
    return coming, staying, deletion_requested


async def _has_row(driver: Driver) -> bool:
    return (await driver.there()).balance_minor >= 0


async def happen(coming: Driver, staying: Driver, deletion_requested: Driver) -> None:
    await staying.rename("Чолпон")
    await coming.sign_up_there()
    await deletion_requested.leave()


async def arrived(coming: Driver, staying: Driver, deletion_requested: Driver) -> None:
    """All of it is here, each exactly once."""

    async def here() -> bool:
        renamed, closed = await staying.standing(), await deletion_requested.standing()
        return (
            await coming.standing() == Standing("Aida", "active", wallets=1, closings=0)
            and renamed is not None
            and renamed.name == "Чолпон"
            and closed is not None
            and (closed.status, closed.closings) == ("closed", 1)
        )

    await until(here, "what happened in Supabase never came")
    await until(lambda: _has_row(coming), "the new client has no row in Supabase")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("victim", ["worker", "postgres"])
async def test_a_crash_of_the_worker_loses_and_repeats_nothing(
    evpower: LocalEvPower, http: httpx.AsyncClient, step: Failpoint, victim: str
) -> None:
    await cut_webhook(evpower, http)  # or the API would be the one who gets there first
    everyone = await people(evpower, http)
    doomed = evpower.worker if victim == "worker" else evpower.stack.postgres
    assert doomed is not None
    set_failpoint(evpower, step, doomed.pid)

    if victim == "worker":
        await happen(*everyone)
        await until(lambda: _is_gone(doomed), f"nothing was killed at {step}")
    else:  # Supabase's own database is in the same server: who asks then may hear nothing
        asking = asyncio.create_task(everyone[1].rename("Чолпон"))
        await until(lambda: _is_gone(doomed), f"nothing was killed at {step}")
        asking.cancel()
        with suppress(httpx.HTTPError, AssertionError, asyncio.CancelledError):
            await asking

    if victim == "worker":
        await evpower.restart("worker")
    else:
        await evpower.stack.postgres.start()
        await until(lambda: _answers(evpower, http), "Supabase never came back")
        await happen(*everyone)
    await arrived(*everyone)


@pytest.mark.parametrize("step", NOTIFIED_STEPS)
async def test_a_crash_of_the_api_that_was_notified_loses_and_repeats_nothing(
    evpower: LocalEvPower, http: httpx.AsyncClient, step: Failpoint
) -> None:
    await set_webhook(evpower, http)
    everyone = await people(evpower, http)
    await until(lambda: is_looked_up(evpower), "the worker never read the log to its end")
    async with worker_away(evpower):
        set_failpoint(evpower, step, evpower.api.pid)
        await happen(*everyone)
        await ring_once_more(evpower, http)
        await until(lambda: _is_gone(evpower.api), f"nothing was killed at {step}")
    await evpower.restart("api")
    # No notification is repeated: the worker, which also polls, reads what is missing.
    await arrived(*everyone)


async def _is_gone(service: Service) -> bool:
    return not service.running


async def _answers(evpower: LocalEvPower, http: httpx.AsyncClient) -> bool:
    """A query that was under way when PostgreSQL died may never be answered: asked again."""
    urls = evpower.urls()
    key = {"apikey": urls.secret_key}
    try:
        answers = [
            await http.get(urls.supabase + path, headers=key, timeout=5)
            for path in ("/rest/v1/clients?select=id&limit=1", "/auth/v1/admin/users?per_page=1")
            for _ in range(4)
        ]
    except httpx.HTTPError:
        return False
    return all(answer.is_success for answer in answers)
