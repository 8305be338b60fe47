"""Open payments are asked about until the provider closes them, by any number of workers."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection
from evpower.payments import Confirmer, Event, recheck_due, store
from evpower.payments.jobs import measure, recheck_loop
from evpower.payments.recheck import GIVE_UP_AFTER, next_check
from tests.payments.conftest import World
from tests.payments.test_confirm import event
from tests.waiting import WAIT_LIMIT_S, until


async def recheck(world: World) -> int:
    """As a worker that has just started does it: nothing is kept but the database."""
    confirmer = Confirmer(world.db, world.bus)
    return await recheck_due(world.db, world.providers, confirmer, world.clock)


async def stored(owner: Connection) -> Any:
    return await owner.fetchrow("select * from payments.payments")


async def test_lost_webhook_is_found_by_asking(world: World, owner: Connection) -> None:
    begun = await world.top_up(100)
    await world.pay(begun, delay_s=3600)
    assert await recheck(world) == 0
    world.clock.forward(seconds=16)
    assert await recheck(world) == 1
    assert await world.balance() == 10_000
    assert world.told == [world.client_id]
    row = await stored(owner)
    assert (row["status"], row["next_check_at"], row["check_count"]) == ("approved", None, 1)
    assert await owner.fetchval("select event_id from payments.events") == (
        f"poll:{row['provider_ref']}:approved:10000:0"
    )
    world.clock.forward(hours=2)
    assert await recheck(world) == 0


async def test_webhook_after_asking_credits_nothing_more(world: World) -> None:
    begun = await world.top_up(100)
    await world.pay(begun, delay_s=20)
    world.clock.forward(seconds=16)
    await recheck(world)
    world.clock.forward(seconds=10)
    await world.http.post(f"{begun['app_link']}/approve", json={})

    async def delivered() -> bool:
        told = (await world.http.get(f"{begun['app_link']}/events")).json()
        return all(one["state"] == "done" for one in told)

    await until(delivered)
    assert await world.balance() == 10_000


async def test_answer_lost_on_creation_is_found_and_credited(
    world: World, owner: Connection
) -> None:
    await world.faults(create={"mode": "lost"})
    answer = await world.ask("POST", "/balance/topup-qr", json={"amount": 100})
    assert answer.json()["error"] == "payment_provider_error"
    row = await stored(owner)
    told = await world.provider.ask_status(order_id=row["order_id"], provider_ref=None)
    await world.http.post(
        f"{world.bank.url}/pay/{told.provider_ref}/approve", json={"delay_s": 9999}
    )
    world.clock.forward(seconds=16)
    await recheck(world)
    assert await world.balance() == 10_000


async def test_invoice_that_was_never_made_is_closed_after_a_while(
    world: World, owner: Connection
) -> None:
    await world.faults(create={"mode": "error"})
    await world.ask("POST", "/balance/topup-qr", json={"amount": 100})
    for delta in ({"seconds": 16}, {"minutes": 3}, {"minutes": 11}):
        world.clock.forward(**delta)
        assert await recheck(world) == 1
        assert (await stored(owner))["closed_at"] is None
    world.clock.forward(minutes=5)
    await recheck(world)
    row = await stored(owner)
    assert (row["status"], row["next_check_at"]) == ("canceled", None)
    assert (row["closed_at"] is not None, row["unknown_count"]) == (True, 4)


async def test_one_late_unknown_closes_nothing(world: World, owner: Connection) -> None:
    """Nobody asked for hours; the first answer may be a proxy's."""
    await world.faults(create={"mode": "error"})
    await world.ask("POST", "/balance/topup-qr", json={"amount": 100})
    world.clock.forward(hours=9)
    for _ in range(2):
        await recheck(world)
        world.clock.forward(hours=1)
        assert (await stored(owner))["status"] == "processing"
    await recheck(world)
    assert (await stored(owner))["status"] == "canceled"


def wrong_address(world: World) -> None:
    """The bank's address answers 404 to everything, as a proxy or a wrong path does."""
    world.provider._url = f"{world.bank.url}/nothing"


async def ask_for_days(world: World) -> None:
    for _ in range(12):
        world.clock.forward(hours=11)
        await recheck(world)


async def acknowledge_by_reference(world: World, _: Connection) -> None:
    await world.top_up(100)


async def acknowledge_by_answer(world: World, _: Connection) -> None:
    await world.faults(create={"mode": "lost"})
    await world.ask("POST", "/balance/topup-qr", json={"amount": 100})
    world.clock.forward(seconds=16)
    await recheck(world)


async def acknowledge_by_event(world: World, owner: Connection) -> None:
    await world.faults(create={"mode": "lost"})
    await world.ask("POST", "/balance/topup-qr", json={"amount": 100})
    order = (await stored(owner))["order_id"]
    await world.confirmer.confirm(event(order, status="processing", paid_minor=0))


@pytest.mark.parametrize(
    "acknowledge", [acknowledge_by_reference, acknowledge_by_answer, acknowledge_by_event]
)
class TestAcknowledged:
    async def test_unknown_closes_it_never_and_ends_in_review(
        self, world: World, owner: Connection, acknowledge: Any
    ) -> None:
        await acknowledge(world, owner)
        wrong_address(world)
        await ask_for_days(world)
        row = await stored(owner)
        assert (row["status"], row["review"]) == ("processing", "never_closed")
        assert (row["next_check_at"], row["closed_at"]) == (None, None)

    async def test_it_is_credited_when_the_bank_knows_it_again(
        self, world: World, owner: Connection, acknowledge: Any
    ) -> None:
        await acknowledge(world, owner)
        order = (await stored(owner))["order_id"]
        known = await world.provider.ask_status(order_id=order, provider_ref=None)
        await world.http.post(
            f"{world.bank.url}/pay/{known.provider_ref}/approve", json={"delay_s": 86_000}
        )
        wrong_address(world)
        for _ in range(4):
            world.clock.forward(minutes=20)
            await recheck(world)
        world.provider._url = world.bank.url
        world.clock.forward(hours=1)
        await recheck(world)
        assert await world.balance() == 10_000
        assert (await stored(owner))["unknown_count"] == 0


async def test_canceled_at_the_bank_is_closed(world: World, owner: Connection) -> None:
    await world.top_up(100)
    world.clock.forward(hours=25)  # the bank itself ends unpaid bills after a day
    await recheck(world)
    row = await stored(owner)
    assert (row["status"], row["closed_at"] is not None) == ("canceled", True)


@pytest.mark.parametrize("mode", ["error", "slow", "lost"])
async def test_provider_in_trouble_is_asked_again(
    world: World, owner: Connection, mode: str
) -> None:
    begun = await world.top_up(100)
    await world.pay(begun, delay_s=3600)
    await world.faults(status={"mode": mode, "slow_s": 3})
    world.clock.forward(seconds=16)
    if mode == "slow":
        world.shorten_waits()
    await recheck(world)
    row = await stored(owner)
    assert (row["check_count"], row["last_checked_at"]) == (1, None)
    world.restore_waits()
    world.clock.forward(seconds=16)
    await recheck(world)
    assert await world.balance() == 10_000


async def test_expired_here_is_still_asked_about(world: World, owner: Connection) -> None:
    begun = await world.top_up(100)
    for _ in range(4):
        world.clock.forward(minutes=10)
        await recheck(world)
    assert (await world.status(begun["invoice_id"]))["status"] == 2
    await world.pay(begun, delay_s=86_400)
    world.clock.forward(hours=1)
    await recheck(world)
    assert await world.balance() == 10_000
    assert (await stored(owner))["check_count"] == 5


async def test_two_workers_ask_once(world: World, owner: Connection) -> None:
    for _ in range(30):
        await world.top_up(100)
    world.clock.forward(seconds=16)
    claimed = await asyncio.gather(*(recheck(world) for _ in range(4)))
    assert sum(claimed) == 30
    counts = await owner.fetch("select distinct check_count from payments.payments")
    assert [row["check_count"] for row in counts] == [1]


async def test_crashed_worker_leaves_its_claim_to_others(world: World) -> None:
    begun = await world.top_up(100)
    await world.pay(begun, delay_s=3600)
    world.clock.forward(seconds=16)
    async with world.db.transaction() as connection:
        claimed = await store.claim_due(
            connection,
            providers=["sandbox"],
            now=world.clock(),
            lease=timedelta(seconds=60),
            limit=20,
        )
    assert len(claimed) == 1  # and then that worker died
    assert await recheck(world) == 0
    world.clock.forward(seconds=61)
    assert await recheck(world) == 1
    assert await world.balance() == 10_000


async def test_mismatch_found_by_asking_goes_to_review(world: World, owner: Connection) -> None:
    begun = await world.top_up(100)
    await world.pay(begun, amount=99.5, delay_s=3600)
    world.clock.forward(seconds=16)
    await recheck(world)
    row = await stored(owner)
    assert (row["review"], row["paid_minor"]) == ("amount_mismatch", 9_950)
    assert await world.balance() == 0


async def test_return_of_what_is_not_paid_yet_goes_to_review(
    world: World, owner: Connection
) -> None:
    """The bank says "processing", and that it gave money back."""
    await world.top_up(100)
    ask = world.provider.ask_status

    async def contradicting(**asked: Any) -> Event:
        return replace(await ask(**asked), refunded_minor=500)

    world.provider.ask_status = contradicting  # type: ignore[method-assign]
    world.clock.forward(seconds=16)
    await recheck(world)
    assert (await stored(owner))["review"] == "contradictory"


async def test_open_for_days_goes_to_a_person(world: World, owner: Connection) -> None:
    await world.top_up(100)
    await world.faults(status={"mode": "error", "times": 1000})
    world.clock.forward(days=5, seconds=1)
    await recheck(world)
    row = await stored(owner)
    assert (row["review"], row["next_check_at"]) == ("never_closed", None)


async def test_back_off_grows_from_seconds_to_an_hour(world: World) -> None:
    begun = await world.top_up(100)
    async with world.db.connection() as connection:
        payment = await store.find_by_invoice(connection, begun["invoice_id"])
    assert payment is not None

    def wait_s(**age: float) -> float | None:
        at = payment.created_at + timedelta(**age)
        asked = next_check(payment, at)
        return None if asked is None else (asked - at).total_seconds()

    assert [wait_s(seconds=0), wait_s(seconds=299)] == [15, 15]
    assert [wait_s(minutes=8), wait_s(hours=2), wait_s(days=2)] == [120, 1800, 3600]
    assert wait_s(seconds=GIVE_UP_AFTER.total_seconds()) is None


async def test_loop_survives_the_database_and_stops_when_told(world: World) -> None:
    begun = await world.top_up(100)
    await world.pay(begun, delay_s=3600)
    await world.db.close()
    stop = asyncio.Event()
    confirmer = Confirmer(world.db, LocalBus())
    with capture_logs() as logs:
        loop = recheck_loop(world.db, world.providers, confirmer, world.clock, poll_s=0.01)
        running = asyncio.create_task(loop.run(stop))
        await until(lambda: any(one["event"] == "job_waits" for one in logs))
        assert loop.record.error == "database_unavailable"
    await world.db.start()
    world.clock.forward(seconds=16)

    async def credited() -> bool:
        return await world.balance() == 10_000

    await until(credited)
    stop.set()
    await asyncio.wait_for(running, WAIT_LIMIT_S)


async def test_gauges_tell_what_waits(world: World) -> None:
    await world.top_up(100)
    world.clock.forward(seconds=45)
    await measure(world.db, world.clock)
    assert REGISTRY.get_sample_value("evpower_payments_by_state", {"state": "open"}) == 1
    lag_s = REGISTRY.get_sample_value("evpower_payments_recheck_lag_seconds")
    assert lag_s is not None
    assert 29 < lag_s < 30 + WAIT_LIMIT_S
