"""SIGKILL at every step between a webhook and Supabase: nothing lost, nothing twice."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

import evpower as package
from evpower.devstack.local import LocalEvPower
from evpower.devstack.postgres.server import EmbeddedPostgres
from evpower.devstack.services import ProcessService
from evpower.foundation.failpoints import Failpoint
from tests.faults.conftest import set_failpoint
from tests.faults.driver import Driver, Money
from tests.waiting import WAIT_LIMIT_S, until

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.timeout(900)]

IN_API = ("webhook.", "confirm.")
# The way in is in test_pull_crashes, charging, alerts and push in their own folders, calls of
# providers in tests/payments/test_provider_crashes.py.
ELSEWHERE = (
    "notification.", "pull.", "session.", "start.", "begin.", "step.", "changes.", "alert.",
    "question.", "message.", "cancel.", "return.", "bill.", "outcome.",
)  # fmt: skip
OF_MONEY = [step for step in Failpoint if not step.startswith(ELSEWHERE)]


@pytest.fixture(scope="module")
async def driver(evpower: LocalEvPower) -> AsyncIterator[Driver]:
    async with httpx.AsyncClient(timeout=WAIT_LIMIT_S, trust_env=False) as http:
        driver = Driver(evpower, http)
        await driver.sign_up()
        yield driver


def test_every_step_is_passed_by_the_code() -> None:
    """A step that no process reaches would make its case below prove nothing."""
    source = "".join(path.read_text() for path in Path(package.__path__[0]).rglob("*.py"))
    passed = set(re.findall(r"hit\(Failpoint\.(\w+)\)", source))
    assert passed == {step.name for step in Failpoint}


@pytest.mark.parametrize("step", OF_MONEY)
@pytest.mark.parametrize("victim", ["process", "postgres"])
async def test_a_crash_loses_and_repeats_nothing(
    evpower: LocalEvPower, driver: Driver, step: Failpoint, victim: str
) -> None:
    before = await driver.here()
    await until(lambda: _equal(driver, before), "the sides were not equal before the crash")
    postgres = evpower.stack.postgres
    role = "api" if step.startswith(IN_API) else "worker"
    process = evpower.api if role == "api" else evpower.worker
    doomed = process if victim == "process" else postgres
    assert doomed is not None
    invoice = await driver.open_invoice(25)
    set_failpoint(evpower, step, doomed.pid)

    await driver.approve(invoice)

    await until(lambda: _is_gone(doomed), f"nothing was killed at {step}")
    if victim == "process":
        await evpower.restart(role)
    else:
        await postgres.start()
    after = Money(before.balance_minor + 25_00, before.transactions + 1)
    await until(lambda: _equal(driver, after), f"after a crash at {step} the sides never met")


async def _is_gone(service: ProcessService | EmbeddedPostgres) -> bool:
    return not service.running


async def _equal(driver: Driver, money: Money) -> bool:
    return await driver.here() == money == await driver.there()
