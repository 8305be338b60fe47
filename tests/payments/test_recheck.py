"""Open payments are rechecked until the provider closes them, by any number of workers."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection
from evpower.payments import store, store_recheck
from evpower.payments.confirm import Confirmer
from evpower.payments.jobs import measure, recheck_loop
from evpower.payments.model import Event
from evpower.payments.providers.protocol import BillStatus
from evpower.payments.recheck import GIVE_UP_AFTER, next_check, recheck_due
from tests.contracts.answers import code_of
from tests.payments.conftest import Scenario
from tests.payments.test_confirm import event
from tests.waiting import WAIT_LIMIT_S, until


async def recheck(scenario: Scenario) -> int:
    """Recheck as a worker that has just started: it has no state but the database."""
    confirmer = Confirmer(scenario.db, scenario.bus)
    return await recheck_due(scenario.db, scenario.providers, confirmer, scenario.clock)


async def stored(owner: Connection) -> Any:
    return await owner.fetchrow("select * from payments.payments")


async def test_a_lost_webhook_is_found_by_the_recheck(
    scenario: Scenario, owner: Connection
) -> None:
    begun = await scenario.top_up(100)
    await scenario.pay(begun, delay_s=3600)
    assert await recheck(scenario) == 0
    scenario.clock.forward(seconds=16)
    assert await recheck(scenario) == 1
    assert await scenario.balance() == 10_000
    assert scenario.published == [scenario.client_id]
    row = await stored(owner)
    assert (row["status"], row["check_count"]) == ("approved", 1)
    assert await owner.fetchval("select event_id from payments.events") == (
        f"poll:{row['provider_ref']}-1:approved:10000:0"
    )


class BrokenConfirmer(Confirmer):
    """Fails for every event."""

    async def confirm(self, event: Event) -> Any:
        raise RuntimeError(event.order_id)


async def test_every_failure_of_a_round_is_logged_before_the_first_is_raised(
    scenario: Scenario,
) -> None:
    begun = [await scenario.top_up(100), await scenario.top_up(200)]
    for invoice in begun:
        await scenario.pay(invoice, delay_s=3600)
    scenario.clock.forward(seconds=16)
    confirmer = BrokenConfirmer(scenario.db, scenario.bus)
    with capture_logs() as logs, pytest.raises(RuntimeError):
        await recheck_due(scenario.db, scenario.providers, confirmer, scenario.clock)
    failures = [line for line in logs if line["event"] == "payment_recheck_failed"]
    assert {line["invoice_id"] for line in failures} == {payment["invoice_id"] for payment in begun}
    assert len(failures) == 2


async def test_webhook_after_asking_credits_nothing_more(scenario: Scenario) -> None:
    begun = await scenario.top_up(100)
    await scenario.pay(begun, delay_s=20)
    scenario.clock.forward(seconds=16)
    await recheck(scenario)
    scenario.clock.forward(seconds=10)
    await scenario.http.post(f"{begun['app_link']}/approve", json={})

    async def delivered() -> bool:
        events = (await scenario.http.get(f"{begun['app_link']}/events")).json()
        return all(item["state"] == "done" for item in events)

    await until(delivered)
    assert await scenario.balance() == 10_000


async def test_a_response_lost_on_creation_is_found_and_credited(
    scenario: Scenario, owner: Connection
) -> None:
    await scenario.faults(create={"mode": "lost"})
    answer = await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
    assert code_of(answer) == "payment_provider_error"
    row = await stored(owner)
    state = await scenario.provider.fetch_status(order_id=row["order_id"], provider_ref=None)
    await scenario.http.post(
        f"{scenario.bank.url}/pay/{state.provider_ref}/approve", json={"delay_s": 9999}
    )
    scenario.clock.forward(seconds=16)
    await recheck(scenario)
    assert await scenario.balance() == 10_000


async def test_invoice_that_was_never_made_is_closed_after_a_while(
    scenario: Scenario, owner: Connection
) -> None:
    await scenario.faults(create={"mode": "error"})
    await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
    for delta in ({"seconds": 16}, {"minutes": 3}, {"minutes": 11}):
        scenario.clock.forward(**delta)
        assert await recheck(scenario) == 1
        assert (await stored(owner))["closed_at"] is None
    scenario.clock.forward(minutes=5)
    await recheck(scenario)
    row = await stored(owner)
    assert (row["status"], row["next_check_at"]) == ("canceled", None)
    assert (row["closed_at"] is not None, row["unknown_count"]) == (True, 4)


async def test_one_late_unknown_closes_nothing(scenario: Scenario, owner: Connection) -> None:
    """After hours without a recheck, the first "not found" may come from a proxy."""
    await scenario.faults(create={"mode": "error"})
    await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
    scenario.clock.forward(hours=9)
    for _ in range(2):
        await recheck(scenario)
        scenario.clock.forward(hours=1)
        assert (await stored(owner))["status"] == "processing"
    await recheck(scenario)
    assert (await stored(owner))["status"] == "canceled"


def wrong_address(scenario: Scenario) -> None:
    """Make every call of the bank get a 404, as from a proxy or a wrong path."""
    scenario.provider._url = f"{scenario.bank.url}/nothing"


async def recheck_for_days(scenario: Scenario) -> None:
    for _ in range(12):
        scenario.clock.forward(hours=11)
        await recheck(scenario)


async def acknowledge_by_reference(scenario: Scenario, _: Connection) -> None:
    await scenario.top_up(100)


async def acknowledge_by_answer(scenario: Scenario, _: Connection) -> None:
    await scenario.faults(create={"mode": "lost"})
    await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
    scenario.clock.forward(seconds=16)
    await recheck(scenario)


async def acknowledge_by_event(scenario: Scenario, owner: Connection) -> None:
    await scenario.faults(create={"mode": "lost"})
    await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
    order = (await stored(owner))["order_id"]
    await scenario.confirmer.confirm(event(order, status="processing", paid_minor=0))


@pytest.mark.parametrize(
    "acknowledge", [acknowledge_by_reference, acknowledge_by_answer, acknowledge_by_event]
)
class TestAcknowledged:
    async def test_unknown_closes_it_never_and_ends_in_review(
        self, scenario: Scenario, owner: Connection, acknowledge: Any
    ) -> None:
        await acknowledge(scenario, owner)
        wrong_address(scenario)
        await recheck_for_days(scenario)
        row = await stored(owner)
        assert (row["status"], row["review"]) == ("processing", "never_closed")
        assert (row["next_check_at"], row["closed_at"]) == (None, None)

    async def test_it_is_credited_when_the_bank_knows_it_again(
        self, scenario: Scenario, owner: Connection, acknowledge: Any
    ) -> None:
        await acknowledge(scenario, owner)
        order = (await stored(owner))["order_id"]
        known = await scenario.provider.fetch_status(order_id=order, provider_ref=None)
        await scenario.http.post(
            f"{scenario.bank.url}/pay/{known.provider_ref}/approve", json={"delay_s": 86_000}
        )
        wrong_address(scenario)
        for _ in range(4):
            scenario.clock.forward(minutes=20)
            await recheck(scenario)
        scenario.provider._url = scenario.bank.url
        scenario.clock.forward(hours=1)
        await recheck(scenario)
        assert await scenario.balance() == 10_000
        assert (await stored(owner))["unknown_count"] == 0


async def rechecks_of_a_day(scenario: Scenario, hours: int) -> int:
    count = 0
    for _ in range(hours * 2):
        scenario.clock.forward(minutes=30)
        count += await recheck(scenario)
    return count


@pytest.mark.parametrize("ends", ["paid", "canceled"])
async def test_a_closed_bill_is_asked_about_hourly_for_a_day(
    scenario: Scenario, owner: Connection, ends: str
) -> None:
    begun = await scenario.top_up(100)
    if ends == "paid":
        await scenario.pay(begun)
        await scenario.until_approved(begun)
    else:
        await scenario.http.post(f"{begun['app_link']}/cancel", json={})
        scenario.clock.forward(seconds=16)
        await recheck(scenario)
        assert (await stored(owner))["status"] == "canceled"
    assert await rechecks_of_a_day(scenario, 12) == 12
    assert await rechecks_of_a_day(scenario, 13) in {12, 13}
    assert (await stored(owner))["next_check_at"] is None
    assert await rechecks_of_a_day(scenario, 3) == 0


async def test_a_second_payment_of_a_paid_bill_is_found_within_the_hour(
    scenario: Scenario, owner: Connection
) -> None:
    begun = await scenario.top_up(100)
    await scenario.pay(begun)
    await scenario.until_approved(begun)
    await scenario.pay(begun, again=True, delay_s=86_000)
    await rechecks_of_a_day(scenario, 1)
    assert await scenario.balance() == 20_000
    rows = await owner.fetch("select invoice_id, review from payments.payments order by id")
    assert [tuple(row) for row in rows] == [
        (begun["invoice_id"], None),
        (f"{begun['invoice_id']}/2", "paid_twice"),
    ]


async def test_a_bill_paid_after_it_was_canceled_is_credited(scenario: Scenario) -> None:
    begun = await scenario.top_up(100)
    await scenario.http.post(f"{begun['app_link']}/cancel", json={})
    scenario.clock.forward(seconds=16)
    await recheck(scenario)
    await scenario.pay(begun, delay_s=86_000)
    await rechecks_of_a_day(scenario, 2)
    assert await scenario.balance() == 10_000


async def test_without_a_reference_it_goes_to_review_and_out_of_it(
    scenario: Scenario, owner: Connection
) -> None:
    await scenario.faults(create={"mode": "lost"}, status={"mode": "error", "times": 2})
    await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
    scenario.clock.forward(seconds=16)
    await recheck(scenario)
    assert (await stored(owner))["review"] is None
    scenario.clock.forward(minutes=15)
    await recheck(scenario)
    row = await stored(owner)
    assert (row["status"], row["review"]) == ("processing", "no_reference")
    scenario.clock.forward(minutes=15)
    await recheck(scenario)  # the answer names the bill
    row = await stored(owner)
    assert (row["review"], row["provider_ref"] is not None) == (None, True)


async def test_canceled_at_the_bank_is_closed(scenario: Scenario, owner: Connection) -> None:
    await scenario.top_up(100)
    scenario.clock.forward(hours=25)  # the bank itself ends unpaid bills after a day
    await recheck(scenario)
    row = await stored(owner)
    assert (row["status"], row["closed_at"] is not None) == ("canceled", True)


@pytest.mark.parametrize("mode", ["error", "slow", "lost"])
async def test_a_failing_provider_is_retried(
    scenario: Scenario, owner: Connection, mode: str
) -> None:
    begun = await scenario.top_up(100)
    await scenario.pay(begun, delay_s=3600)
    await scenario.faults(status={"mode": mode, "slow_s": 3})
    scenario.clock.forward(seconds=16)
    if mode == "slow":
        scenario.shorten_waits()
    await recheck(scenario)
    row = await stored(owner)
    assert (row["check_count"], row["last_checked_at"]) == (1, None)
    scenario.restore_waits()
    scenario.clock.forward(seconds=16)
    await recheck(scenario)
    assert await scenario.balance() == 10_000


async def test_an_expired_payment_is_still_rechecked(scenario: Scenario, owner: Connection) -> None:
    begun = await scenario.top_up(100)
    for _ in range(4):
        scenario.clock.forward(minutes=10)
        await recheck(scenario)
    assert (await scenario.status(begun["invoice_id"]))["status"] == 2
    await scenario.pay(begun, delay_s=86_400)
    scenario.clock.forward(hours=1)
    await recheck(scenario)
    assert await scenario.balance() == 10_000
    assert (await stored(owner))["check_count"] == 5


async def test_concurrent_workers_recheck_each_payment_once(
    scenario: Scenario, owner: Connection
) -> None:
    for _ in range(30):
        await scenario.top_up(100)
    scenario.clock.forward(seconds=16)
    claimed = await asyncio.gather(*(recheck(scenario) for _ in range(4)))
    assert sum(claimed) == 30
    counts = await owner.fetch("select distinct check_count from payments.payments")
    assert [row["check_count"] for row in counts] == [1]


async def test_crashed_worker_leaves_its_claim_to_others(scenario: Scenario) -> None:
    begun = await scenario.top_up(100)
    await scenario.pay(begun, delay_s=3600)
    scenario.clock.forward(seconds=16)
    async with scenario.db.transaction() as connection:
        claimed = await store_recheck.claim_due(
            connection,
            providers=["sandbox"],
            now=scenario.clock(),
            lease=timedelta(seconds=60),
            limit=20,
        )
    assert len(claimed) == 1  # and then that worker died
    assert await recheck(scenario) == 0
    scenario.clock.forward(seconds=61)
    assert await recheck(scenario) == 1
    assert await scenario.balance() == 10_000


async def test_a_mismatch_found_by_the_recheck_goes_to_review(
    scenario: Scenario, owner: Connection
) -> None:
    begun = await scenario.top_up(100)
    await scenario.pay(begun, amount=99.5, delay_s=3600)
    scenario.clock.forward(seconds=16)
    await recheck(scenario)
    row = await stored(owner)
    assert (row["review"], row["paid_minor"]) == ("amount_mismatch", 9_950)
    assert await scenario.balance() == 0


async def test_return_of_what_is_not_paid_yet_goes_to_review(
    scenario: Scenario, owner: Connection
) -> None:
    """The bank reports "processing" together with a returned amount."""
    await scenario.top_up(100)
    fetch_status = scenario.provider.fetch_status

    async def contradicting(**arguments: Any) -> BillStatus:
        status = await fetch_status(**arguments)
        going_on = event(arguments["order_id"], status="processing", paid_minor=0)
        return replace(status, events=(replace(going_on, refunded_minor=500),))

    scenario.provider.fetch_status = contradicting  # type: ignore[method-assign]
    scenario.clock.forward(seconds=16)
    await recheck(scenario)
    assert (await stored(owner))["review"] == "contradictory"


async def test_a_payment_open_for_days_goes_to_review(
    scenario: Scenario, owner: Connection
) -> None:
    await scenario.top_up(100)
    await scenario.faults(status={"mode": "error", "times": 1000})
    scenario.clock.forward(days=5, seconds=1)
    await recheck(scenario)
    row = await stored(owner)
    assert (row["review"], row["next_check_at"]) == ("never_closed", None)


async def test_back_off_grows_from_seconds_to_an_hour(scenario: Scenario) -> None:
    begun = await scenario.top_up(100)
    async with scenario.db.connection() as connection:
        payment = await store.find_by_invoice(connection, begun["invoice_id"])
    assert payment is not None

    def wait_s(**age: float) -> float | None:
        at = payment.created_at + timedelta(**age)
        next_at = next_check(payment, at)
        return None if next_at is None else (next_at - at).total_seconds()

    assert [wait_s(seconds=0), wait_s(seconds=299)] == [15, 15]
    assert [wait_s(minutes=8), wait_s(hours=2), wait_s(days=2)] == [120, 1800, 3600]
    assert wait_s(seconds=GIVE_UP_AFTER.total_seconds()) is None


async def test_the_loop_survives_an_outage_of_the_database_and_stops(scenario: Scenario) -> None:
    begun = await scenario.top_up(100)
    await scenario.pay(begun, delay_s=3600)
    await scenario.db.close()
    stop = asyncio.Event()
    confirmer = Confirmer(scenario.db, LocalBus())
    with capture_logs() as logs:
        loop = recheck_loop(scenario.db, scenario.providers, confirmer, scenario.clock, poll_s=0.01)
        running = asyncio.create_task(loop.run(stop))
        await until(lambda: any(line["event"] == "job_delayed" for line in logs))
        assert loop.record.error == "database_unavailable"
    await scenario.db.start()
    scenario.clock.forward(seconds=16)

    async def credited() -> bool:
        return await scenario.balance() == 10_000

    await until(credited)
    stop.set()
    await asyncio.wait_for(running, WAIT_LIMIT_S)


async def test_gauges_show_open_payments_and_the_lag(scenario: Scenario) -> None:
    await scenario.top_up(100)
    scenario.clock.forward(seconds=45)
    await measure(scenario.db, scenario.clock)
    assert REGISTRY.get_sample_value("evpower_payments_by_state", {"state": "open"}) == 1
    lag_s = REGISTRY.get_sample_value("evpower_payments_recheck_lag_seconds")
    assert lag_s is not None
    assert 29 < lag_s < 30 + WAIT_LIMIT_S
