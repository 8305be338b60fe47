"""Refunds to the driver's bank: it is called once, and the ledger follows what it returned."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, EvPowerError
from evpower.payments.bank_refund import (
    RefundDesk,
    decide_refund,
    refund_at_bank,
    settle_open,
)
from evpower.payments.confirm import Confirmer
from evpower.payments.errors import ProviderRefused
from evpower.payments.model import BankRefund
from evpower.payments.providers.registry import Providers
from evpower.payments.recheck import recheck_due
from tests.payments.conftest import Scenario, payment
from tests.payments.listed_provider import StatusProvider
from tests.waiting import until

ORDERED = (
    "insert into payments.bank_refunds (payment_id, key, amount_minor, refunded_before_minor,"
    " actor, reason, requested_at) select id, $1, 5, 0, 'Aida', 'asked', now()"
    " from payments.payments"
)


@pytest.fixture
async def paid(scenario: Scenario) -> dict[str, Any]:
    begun = await scenario.top_up(100)
    await scenario.pay(begun)
    await scenario.until_approved(begun)
    return begun


def desk(scenario: Scenario) -> RefundDesk:
    return RefundDesk(
        scenario.db, scenario.bus, scenario.providers, scenario.confirmer, scenario.clock
    )


async def refund(
    scenario: Scenario,
    begun: dict[str, Any],
    amount_minor: int,
    key: str = "request-1",
    **more: str,
) -> BankRefund:
    return await refund_at_bank(
        desk(scenario),
        invoice_id=more.get("invoice_id", begun["invoice_id"]),
        amount_minor=amount_minor,
        operator="Aida",
        reason="the driver asked",
        key=key,
    )


async def at_bank(scenario: Scenario, owner: Connection) -> int:
    """What the bank returned of the bill in total, asked by the test itself."""
    order = await owner.fetchval("select order_id from payments.payments order by id limit 1")
    status = await scenario.provider.fetch_status(order_id=order, provider_ref=None)
    return sum(event.refunded_minor or 0 for event in status.events)


async def refused(work: Any) -> str:
    with pytest.raises(EvPowerError) as error:
        await work
    return error.value.code


async def facts(owner: Connection) -> tuple[Any, ...]:
    row = await owner.fetchrow(
        "select p.status, p.refunded_minor, p.review, w.balance_minor from payments.payments p"
        " join wallet.wallets w using (client_id) order by p.id limit 1"
    )
    assert row is not None
    return tuple(row)


@pytest.mark.parametrize("again", ["same key", "webhook", "recheck"])
async def test_a_part_is_returned_once(
    scenario: Scenario, owner: Connection, paid: dict[str, Any], again: str
) -> None:
    done = await refund(scenario, paid, 3_000)
    assert (done.state, done.amount_minor) == ("returned", 3_000)
    if again == "same key":
        assert await refund(scenario, paid, 3_000) == done
    elif again == "recheck":
        scenario.clock.forward(hours=1, minutes=1)
        await recheck_due(scenario.db, scenario.providers, scenario.confirmer, scenario.clock)

    async def delivered() -> bool:
        events = (await scenario.http.get(f"{paid['app_link']}/events")).json()
        return all(item["state"] == "done" for item in events)

    await until(delivered)  # the bank sends a webhook of the return, too
    assert await facts(owner) == ("partial_refund", 3_000, None, 7_000)
    assert await at_bank(scenario, owner) == 3_000
    acts = await owner.fetch("select actor, action, reason from identity.audit order by id")
    assert [tuple(act) for act in acts] == [("Aida", "payments.refund_at_bank", "the driver asked")]


async def test_the_whole_and_no_more(
    scenario: Scenario, owner: Connection, paid: dict[str, Any]
) -> None:
    await refund(scenario, paid, 4_000)
    assert await refused(refund(scenario, paid, 6_001, "request-2")) == "refund_exceeds"
    assert (await refund(scenario, paid, 6_000, "request-2")).state == "returned"
    assert await facts(owner) == ("refunded", 10_000, None, 0)
    assert await refused(refund(scenario, paid, 1, "request-3")) == "refund_exceeds"


async def test_what_is_spent_or_on_hold_is_not_returned(
    scenario: Scenario, owner: Connection, paid: dict[str, Any]
) -> None:
    await owner.execute("set session_replication_role = replica")  # a hold without its session
    await owner.execute("update wallet.wallets set held_minor = 9_000")
    assert await refused(refund(scenario, paid, 1_001)) == "balance_too_low"
    assert await at_bank(scenario, owner) == 0


async def test_only_credited_money_of_a_provider_is_returned(scenario: Scenario) -> None:
    begun = await scenario.top_up(50)
    assert await refused(refund(scenario, begun, 5_000)) == "not_credited"


async def test_a_key_is_of_one_refund(scenario: Scenario, paid: dict[str, Any]) -> None:
    await refund(scenario, paid, 3_000)
    assert await refused(refund(scenario, paid, 4_000)) == "refund_conflict"


async def test_a_refusal_of_the_bank_moves_nothing(
    scenario: Scenario, owner: Connection, paid: dict[str, Any]
) -> None:
    async def refuse(**_: Any) -> None:
        raise ProviderRefused("no right to refunds")

    scenario.provider.refund = refuse  # type: ignore[method-assign]
    done = await refund(scenario, paid, 3_000)
    assert done.state == "refused"
    assert (await facts(owner))[3] == 10_000
    assert (await refund(scenario, paid, 3_000)).state == "refused"  # not called again


class TestUnknown:
    """The bank returned the money, or not; its answer was lost."""

    @pytest.mark.parametrize("mode", ["lost", "error"])
    async def test_it_is_never_called_again(
        self, scenario: Scenario, owner: Connection, paid: dict[str, Any], mode: str
    ) -> None:
        await scenario.faults(refund={"mode": mode}, status={"mode": "error", "times": 0})
        done = await refund(scenario, paid, 3_000)
        assert done.state == "unknown"
        returned = 3_000 if mode == "lost" else 0
        again = await refund(scenario, paid, 3_000)
        assert again.state == ("returned" if mode == "lost" else "unknown")
        assert await at_bank(scenario, owner) == returned
        state, _, review, balance = await facts(owner)
        if mode == "lost":
            assert (state, review, balance) == ("partial_refund", None, 7_000)
        else:
            assert (state, review, balance) == ("approved", "refund_unknown", 10_000)
            assert await refused(refund(scenario, paid, 1_000, "request-2")) == "refund_pending"

    async def test_an_operator_decides_that_nothing_was_returned(
        self, scenario: Scenario, owner: Connection, paid: dict[str, Any]
    ) -> None:
        await scenario.faults(refund={"mode": "error"})
        await refund(scenario, paid, 3_000)
        how = {"key": "request-1", "operator": "Bek", "reason": "the cabinet shows none"}
        done = await decide_refund(desk(scenario), decision="refused", **how)
        assert (done.state, done.ended_at is not None) == ("refused", True)
        assert await facts(owner) == ("approved", 0, None, 10_000)
        assert (await refund(scenario, paid, 3_000, "request-2")).state == "returned"
        with pytest.raises(Conflict, match="refused"):
            await decide_refund(desk(scenario), decision="returned", **how)

    async def test_an_operator_decides_that_it_was_returned(
        self, scenario: Scenario, owner: Connection, paid: dict[str, Any]
    ) -> None:
        await scenario.faults(refund={"mode": "error"})
        await refund(scenario, paid, 3_000)
        done = await decide_refund(
            desk(scenario),
            key="request-1",
            decision="returned",
            operator="Bek",
            reason="seen there",
        )
        assert done.state == "returned"
        assert await facts(owner) == ("partial_refund", 3_000, None, 7_000)
        actors = await owner.fetch("select actor, action from identity.audit order by id")
        assert tuple(actors[-1]) == ("Bek", "payments.refund_returned")

    async def test_without_an_answer_nothing_is_ordered(
        self, scenario: Scenario, owner: Connection, paid: dict[str, Any]
    ) -> None:
        await scenario.faults(status={"mode": "error", "times": 1})
        assert await refused(refund(scenario, paid, 3_000)) == "payment_provider_error"
        assert await owner.fetchval("select count(*) from payments.bank_refunds") == 0


async def test_two_at_once_call_the_bank_once(
    scenario: Scenario, owner: Connection, paid: dict[str, Any]
) -> None:
    done = await asyncio.gather(
        *(refund(scenario, paid, 3_000, f"request-{n}") for n in range(4)), return_exceptions=True
    )
    states = [order.state for order in done if isinstance(order, BankRefund)]
    codes = {error.code for error in done if isinstance(error, EvPowerError)}
    assert codes <= {"refund_pending"}
    assert states == ["returned"] * len(states)
    assert await at_bank(scenario, owner) == 3_000 * len(states)
    assert (await facts(owner))[1] == 3_000 * len(states)


async def test_a_further_attempt_is_returned_by_its_own_reference(
    scenario: Scenario, owner: Connection, paid: dict[str, Any]
) -> None:
    await scenario.pay(paid, again=True)

    async def credited() -> bool:
        return await scenario.balance() == 20_000

    await until(credited)
    further = f"{paid['invoice_id']}/2"
    assert (await refund(scenario, paid, 10_000, invoice_id=further)).state == "returned"
    rows = await owner.fetch(
        "select invoice_id, status, refunded_minor from payments.payments order by id"
    )
    assert [tuple(row) for row in rows] == [
        (paid["invoice_id"], "approved", 0),
        (further, "refunded", 10_000),
    ]
    assert await scenario.balance() == 10_000


async def test_orders_of_a_crashed_process_are_looked_after(
    scenario: Scenario, owner: Connection, paid: dict[str, Any]
) -> None:
    await owner.execute(
        "insert into payments.bank_refunds (payment_id, key, amount_minor, refunded_before_minor,"
        " actor, reason, requested_at) select id, 'request-1', 3_000, 0, 'Aida', 'crashed', now()"
        " from payments.payments"
    )
    assert await settle_open(desk(scenario)) == 0  # its call may be under way
    assert (await refund(scenario, paid, 3_000)).state == "requested"
    assert (await facts(owner))[2] is None
    scenario.clock.forward(minutes=3)
    assert await settle_open(desk(scenario)) == 1
    assert (await facts(owner))[2] == "refund_unknown"
    assert (await refund(scenario, paid, 3_000)).state == "unknown"
    assert await at_bank(scenario, owner) == 0


async def test_orders_that_wait_for_an_operator_keep_no_later_one_from_being_looked_after(
    db: Database, owner: Connection, client_id: UUID
) -> None:
    bank = StatusProvider("sandbox")
    bank.statuses = {await payment(owner, client_id): () for _ in range(21)}
    await owner.execute(
        "insert into payments.bank_refunds (payment_id, key, amount_minor, refunded_before_minor,"
        " actor, reason, state, requested_at) select id, id, 5, 0, 'Aida', 'asked',"
        " case when id < max(id) over () then 'unknown' else 'requested' end,"
        " now() - interval '1 hour' from payments.payments order by id"
    )
    bus = LocalBus()
    confirmer = Confirmer(db, bus)
    work = RefundDesk(db, bus, Providers([bank]), confirmer, utc_now)
    assert await settle_open(work) == 21
    await confirmer.close()
    newest = "select state from payments.bank_refunds order by id desc limit 1"
    assert await owner.fetchval(newest) == "unknown"
    assert len(bank.asked_about) == 21


@pytest.mark.parametrize("bank", ["is away", "knows no such bill", "is configured no more"])
async def test_an_operator_may_decide_where_the_bank_says_nothing(
    db: Database, owner: Connection, client_id: UUID, bank: str
) -> None:
    await payment(owner, client_id)
    await owner.execute(ORDERED, "request-1")
    provider = StatusProvider("sandbox", is_down=bank == "is away")
    bus = LocalBus()
    confirmer = Confirmer(db, bus)
    providers = Providers([] if bank == "is configured no more" else [provider])
    work = RefundDesk(db, bus, providers, confirmer, utc_now)
    assert await settle_open(work) == 0  # its call may be under way
    later = replace(work, clock=lambda: utc_now() + timedelta(minutes=3))
    assert await settle_open(later) == 1
    assert await owner.fetchval("select review from payments.payments") == "refund_unknown"
    done = await decide_refund(
        later, key="request-1", decision="refused", operator="Bek", reason="none there"
    )
    assert done.state == "refused"
    assert await owner.fetchval("select review from payments.payments") is None
    await confirmer.close()


class TestOverpaid:
    """The bank has more of the payment than was credited, and an operator must decide about it."""

    @pytest.fixture
    async def overpaid(self, scenario: Scenario) -> dict[str, Any]:
        begun = await scenario.top_up(100)
        await scenario.pay(begun, amount=120)
        await scenario.until_approved(begun)
        return begun

    async def test_the_credited_part_is_returned_as_a_part_of_what_was_paid(
        self, scenario: Scenario, overpaid: dict[str, Any]
    ) -> None:
        amounts: list[tuple[int, int]] = []

        async def record(*, amount_minor: int, paid_minor: int, **_: Any) -> None:
            amounts.append((amount_minor, paid_minor))

        scenario.provider.refund = record  # type: ignore[method-assign]
        assert (await refund(scenario, overpaid, 10_000)).state == "returned"
        assert amounts == [(10_000, 12_000)]

    async def test_a_refund_leaves_the_decision_about_it_open(
        self, scenario: Scenario, owner: Connection, overpaid: dict[str, Any]
    ) -> None:
        await scenario.faults(refund={"mode": "error"})
        assert (await refund(scenario, overpaid, 3_000)).state == "unknown"
        assert await facts(owner) == ("approved", 0, "overpaid", 10_000)
        await decide_refund(
            desk(scenario), key="request-1", decision="refused", operator="Bek", reason="none there"
        )
        assert await facts(owner) == ("approved", 0, "overpaid", 10_000)


async def test_an_order_at_the_bank_stays_as_it_was_given_and_ends_once(
    owner: Connection, client_id: UUID
) -> None:
    await payment(owner, client_id)
    await owner.execute(ORDERED, "request-1")
    with pytest.raises(asyncpg.UniqueViolationError):
        await owner.execute(ORDERED, "request-2")  # while the first has no outcome
    facts = (
        "payment_id = payment_id + 1", "key = 'another'", "amount_minor = 6",
        "refunded_before_minor = 1", "actor = 'Bek'", "reason = 'other'",
        "requested_at = requested_at - interval '1 s'",
    )  # fmt: skip
    await owner.execute("update payments.bank_refunds set state = 'unknown'")
    for change in (*facts, "state = 'requested'"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(f"update payments.bank_refunds set {change}")
    await owner.execute("update payments.bank_refunds set state = 'refused', ended_at = now()")
    for act in (
        "update payments.bank_refunds set state = 'returned'",
        "update payments.bank_refunds set state = 'unknown', ended_at = null",
        "delete from payments.bank_refunds",
        "truncate payments.bank_refunds",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(act)
    await owner.execute(ORDERED, "request-2")
