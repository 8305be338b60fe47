"""EvPower's credits against the list of the simulated bank, fetched by getHistoryCsv."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from evpower.foundation.db import Connection
from evpower.payments.bank_refund import RefundDesk, refund_at_bank
from evpower.payments.model import Event
from evpower.payments.providers.odengi import OdengiProvider, Reports
from evpower.payments.providers.protocol import HasHistory
from evpower.payments.providers.registry import Providers
from evpower.payments.providers.report import parse_columns
from evpower.payments.reconciliation.decide import Decided, decide
from evpower.payments.reconciliation.model import Reconciliation
from evpower.payments.reconciliation.reconcile import Reconciler
from tests.payments.odengi.test_top_ups import OdengiScenario
from tests.payments.odengi.test_top_ups import scenario as scenario  # noqa: PLC0414 - a fixture
from tests.payments.test_confirm import event

SOURCES: Final = ("list with amounts", "list", "status")


class Unlisted:
    """The bank without its list, as where the contract lacks it."""

    def __init__(self, provider: OdengiProvider) -> None:
        self.name, self.method = provider.name, provider.method
        self.fetch_status = provider.fetch_status


def providers(scenario: OdengiScenario, source: str) -> Providers:
    hosts = frozenset({scenario.bank.url.removeprefix("http://")})
    reports = Reports(hosts, parse_columns("refunded=refunded" * (source == "list with amounts")))
    merchant = scenario.adapter._merchant
    provider = OdengiProvider(merchant, scenario.http, reports=reports, clock=scenario.clock)
    shown: Any = Unlisted(provider) if source == "status" else provider
    assert isinstance(shown, HasHistory) is (source != "status")
    return Providers([shown])


async def reconciled(scenario: OdengiScenario, source: str = SOURCES[0]) -> Reconciliation:
    scenario.clock.forward(minutes=11)
    now = scenario.clock()
    reconciler = Reconciler(scenario.db, providers(scenario, source), scenario.clock)
    return await reconciler.run("odengi", now - timedelta(hours=3), now, actor="test")


async def test_payments_of_every_kind_are_equal_on_both_sides(scenario: OdengiScenario) -> None:
    await scenario.control(commission=130)
    begun = await scenario.top_up(100)
    await scenario.act(begun, "cancel")
    await scenario.act(begun, "approve")
    await scenario.act(begun, "approve")
    await scenario.recheck(hours=1)
    await scenario.until_balance(20_000)
    run = await reconciled(scenario)
    assert (run.source, run.difference_count) == ("list", 0)
    assert (run.ours_count, run.ours_minor) == (2, 20_000)
    assert (run.theirs_count, run.theirs_minor) == (2, 20_000)


async def test_money_returned_in_the_cabinet_is_a_difference(
    scenario: OdengiScenario, owner: Connection
) -> None:
    begun = await scenario.top_up(100)
    paid = await scenario.act(begun, "approve")
    await scenario.until_balance(10_000)
    await scenario.control(void="new_attempt", notices="none")
    await scenario.act(begun, "refund", trans_id=paid["trans_id"])
    assert (await reconciled(scenario)).difference_count == 1
    [row] = await owner.fetch("select * from payments.differences")
    assert row["theirs_returned_minor"] == 10_000
    assert (await ask_bank(scenario, row["id"])).difference.closed_at is None  # we booked none


async def test_money_that_was_never_credited_is_a_difference(scenario: OdengiScenario) -> None:
    await scenario.act(await scenario.top_up(100), "approve", amount=9_000)
    await scenario.until_answered(1)
    run = await reconciled(scenario)
    assert (run.ours_minor, run.theirs_minor, run.difference_count) == (0, 9_000, 1)


async def returned(scenario: OdengiScenario, begun: dict[str, Any], minor: int) -> None:
    """Money given back by the operator's command."""
    desk = RefundDesk(
        scenario.db, scenario.bus, scenario.providers, scenario.confirmer, scenario.clock
    )
    order = await refund_at_bank(
        desk, invoice_id=begun["invoice_id"], amount_minor=minor, operator="aida",
        reason="the driver wants it", key=f"return-{minor}",
    )  # fmt: skip
    assert order.state == "returned"


async def ask_bank(scenario: OdengiScenario, difference_id: int) -> Decided:
    return await decide(
        scenario.db, scenario.providers, scenario.confirmer, difference_id=difference_id,
        decision="ask", operator="aida", reason="the bank knows", clock=scenario.clock,
    )  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
async def test_what_both_sides_know_to_be_returned_is_no_difference(
    scenario: OdengiScenario, source: str
) -> None:
    for som, back in ((100, 2_500), (70, 7_000)):
        begun = await scenario.top_up(som)
        before = await scenario.balance()
        await scenario.act(begun, "approve")
        await scenario.until_balance(before + som * 100)
        await returned(scenario, begun, back)
    run = await reconciled(scenario, source)
    assert (run.source, run.difference_count) == (source.split(maxsplit=1)[0], 0)
    assert (run.ours_minor, run.ours_returned_minor) == (17_000, 9_500)
    assert (run.theirs_minor, run.theirs_returned_minor) == (17_000, 9_500)


@pytest.mark.parametrize("source", SOURCES)
async def test_a_part_returned_in_the_cabinet_is_a_difference_until_it_is_booked(
    scenario: OdengiScenario, owner: Connection, source: str
) -> None:
    begun = await scenario.top_up(100)
    paid = await scenario.act(begun, "approve")
    await scenario.until_balance(10_000)
    await scenario.control(notices="none")
    await scenario.act(begun, "refund", trans_id=paid["trans_id"], amount=2_500)
    run = await reconciled(scenario, source)
    assert (run.difference_count, run.ours_returned_minor) == (1, 0)
    [row] = await owner.fetch("select * from payments.differences")
    amount = 2_500 if source == "list with amounts" else None
    assert (row["kind"], row["theirs_status"]) == ("returned_differs", "partial_refund")
    assert (row["theirs_minor"], row["theirs_returned_minor"]) == (10_000, amount)

    assert (await ask_bank(scenario, row["id"])).difference.closed_at is None
    if amount is not None:  # what the list said is known, though the status has no amount
        await scenario.confirmer.confirm(booked(begun, paid["trans_id"], 1_000))
        assert (await ask_bank(scenario, row["id"])).difference.closed_at is None
    await scenario.confirmer.confirm(booked(begun, paid["trans_id"], 2_500))
    assert await scenario.balance() == 7_500
    assert (await ask_bank(scenario, row["id"])).difference.closed_at is not None
    assert (await reconciled(scenario, source)).difference_count == 0


@pytest.mark.parametrize("source", SOURCES)
async def test_all_returned_in_the_cabinet_is_a_difference(
    scenario: OdengiScenario, owner: Connection, source: str
) -> None:
    begun = await scenario.top_up(100)
    paid = await scenario.act(begun, "approve")
    await scenario.until_balance(10_000)
    await scenario.control(notices="none")
    await scenario.act(begun, "refund", trans_id=paid["trans_id"])
    assert (await reconciled(scenario, source)).difference_count == 1
    [row] = await owner.fetch("select * from payments.differences")
    await scenario.confirmer.confirm(booked(begun, paid["trans_id"], 10_000))
    assert (await ask_bank(scenario, row["id"])).difference.closed_at is not None
    assert (await reconciled(scenario, source)).difference_count == 0


def booked(begun: dict[str, Any], trans_id: str, minor: int) -> Event:
    """A return as an operator books it: with the amount that the cabinet shows."""
    return replace(
        event(begun["order_id"], f"booked:{minor}", provider_ref=trans_id, paid_minor=10_000),
        provider="odengi",
        status="refunded" if minor == 10_000 else "partial_refund",
        refunded_minor=minor,
    )
