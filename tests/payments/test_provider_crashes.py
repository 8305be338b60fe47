"""A process is killed between a call of the bank and its storing: no money is lost or made."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from evpower.foundation.db import Connection
from evpower.foundation.failpoints import Failpoint
from evpower.payments.bank_refund import RefundDesk, settle_open
from evpower.payments.recheck import recheck_due
from tests.payments.conftest import SECRET, Scenario

Kill = Callable[..., Awaitable[None]]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def kill(scenario: Scenario, dsn: str, tmp_path: Path) -> Kill:
    """Does one thing in a process that is killed at a failpoint; a death elsewhere fails."""

    async def run(step: Failpoint, **facts: str) -> None:
        file = tmp_path / "failpoint"
        command = [sys.executable, "-m", "tests.payments.doomed", dsn, scenario.bank.url, SECRET]
        process = await asyncio.create_subprocess_exec(
            *command, str(file), step.value, orjson.dumps(facts).decode(), cwd=ROOT
        )
        assert await process.wait() == -signal.SIGKILL
        assert not file.exists()

    return run


async def recheck(scenario: Scenario, **later: float) -> None:
    scenario.clock.forward(**later)
    await recheck_due(scenario.db, scenario.providers, scenario.confirmer, scenario.clock)


async def paid(scenario: Scenario) -> dict[str, Any]:
    begun = await scenario.top_up(100)
    await scenario.pay(begun)
    await scenario.until_approved(begun)
    return begun


async def row(owner: Connection) -> Any:
    return await owner.fetchrow("select * from payments.payments order by id limit 1")


async def returned_at_bank(scenario: Scenario, begun: dict[str, Any]) -> int:
    status = await scenario.provider.fetch_status(order_id=begun["order_id"], provider_ref=None)
    return sum(event.refunded_minor or 0 for event in status.events)


async def test_a_bill_that_was_created_is_the_one_that_is_resumed(
    scenario: Scenario, owner: Connection, kill: Kill
) -> None:
    await kill(Failpoint.BILL_CREATED, act="top_up", client=str(scenario.client_id))
    assert ((await row(owner))["provider_ref"], (await row(owner))["create_count"]) == (None, 1)
    key = {"Idempotency-Key": "the-key"}
    answer = await scenario.request("POST", "/balance/topup-qr", json={"amount": 100}, headers=key)
    begun = answer.json()
    assert begun["invoice_id"] == (await row(owner))["invoice_id"]
    await scenario.pay(begun)
    await scenario.until_approved(begun)
    assert await scenario.balance() == 10_000
    assert await owner.fetchval("select count(*) from payments.payments") == 1


async def test_a_bill_that_was_created_and_paid_is_credited_and_not_made_again(
    scenario: Scenario, owner: Connection, kill: Kill
) -> None:
    await kill(Failpoint.BILL_CREATED, act="top_up", client=str(scenario.client_id))
    order_id = (await row(owner))["order_id"]
    status = await scenario.provider.fetch_status(order_id=order_id, provider_ref=None)
    bill = f"{scenario.bank.url}/pay/{status.provider_ref}"
    await scenario.pay({"app_link": bill}, delay_s=86_000)
    answer = await scenario.request(
        "POST",
        "/balance/topup-qr",
        json={"amount": 100},
        headers={"Idempotency-Key": "the-key"},
    )
    assert answer.json()["success"] is True
    assert await scenario.balance() == 10_000
    assert (await row(owner))["create_count"] == 1


async def test_a_canceled_bill_is_closed_by_the_recheck(
    scenario: Scenario, owner: Connection, kill: Kill
) -> None:
    begun = await scenario.top_up(100)
    await kill(Failpoint.CANCEL_CALLED, act="cancel", invoice=begun["invoice_id"])
    assert (await row(owner))["status"] == "processing"
    await recheck(scenario, seconds=16)
    assert (await row(owner))["status"] == "canceled"


@pytest.mark.parametrize(
    "step", [Failpoint.RETURN_ORDERED, Failpoint.RETURN_CALLED, Failpoint.RETURN_UNCOMMITTED]
)
async def test_a_refund_is_made_once_and_its_outcome_is_found(
    scenario: Scenario, owner: Connection, kill: Kill, step: Failpoint
) -> None:
    begun = await paid(scenario)
    await kill(step, act="refund", invoice=begun["invoice_id"])
    desk = RefundDesk(
        scenario.db, scenario.bus, scenario.providers, scenario.confirmer, scenario.clock
    )
    scenario.clock.forward(minutes=3)
    for _ in range(3):
        await settle_open(desk)
    is_called = step is not Failpoint.RETURN_ORDERED
    assert await returned_at_bank(scenario, begun) == (3_000 if is_called else 0)
    assert await scenario.balance() == (7_000 if is_called else 10_000)
    state = await owner.fetchval("select state from payments.bank_refunds")
    review = (await row(owner))["review"]
    assert (state, review) == (("returned", None) if is_called else ("unknown", "refund_unknown"))


@pytest.mark.parametrize(
    "step",
    [
        Failpoint.QUESTION_CLAIMED,
        Failpoint.CONFIRM_UNCOMMITTED,
        Failpoint.CONFIRM_COMMITTED,
    ],
)
async def test_a_notice_that_was_being_asked_about_is_asked_about_again(
    scenario: Scenario, kill: Kill, step: Failpoint
) -> None:
    begun = await scenario.top_up(100)
    await scenario.pay(begun, delay_s=86_000)
    await kill(step, act="ask", order=begun["order_id"])
    await recheck(scenario, seconds=61)
    assert await scenario.balance() == 10_000
