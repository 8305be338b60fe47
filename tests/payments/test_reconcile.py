"""The reconciliation with a provider: what differs is found, stored, decided, and closed."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from evpower import alerts
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.payments import in_review, resolve
from evpower.payments.confirm import Confirmer
from evpower.payments.errors import ProviderRefused, ProviderUnavailable
from evpower.payments.providers.protocol import HistoryItem
from evpower.payments.providers.registry import Providers
from evpower.payments.reconciliation import store, store_days
from evpower.payments.reconciliation.daily import DailyReconciliation
from evpower.payments.reconciliation.decide import Decided, decide
from evpower.payments.reconciliation.model import Difference, Reconciliation
from evpower.payments.reconciliation.period import day_of, days, last_day
from evpower.payments.reconciliation.reconcile import Reconciler, Report
from tests.payments.conftest import Scenario, payment
from tests.payments.listed_provider import ListedProvider, StatusProvider
from tests.payments.test_confirm import event
from tests.waiting import until

HOUR = timedelta(hours=1)


class Owner:
    """Who reconciles and decides: with a bank called sandbox, as the payments of `payment` have."""

    def __init__(self, db: Database, provider: StatusProvider) -> None:
        self.db = db
        self.provider = provider
        self.providers = Providers([provider])
        self.confirmer = Confirmer(db, LocalBus())
        self.reconciler = Reconciler(db, self.providers, self.clock)

    def clock(self) -> datetime:
        return utc_now() + HOUR

    async def run(self, **more: Any) -> Reconciliation:
        now = utc_now()
        return await self.reconciler.run("sandbox", now - HOUR, now + HOUR, actor="aida", **more)

    async def listed(self, state: str = "open") -> list[Difference]:
        async with self.db.connection() as connection:
            return await store.list_differences(
                connection, provider=None, state=state, before_id=None, limit=100
            )

    async def kinds(self) -> dict[str, str]:
        await self.run()
        return {row.subject: row.kind for row in await self.listed()}

    async def credit(self, order: str, **facts: Any) -> str:
        """A paid bill that both sides have; returns the bank's id."""
        notice = event(order, **facts)
        await self.confirmer.confirm(notice)
        self.provider.statuses[order] = (notice,)
        return str(notice.provider_ref)

    async def decide(self, number: int, decision: Any, reason: str = "asked the bank") -> Decided:
        return await decide(
            self.db, self.providers, self.confirmer, difference_id=number, decision=decision,
            operator="aida", reason=reason, clock=self.clock,
        )  # fmt: skip


def item(order: str | None, reference: str | None, **facts: Any) -> HistoryItem:
    line = HistoryItem(order, reference, "approved", 10_000, "KGS", 0, utc_now())
    return replace(line, **facts)


@pytest.fixture
def bank() -> ListedProvider:
    return ListedProvider("sandbox")


@pytest.fixture
async def owner_of_it(db: Database, bank: ListedProvider) -> AsyncIterator[Owner]:
    work = Owner(db, bank)
    yield work
    await work.confirmer.close()


async def balance(owner: Connection, client_id: UUID) -> int:
    return await owner.fetchval(
        "select balance_minor from wallet.wallets where client_id = $1", client_id
    )


async def test_equal_sides_have_no_difference_and_the_ledgers_sum(
    owner_of_it: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    await payment(owner, client_id)  # never paid: in no list
    reference = await owner_of_it.credit(order)
    bank.items = [item(order, reference), item("other", "tried", status="canceled")]
    run = await owner_of_it.run()
    assert (run.ours_count, run.ours_minor, run.theirs_count, run.theirs_minor) == (
        1, 10_000, 1, 10_000,
    )  # fmt: skip
    assert (run.source, run.difference_count, run.actor) == ("list", 0, "aida")
    assert run.ours_minor == await balance(owner, client_id)


async def test_each_kind_of_difference_is_found(
    owner_of_it: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    orders = [await payment(owner, client_id) for _ in range(7)]
    refs = [await owner_of_it.credit(order) for order in orders[:6]]
    bank.statuses.clear()
    bank.items = [
        item(orders[0], refs[0], amount_minor=9_000),
        item(orders[1], refs[1], status="refunded", refunded_minor=10_000),
        item(orders[2], refs[2], status="canceled"),
        item(orders[3], refs[3], currency="KZT"),
        item(orders[4], refs[4]),
        item(orders[4], refs[4]),
        item(orders[6], "late-notice"),
    ]
    assert await owner_of_it.kinds() == {
        refs[0]: "amount_differs",
        refs[1]: "returned_differs",
        refs[2]: "status_differs",
        refs[3]: "currency_differs",
        f"{refs[4]}#2": "twice_at_theirs",
        refs[5]: "missing_at_theirs",
        "late-notice": "missing_at_ours",
    }
    [late] = [row for row in await owner_of_it.listed() if row.subject == "late-notice"]
    assert late.invoice_id == orders[6].replace("order-", "inv-")


async def test_what_a_list_lacks_is_asked_about_before_it_is_a_difference(
    owner_of_it: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    reference = await owner_of_it.credit(order)
    assert await owner_of_it.kinds() == {}
    assert bank.asked_about == [order]
    bank.statuses[order] = ()
    assert await owner_of_it.kinds() == {reference: "missing_at_theirs"}
    bank.statuses[order] = (event(order),)
    assert await owner_of_it.kinds() == {}
    assert [row.subject for row in await owner_of_it.listed("closed")] == [reference]


async def test_an_answer_in_doubt_confirms_nothing(
    owner_of_it: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    reference = await owner_of_it.credit(order)
    bank.statuses[order] = (replace(bank.statuses[order][0], doubt="test_payment"),)
    assert await owner_of_it.kinds() == {reference: "missing_at_theirs"}


async def test_a_return_in_another_currency_is_not_taken_for_ours(
    owner_of_it: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    reference = await owner_of_it.credit(order)
    back = event(order, provider_ref=reference, status="refunded", refunded_minor=10_000)
    await owner_of_it.confirmer.confirm(back)
    bank.items = [item(order, reference, status="canceled", currency="KZT")]
    assert await owner_of_it.kinds() == {reference: "status_differs"}
    [row] = await owner_of_it.listed()
    assert (row.theirs_minor, row.theirs_returned_minor) == (0, 0)


async def test_a_line_without_a_reference_is_that_of_one_accepted_payment_only(
    db: Database, owner_of_it: Owner, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    named: list[str | None] = []
    for reference in ("t1", "t2"):
        paid = event(order, provider_ref=reference, paid_minor=4_000)
        await owner_of_it.confirmer.confirm(paid)
        async with db.transaction() as connection:
            await resolve(
                connection, invoice_id=order.replace("order-", "inv-"), decision="accept",
                operator="aida", reason="the bank has it", now=utc_now(),
            )  # fmt: skip
            [row] = await store.orders(connection, "sandbox", [order])
            named.append(row["credited_ref"])
    assert named == ["t1", None]


async def test_a_provider_without_a_list_is_asked_about_each_bill(
    db: Database, owner: Connection, client_id: UUID
) -> None:
    bank = StatusProvider("sandbox")
    work = Owner(db, bank)
    orders = [await payment(owner, client_id) for _ in range(3)]
    await work.credit(orders[0])
    bank.statuses[orders[1]] = (event(orders[1], paid_minor=7_000),)  # its notice was lost
    run = await work.run()
    assert (run.source, run.ours_minor, run.theirs_minor) == ("status", 10_000, 17_000)
    assert sorted(bank.asked_about) == sorted(orders)
    assert [(row.kind, row.order_id) for row in await work.listed()] == [
        ("missing_at_ours", orders[1])
    ]
    bank.is_down = True
    with pytest.raises(ProviderUnavailable):
        await work.run()
    await work.confirmer.close()


async def test_a_refused_question_about_a_bill_without_money_stops_nothing(
    db: Database, owner: Connection, client_id: UUID
) -> None:
    bank = StatusProvider("sandbox")
    work = Owner(db, bank)
    paid, unpaid = [await payment(owner, client_id) for _ in range(2)]
    await work.credit(paid)
    bank.refused = {unpaid}
    assert (await work.run()).difference_count == 0
    bank.refused = {paid}  # is the money there? only the provider can say
    with pytest.raises(ProviderRefused):
        await work.run()
    await work.confirmer.close()


async def test_an_outage_of_the_status_leaves_the_list(
    owner_of_it: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    orders = [await payment(owner, client_id) for _ in range(2)]
    refs = [await owner_of_it.credit(order) for order in orders]
    bank.items = [item(orders[0], refs[0])]
    bank.refused = {orders[1]}
    assert await owner_of_it.kinds() == {refs[1]: "missing_at_theirs"}


async def test_a_file_is_compared_even_where_the_provider_is_not_configured(
    db: Database, owner_of_it: Owner, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    reference = await owner_of_it.credit(order)
    alone = Owner(db, ListedProvider("another"))
    report = Report("december.csv", [item(order, reference), item("x", "stray")])
    run = await alone.run(report=report)
    assert (run.source, run.source_name, run.difference_count) == ("file", "december.csv", 1)
    with pytest.raises(NotFound):
        await alone.run()
    await alone.confirmer.close()


async def test_a_payment_of_this_moment_is_no_difference_yet(
    db: Database, bank: ListedProvider
) -> None:
    bank.items = [item("x", "just-paid")]
    now = utc_now()
    work = Reconciler(db, Providers([bank]), utc_now)
    run = await work.run("sandbox", now - HOUR, now + HOUR, actor="aida")
    assert (run.difference_count, run.until < now) == (0, True)
    for since, end in ((now, now + HOUR), (now - timedelta(days=200), now)):
        with pytest.raises(Invalid):
            await work.run("sandbox", since, end, actor="aida")


async def test_asking_credits_what_a_lost_notice_reported(
    owner_of_it: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    notice = event(order)
    bank.items = [item(order, notice.provider_ref)]
    bank.statuses[order] = (notice,)
    await owner_of_it.run()
    [difference] = await owner_of_it.listed()
    decided = await owner_of_it.decide(difference.id, "ask")
    assert (decided.outcomes, decided.difference.closed_at is not None) == (("confirmed",), True)
    assert await balance(owner, client_id) == 10_000
    with pytest.raises(Conflict, match="both sides agree"):
        await owner_of_it.decide(difference.id, "ask")
    assert await owner_of_it.kinds() == {}
    row = await owner.fetchrow("select action, actor, reason, subject from identity.audit")
    assert row is not None
    assert tuple(row) == (
        "payments.difference_ask", "aida", "asked the bank", f"difference:{difference.id}",
    )  # fmt: skip


async def test_asking_that_changes_nothing_leaves_it_open(
    owner_of_it: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    bank.items = [item(order, "t1"), item("unknown", "t2")]
    bank.statuses[order] = ()
    await owner_of_it.run()
    stray, difference = await owner_of_it.listed()
    decided = await owner_of_it.decide(difference.id, "ask")
    assert (decided.outcomes, decided.difference.closed_at) == ((), None)
    with pytest.raises(Conflict, match="no payment of ours"):
        await owner_of_it.decide(stray.id, "ask")
    bank.is_down = True
    with pytest.raises(ProviderUnavailable):
        await owner_of_it.decide(difference.id, "ask")
    assert len(await owner_of_it.listed()) == 2
    assert await balance(owner, client_id) == 0


async def test_a_reported_line_goes_to_review_and_is_credited_there_once(
    db: Database, owner_of_it: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    bank.items = [item(order, "t1")]
    await owner_of_it.run()
    [difference] = await owner_of_it.listed()
    decided = await owner_of_it.decide(difference.id, "review")
    assert (decided.outcomes, decided.difference.decision) == (("review",), "review")
    assert await balance(owner, client_id) == 0
    with pytest.raises(Conflict, match="decided"):
        await owner_of_it.decide(difference.id, "review")
    async with db.connection() as connection:
        [review] = await in_review(connection)
    assert review.payment.review == "reported"
    assert await owner_of_it.kinds() == {}  # decided: not open
    async with db.transaction() as connection:
        await resolve(
            connection, invoice_id=review.payment.invoice_id, decision="accept", operator="aida",
            reason="the bank has it", now=utc_now(),
        )  # fmt: skip
    assert await balance(owner, client_id) == 10_000
    await owner_of_it.run()
    assert [row.subject for row in await owner_of_it.listed("closed")] == ["t1"]
    await owner_of_it.confirmer.confirm(event(order, provider_ref="t1"))  # the late notice
    assert await balance(owner, client_id) == 10_000


async def test_a_line_of_no_order_of_ours_moves_nothing(
    owner_of_it: Owner, bank: ListedProvider
) -> None:
    bank.items = [item("of-another-shop", "t9")]
    await owner_of_it.run()
    [difference] = await owner_of_it.listed()
    for decision in ("review", "ask"):
        with pytest.raises(Conflict) as refused:
            await owner_of_it.decide(difference.id, decision)
        assert refused.value.code == "order_unknown"
    assert [row.decision for row in await owner_of_it.listed()] == [None]
    explained = await owner_of_it.decide(
        difference.id, "explained", "another shop's: the bank mends it"
    )
    assert explained.difference.decision == "explained"
    assert await owner_of_it.kinds() == {}


async def test_money_that_only_we_have_is_nothing_to_review(
    owner_of_it: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    await owner_of_it.credit(await payment(owner, client_id))
    bank.statuses.clear()
    await owner_of_it.run()
    [difference] = await owner_of_it.listed()
    with pytest.raises(Conflict, match="no money there"):
        await owner_of_it.decide(difference.id, "review")
    assert await owner.fetchval("select count(*) from identity.audit") == 0
    with pytest.raises(NotFound):
        await owner_of_it.decide(difference.id + 1_000, "explained")
    with pytest.raises(Invalid):
        await owner_of_it.decide(difference.id, "explained", " ")


async def test_a_decision_ends_when_the_facts_are_others(
    owner_of_it: Owner, bank: ListedProvider
) -> None:
    bank.items = [item("x", "t1")]
    await owner_of_it.run()
    [difference] = await owner_of_it.listed()
    await owner_of_it.decide(difference.id, "explained")
    for _ in range(2):
        assert await owner_of_it.kinds() == {}
    bank.items = [item("x", "t1", amount_minor=90_000)]
    assert await owner_of_it.kinds() == {"t1": "missing_at_ours"}
    [again] = await owner_of_it.listed()
    assert again.id != difference.id


async def test_a_decision_ends_when_only_the_status_is_another(
    owner_of_it: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    reference = await owner_of_it.credit(order)
    bank.items = [item(order, reference, status="processing")]
    await owner_of_it.run()
    [difference] = await owner_of_it.listed()
    await owner_of_it.decide(difference.id, "explained", "the bank is slow")
    assert await owner_of_it.kinds() == {}
    bank.items = [item(order, reference, status="canceled")]
    assert await owner_of_it.kinds() == {reference: "status_differs"}


async def test_a_stored_difference_stays_as_it_is(
    owner_of_it: Owner, bank: ListedProvider, owner: Connection
) -> None:
    bank.items = [item("x", "t1")]
    await owner_of_it.run()
    for act in (
        "delete from payments.differences",
        "truncate payments.differences",
        "update payments.differences set last_run = last_run - 1",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(act)
    [difference] = await owner_of_it.listed()
    await owner_of_it.decide(difference.id, "explained")
    with pytest.raises(asyncpg.RestrictViolationError):
        await owner.execute("update payments.differences set reason = 'other'")
    bank.items = []
    await owner_of_it.run()
    for act in ("closed_at = null", "last_run = last_run + 1", "decision = 'review'"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(f"update payments.differences set {act}")


async def test_a_run_is_of_one_provider_and_one_period(
    db: Database, owner_of_it: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    reference = await owner_of_it.credit(await payment(owner, client_id))
    another = ListedProvider("another")
    work = Reconciler(db, Providers([another]), owner_of_it.clock)
    since = utc_now() - HOUR / 2
    another.items = [item("x", reference, at=since)]

    async def run(begin: datetime, end: datetime) -> int:
        return (await work.run("another", begin, end, actor="aida")).difference_count

    assert await run(since - HOUR, since + HOUR) == 1  # the same id there means other money
    bank.items = [item("y", "t1")]
    assert (await owner_of_it.run()).difference_count == 1
    another.items = []
    assert await run(since - 2 * HOUR, since) == 0  # the period before
    subjects = {(row.provider, row.subject) for row in await owner_of_it.listed()}
    assert subjects == {("another", reference), ("sandbox", "t1")}
    assert await run(since, since + HOUR) == 0
    assert [row.provider for row in await owner_of_it.listed()] == ["sandbox"]


async def test_a_line_that_stands_twice_is_a_difference_of_its_own_period(
    owner_of_it: Owner, bank: ListedProvider
) -> None:
    bank.items = [item("x", "t1", at=utc_now() - 3 * HOUR)] * 2
    assert await owner_of_it.kinds() == {}
    bank.items = [item("x", "t1")] * 2
    assert await owner_of_it.kinds() == {"t1": "missing_at_ours", "t1#2": "twice_at_theirs"}


async def test_each_day_is_reconciled_once_and_again_while_it_differs(
    db: Database, bank: ListedProvider, owner: Connection
) -> None:
    now = [utc_now()]
    work = DailyReconciliation(db, Providers([bank]), lambda: now[0])
    day = last_day(now[0] - timedelta(hours=5))
    since, end = days(day, day)
    bank.items = [item("x", "t1", at=since + HOUR)]
    assert await work.run_due()
    assert not await work.run_due()
    runs = "select kind, since, until, difference_count from payments.reconciliations order by id"
    assert [tuple(row) for row in await owner.fetch(runs)] == [("daily", since, end, 1)]
    await work.watch()
    async with db.connection() as connection:
        [alert] = await alerts.list_alerts(connection, kinds=["payment_difference"])
    assert (alert.subject, alert.detail["differences"], alert.detail["som"]) == (
        "sandbox", 1, "100.00",
    )  # fmt: skip

    now[0] += timedelta(days=2)
    bank.items = []
    while await work.run_due():
        pass
    listed = [(day_of(row["since"]), row["difference_count"]) for row in await owner.fetch(runs)]
    assert listed == [(day, 1), (day, 0), (day + timedelta(days=1), 0), (day + 2 * timedelta(1), 0)]
    await work.watch()
    async with db.connection() as connection:
        assert await alerts.list_alerts(connection, kinds=["payment_difference"]) == []


async def test_a_day_that_fails_is_tried_again_and_reported(
    db: Database, bank: ListedProvider
) -> None:
    now = [datetime(2026, 12, 2, tzinfo=UTC)]  # six in the morning in Bishkek
    work = DailyReconciliation(db, Providers([bank]), lambda: now[0])
    bank.is_down = True
    for _ in range(3):
        assert await work.run_due()
        assert not await work.run_due()
        now[0] += timedelta(hours=7)
    await work.watch()
    async with db.connection() as connection:
        [alert] = await alerts.list_alerts(connection, kinds=["payment_unreconciled"])
    assert alert.detail["error"] == "down"
    bank.is_down = False
    while await work.run_due():
        pass
    await work.watch()
    async with db.connection() as connection:
        assert await alerts.list_alerts(connection, kinds=["payment_unreconciled"]) == []


async def test_after_a_long_time_no_more_than_the_last_days_are_due(
    db: Database, owner: Connection
) -> None:
    now = utc_now()
    first = day_of(now)
    async with db.transaction() as connection:
        for day in (first, first + timedelta(days=100)):
            await store_days.add_days(connection, ["sandbox"], day, 31, now)
    days_due = await owner.fetch("select day from payments.reconciliation_days order by day")
    assert [row["day"] for row in days_due] == [
        first, *(first + timedelta(days=number) for number in range(70, 101))
    ]  # fmt: skip


async def test_a_day_in_hand_is_not_begun_twice(db: Database, bank: ListedProvider) -> None:
    now = utc_now()
    async with db.transaction() as connection:
        await store_days.add_days(connection, ["sandbox"], last_day(now - 5 * HOUR), 31, now)
        assert await store_days.claim_day(connection, ["sandbox"], now, now + HOUR) is not None
    work = DailyReconciliation(db, Providers([bank]), utc_now)
    assert not await work.run_due()


async def test_the_sandbox_bank_has_a_list(scenario: Scenario) -> None:
    begun = await scenario.top_up(100)
    twice = await scenario.top_up(50)
    await scenario.pay(begun)
    await scenario.until_approved(begun)
    await scenario.pay(twice)
    await scenario.until_approved(twice)
    await scenario.pay(twice, again=True)

    async def credited() -> bool:
        return await scenario.balance() == 20_000

    await until(credited)
    scenario.clock.forward(hours=1)
    now = scenario.clock()
    work = Reconciler(scenario.db, scenario.providers, scenario.clock)
    run = await work.run("sandbox", now - 2 * HOUR, now, actor="aida")
    assert (run.source, run.ours_minor, run.theirs_minor) == ("list", 20_000, 20_000)
    assert (run.ours_count, run.difference_count) == (3, 0)
