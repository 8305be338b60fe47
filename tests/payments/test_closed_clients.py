"""Bills of a client who leaves are canceled; money that arrives nevertheless opens an alert."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from evpower import alerts
from evpower.foundation.db import Connection
from evpower.identity import close_client, request_deletion
from evpower.payments import RefundDesk, refund_at_bank
from evpower.payments.closed_clients import cancel_bills, watch_money
from tests.charging.money import top_up
from tests.payments.conftest import Scenario

STATUS = "select status from payments.payments where invoice_id = $1"


async def ended(scenario: Scenario) -> int:
    return await cancel_bills(scenario.db, scenario.providers, scenario.confirmer, scenario.clock)


async def closed(scenario: Scenario) -> None:
    async with scenario.db.transaction() as connection:
        await close_client(connection, scenario.client_id, actor="Aida", reason="the driver asked")


async def deletion_requested(scenario: Scenario) -> None:
    async with scenario.db.transaction() as connection:
        await request_deletion(connection, scenario.client_id, datetime.now(UTC))


async def opened(scenario: Scenario) -> list[alerts.Alert]:
    await watch_money(scenario.db, scenario.clock)
    async with scenario.db.connection() as connection:
        return await alerts.list_alerts(connection, kinds=["closed_client_credited"])


async def at_bank(scenario: Scenario, begun: dict[str, Any]) -> list[str]:
    status = await scenario.provider.fetch_status(order_id=begun["order_id"], provider_ref=None)
    return [event.status for event in status.events]


@pytest.mark.parametrize("leave", [closed, deletion_requested])
async def test_the_open_bills_of_a_client_who_leaves_are_canceled_at_the_bank(
    scenario: Scenario, owner: Connection, leave: Any
) -> None:
    bills = [await scenario.top_up(100), await scenario.top_up(50)]
    another = await scenario.top_up(100, client=uuid4())
    assert await ended(scenario) == 0
    await leave(scenario)
    assert await ended(scenario) == 2
    for bill in bills:
        assert await owner.fetchval(STATUS, bill["invoice_id"]) == "canceled"
        assert await at_bank(scenario, bill) == ["canceled"]
    assert await owner.fetchval(STATUS, another["invoice_id"]) == "processing"
    assert await ended(scenario) == 0


async def test_a_bank_that_does_not_answer_is_asked_again_after_a_minute(
    scenario: Scenario, owner: Connection
) -> None:
    bill = await scenario.top_up(100)
    await closed(scenario)
    await scenario.faults(cancel={"mode": "error"})
    assert [await ended(scenario), await ended(scenario)] == [1, 0]
    assert await owner.fetchval(STATUS, bill["invoice_id"]) == "processing"
    scenario.clock.forward(seconds=61)
    assert await ended(scenario) == 1
    assert await owner.fetchval(STATUS, bill["invoice_id"]) == "canceled"


async def test_money_for_a_closed_client_opens_an_alert_until_it_is_returned(
    scenario: Scenario,
) -> None:
    bill = await scenario.top_up(99)
    await closed(scenario)
    assert await opened(scenario) == []
    await scenario.pay(bill, delay_s=3600)
    assert await ended(scenario) == 1
    assert await scenario.balance() == 9_900
    [alert] = await opened(scenario)
    assert alert.subject == str(scenario.client_id)
    assert (alert.detail["som"], alert.detail["invoice_id"]) == ("99.00", bill["invoice_id"])
    desk = RefundDesk(
        scenario.db, scenario.bus, scenario.providers, scenario.confirmer, scenario.clock
    )
    await refund_at_bank(
        desk, invoice_id=bill["invoice_id"], amount_minor=9_900, operator="Aida",
        reason="the account is closed", key="closed-1",
    )  # fmt: skip
    assert await scenario.balance() == 0
    assert await opened(scenario) == []


@pytest.mark.parametrize("asked_first", [False, True])
async def test_only_money_that_came_after_the_client_asked_or_was_closed_counts(
    scenario: Scenario, owner: Connection, *, asked_first: bool
) -> None:
    if asked_first:
        await deletion_requested(scenario)
    await top_up(owner, scenario.client_id, 500)
    await closed(scenario)
    assert len(await opened(scenario)) == asked_first
