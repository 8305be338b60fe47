"""EvPower's credits against the list of the simulated bank, fetched by getHistoryCsv."""

from datetime import timedelta

from evpower.foundation.db import Connection
from evpower.payments.providers.odengi import OdengiProvider, Reports
from evpower.payments.providers.registry import Providers
from evpower.payments.providers.report import parse_columns
from evpower.payments.reconciliation.model import Reconciliation
from evpower.payments.reconciliation.reconcile import Reconciler
from tests.payments.odengi.test_top_ups import OdengiScenario
from tests.payments.odengi.test_top_ups import scenario as scenario  # noqa: PLC0414 - a fixture


async def reconciled(scenario: OdengiScenario) -> Reconciliation:
    hosts = frozenset({scenario.bank.url.removeprefix("http://")})
    reports = Reports(hosts, parse_columns("refunded=refunded"))
    merchant = scenario.adapter._merchant
    provider = OdengiProvider(merchant, scenario.http, reports=reports, clock=scenario.clock)
    scenario.clock.forward(minutes=11)
    now = scenario.clock()
    reconciler = Reconciler(scenario.db, Providers([provider]), scenario.clock)
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


async def test_money_that_was_never_credited_is_a_difference(scenario: OdengiScenario) -> None:
    await scenario.act(await scenario.top_up(100), "approve", amount=9_000)
    await scenario.until_answered(1)
    run = await reconciled(scenario)
    assert (run.ours_minor, run.theirs_minor, run.difference_count) == (0, 9_000, 1)
