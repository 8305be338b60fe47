"""Cancels a bill at the bank: it can't be paid any more, unless it was paid already."""

from typing import Any

import pytest

from evpower.foundation.db import Connection
from evpower.foundation.errors import EvPowerError
from evpower.payments import Payment, cancel
from tests.payments.conftest import Scenario
from tests.payments.test_confirm import event


async def canceled(scenario: Scenario, invoice_id: str, **by: str) -> Payment:
    return await cancel(
        scenario.db,
        scenario.providers,
        scenario.confirmer,
        invoice_id=invoice_id,
        clock=scenario.clock,
        **by,
    )


async def refused(scenario: Scenario, invoice_id: str) -> str:
    with pytest.raises(EvPowerError) as error:
        await canceled(scenario, invoice_id)
    return error.value.code


async def at_bank(scenario: Scenario, begun: dict[str, Any]) -> list[str]:
    status = await scenario.provider.fetch_status(order_id=begun["order_id"], provider_ref=None)
    return [event.status for event in status.events]


async def test_it_ends_here_and_there(scenario: Scenario, owner: Connection) -> None:
    begun = await scenario.top_up(100)
    payment = await canceled(scenario, begun["invoice_id"], operator="Aida", reason="a mistake")
    assert (payment.status, payment.closed_at is not None) == ("canceled", True)
    assert await at_bank(scenario, begun) == ["canceled"]
    act = await owner.fetchrow("select actor, action, reason from identity.audit")
    assert act is not None
    assert tuple(act) == ("Aida", "payments.cancel", "a mistake")
    assert await refused(scenario, begun["invoice_id"]) == "cannot_cancel"


async def test_one_that_was_paid_is_credited_instead(scenario: Scenario) -> None:
    begun = await scenario.top_up(100)
    await scenario.pay(begun, delay_s=3600)
    payment = await canceled(scenario, begun["invoice_id"])
    assert payment.status == "approved"
    assert await scenario.balance() == 10_000


async def test_a_payment_that_arrives_nevertheless_is_credited(scenario: Scenario) -> None:
    begun = await scenario.top_up(100)
    await canceled(scenario, begun["invoice_id"])
    await scenario.pay(begun)
    await scenario.until_approved(begun)
    assert await scenario.balance() == 10_000


async def test_one_in_review_stays_as_it_is_at_the_bank(scenario: Scenario) -> None:
    begun = await scenario.top_up(100)
    less = event(begun["order_id"], paid_minor=9_000)
    assert (await scenario.confirmer.confirm(less)).review == "amount_mismatch"
    before = await at_bank(scenario, begun)
    assert await refused(scenario, begun["invoice_id"]) == "cannot_cancel"
    assert await at_bank(scenario, begun) == before != ["canceled"]


@pytest.mark.parametrize("mode", ["error", "lost"])
async def test_without_an_answer_it_stays_open(
    scenario: Scenario, owner: Connection, mode: str
) -> None:
    begun = await scenario.top_up(100)
    await scenario.faults(cancel={"mode": mode})
    assert await refused(scenario, begun["invoice_id"]) == "payment_provider_error"
    assert await owner.fetchval("select status from payments.payments") == "processing"
    assert (await canceled(scenario, begun["invoice_id"])).status == "canceled"


async def test_a_bill_whose_creation_was_not_heard_is_looked_up(scenario: Scenario) -> None:
    await scenario.faults(create={"mode": "lost"})
    answer = await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
    invoice_id = answer.json()["invoice_id"]
    assert (await canceled(scenario, invoice_id)).status == "canceled"


async def test_an_unknown_payment(scenario: Scenario) -> None:
    assert await refused(scenario, "no-such-invoice") == "payment_not_found"
