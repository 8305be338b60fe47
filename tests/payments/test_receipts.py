"""Money of a bank that an operator enters by hand: once, by whichever of its two names."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict
from evpower.payments import cash, in_review, refund_payment, resolve
from evpower.payments.manual import credit_by_hand
from tests.payments.conftest import payment
from tests.payments.interleave import lock_waits
from tests.payments.listed_provider import ListedProvider
from tests.payments.test_by_hand import code_of, take_cash
from tests.payments.test_confirm import event
from tests.payments.test_reconcile import Owner, balance, item
from tests.waiting import until

LOST: dict[str, Any] = {"receipt": "egbn8852afs6", "amount_minor": 15_000}
LOST_ORDER = "qr_topup_egbn8852afs6"


@pytest.fixture
def bank() -> ListedProvider:
    return ListedProvider("sandbox")


@pytest.fixture
async def books(db: Database, bank: ListedProvider) -> AsyncIterator[Owner]:
    work = Owner(db, bank)
    yield work
    await work.confirmer.close()


async def sums(books: Owner) -> tuple[int, int, int]:
    run = await books.run()
    return run.ours_minor, run.theirs_minor, run.difference_count


async def test_a_restored_top_up_is_entered_once_by_its_invoice(
    db: Database, books: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    bank.items = [item(LOST_ORDER, "0257098190", amount_minor=15_000)]
    assert await sums(books) == (0, 15_000, 1)
    posted = await take_cash(db, client_id, **LOST)
    assert await sums(books) == (15_000, 15_000, 0)
    assert await balance(owner, client_id) == 15_000  # the sum of ours is the ledger's
    assert {(row.kind, row.payment_id) for row in await books.listed("closed")} == {
        ("missing_at_ours", None), ("entered_as_cash", posted.payment_id),
    }  # fmt: skip
    for other in ("0257098190", " 0257098190 "):
        assert await code_of(db, client_id, receipt=other) == "entered_already"
    again = await take_cash(db, client_id, receipt=LOST_ORDER, amount_minor=15_000)
    assert (again.new, again.payment_id) == (False, posted.payment_id)
    await sums(books)
    assert len(await books.listed("closed")) == 2
    assert await balance(owner, client_id) == 15_000


async def test_the_reference_is_enough_before_the_bank_lists_it(
    db: Database, books: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    await take_cash(db, client_id, receipt="0257098190", amount_minor=15_000)
    bank.items = [item(LOST_ORDER, "0257098190", amount_minor=15_000)]
    assert await sums(books) == (15_000, 15_000, 0)
    assert await code_of(db, client_id, **LOST) == "entered_already"
    assert await balance(owner, client_id) == 15_000


async def test_a_notice_about_a_lost_order_ties_its_names(
    db: Database, books: Owner, owner: Connection, client_id: UUID
) -> None:
    await books.confirmer.confirm(event(LOST_ORDER, provider_ref="0257098190"))
    await take_cash(db, client_id, **LOST)
    assert await code_of(db, client_id, receipt="0257098190") == "entered_already"
    assert await balance(owner, client_id) == 15_000


async def test_a_lost_order_is_tied_whichever_name_was_entered_first(
    db: Database, books: Owner, client_id: UUID
) -> None:
    for order in (LOST_ORDER, "card_topup_other"):
        await books.confirmer.confirm(event(order))
    await take_cash(db, client_id, receipt=f"ref-of-{LOST_ORDER}")
    assert await code_of(db, client_id, **LOST) == "entered_already"
    await take_cash(db, client_id, receipt="other/2")  # its further payment may be this one
    assert await code_of(db, client_id, receipt="ref-of-card_topup_other") == "entered_already"


async def test_both_names_at_once_are_one_entry(
    db: Database, books: Owner, owner: Connection, client_id: UUID
) -> None:
    await books.confirmer.confirm(event(LOST_ORDER, provider_ref="t1"))
    async with db.transaction() as connection:
        await cash(
            connection, client_id=client_id, operator="aida", reason="restored",
            now=utc_now(), **LOST,
        )  # fmt: skip
        other = asyncio.create_task(code_of(db, client_id, receipt="t1"))

        async def waits() -> bool:
            return other.done() or await lock_waits(owner) > 0

        await until(waits, "the second entry neither waits nor ends")
    assert await other == "entered_already"
    assert await balance(owner, client_id) == 15_000


async def test_another_amount_is_a_difference_and_so_is_money_that_came_back(
    db: Database, books: Owner, bank: ListedProvider, client_id: UUID
) -> None:
    bank.items = [item(LOST_ORDER, "t1", amount_minor=15_000)]
    posted = await take_cash(db, client_id, receipt=LOST["receipt"], amount_minor=14_000)
    assert await books.kinds() == {"t1": "amount_differs"}
    assert await code_of(db, client_id, receipt="t1") == "entered_already"
    bank.items = [item(LOST_ORDER, "t1", amount_minor=14_000, refunded_minor=500)]
    assert await books.kinds() == {"t1": "returned_differs"}
    async with db.transaction() as connection:
        invoice = await connection.fetchval(
            "select invoice_id from payments.payments where id = $1", posted.payment_id
        )
        await refund_payment(
            connection, invoice_id=invoice, amount_minor=500, operator="aida",
            reason="as the bank did", reference="b1",
        )  # fmt: skip
    assert await books.kinds() == {}


async def test_two_payments_of_a_lost_bill_are_entered_as_two(
    db: Database, books: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    bank.items = [
        item(LOST_ORDER, "t1", amount_minor=5_000), item(LOST_ORDER, "t2", amount_minor=15_000)
    ]  # fmt: skip
    await take_cash(db, client_id, **LOST)
    assert await books.kinds() == {"t1": "missing_at_ours"}
    assert await code_of(db, client_id, receipt="t1") == "entered_already"  # or is it this one?
    await take_cash(db, client_id, receipt=f"{LOST['receipt']}/2")
    assert await sums(books) == (20_000, 20_000, 0)
    assert await balance(owner, client_id) == 20_000


@pytest.mark.parametrize("name", ["invoice", "order", "reference"])
async def test_a_payment_of_ours_is_not_entered_as_cash(
    db: Database, books: Owner, owner: Connection, client_id: UUID, name: str
) -> None:
    order = await payment(owner, client_id)
    names = {"invoice": order.replace("order-", "inv-"), "order": order, "reference": "t1"}
    if name != "reference":  # it is credited when the bank confirms it
        assert await code_of(db, client_id, receipt=names[name]) == "payment_known"
    await books.credit(order, provider_ref="t1")
    assert await code_of(db, client_id, receipt=names[name]) == "payment_known"
    assert await balance(owner, client_id) == 10_000


async def test_money_in_review_is_decided_there_and_then_entered_once(
    db: Database, books: Owner, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    await books.confirmer.confirm(event(order, provider_ref="t1", paid_minor=9_000))
    assert await code_of(db, client_id, receipt="t1") == "payment_known"
    await decided(db, "dismiss")
    await take_cash(db, client_id, receipt="t1", amount_minor=9_000)
    invoice = order.replace("order-", "inv-")
    assert await code_of(db, client_id, receipt=invoice) == "entered_already"
    await books.confirmer.confirm(event(order, provider_ref="t1", paid_minor=9_500))
    with pytest.raises(Conflict, match="entered by hand"):
        await decided(db, "accept")
    assert await balance(owner, client_id) == 9_000


async def test_a_reference_that_names_a_bill_of_ours_is_not_entered(
    db: Database, books: Owner, bank: ListedProvider, owner: Connection, client_id: UUID
) -> None:
    await payment(owner, client_id, provider_ref="the-bill")
    order = await payment(owner, client_id)
    bank.items = [item(order, "t1")]
    assert await books.kinds() == {"t1": "missing_at_ours"}  # the differences wait for a decision
    for receipt in ("the-bill", "t1"):
        assert await code_of(db, client_id, receipt=receipt) == "payment_known"


async def test_what_was_accepted_or_waits_once_more_is_not_entered(
    db: Database, books: Owner, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    for reference, decision in (("t1", "accept"), ("t2", "dismiss")):
        await books.confirmer.confirm(event(order, provider_ref=reference, paid_minor=4_000))
        await decided(db, decision)
    assert await code_of(db, client_id, receipt="t1") == "payment_known"
    await books.confirmer.confirm(event(order, provider_ref="t2", paid_minor=5_000))
    assert await code_of(db, client_id, receipt="t2") == "payment_known"
    assert await balance(owner, client_id) == 4_000


async def test_a_dismissed_bill_may_be_entered_by_its_invoice_and_then_by_no_name(
    db: Database, books: Owner, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    await books.confirmer.confirm(event(order, provider_ref="t1", paid_minor=9_000))
    await decided(db, "dismiss")
    await take_cash(db, client_id, receipt=order.replace("order-", "inv-"), amount_minor=9_000)
    assert await code_of(db, client_id, receipt="t1") == "entered_already"
    late = await books.confirmer.confirm(event(order, provider_ref="t1"))
    assert (late.outcome, late.review) == ("review", "entered_as_cash")
    with pytest.raises(Conflict, match="entered by hand"):
        await decided(db, "accept")
    assert await balance(owner, client_id) == 9_000


async def test_what_was_credited_before_the_same_was_entered_is_only_repeated(
    db: Database, books: Owner, owner: Connection, client_id: UUID
) -> None:
    """As by an operator of an earlier version: the return of the credit is still taken."""
    order = await payment(owner, client_id)
    await books.credit(order, provider_ref="t1")
    async with db.transaction() as connection:
        await credit_by_hand(
            connection, client_id=client_id, amount_minor=10_000, operator="aida", reason="twice",
            reference="t1", method="cash", action="payments.cash", now=utc_now(),
        )  # fmt: skip
    assert (await books.confirmer.confirm(event(order, provider_ref="t1"))).outcome == "repeated"
    back = event(order, provider_ref="t1", status="refunded", refunded_minor=10_000)
    assert (await books.confirmer.confirm(back)).outcome == "refunded"
    assert await balance(owner, client_id) == 10_000


async def test_a_notice_about_money_that_was_entered_waits_for_an_operator(
    db: Database, books: Owner, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    await take_cash(db, client_id, receipt="t1", amount_minor=10_000)  # from the bank's cabinet
    confirmation = await books.confirmer.confirm(event(order, provider_ref="t1"))
    assert (confirmation.outcome, confirmation.review) == ("review", "entered_as_cash")
    with pytest.raises(Conflict, match="entered by hand"):
        await decided(db, "accept")
    await decided(db, "dismiss")
    assert await balance(owner, client_id) == 10_000


async def decided(db: Database, decision: Any) -> None:
    async with db.transaction() as connection:
        [review] = await in_review(connection)
        await resolve(
            connection, invoice_id=review.payment.invoice_id, decision=decision, operator="aida",
            reason="the bank's cabinet", now=utc_now(),
        )  # fmt: skip


async def test_a_notice_about_money_that_is_being_entered_waits_for_it(
    db: Database, books: Owner, owner: Connection, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    async with db.transaction() as connection:
        await cash(
            connection, client_id=client_id, amount_minor=10_000, operator="aida",
            reason="from the bank's cabinet", receipt="t1", now=utc_now(),
        )  # fmt: skip
        notice = asyncio.create_task(books.confirmer.confirm(event(order, provider_ref="t1")))

        async def waits() -> bool:
            return notice.done() or await lock_waits(owner) > 0

        await until(waits, "the notice neither waits nor ends")
    assert (await notice).review == "entered_as_cash"
    assert await balance(owner, client_id) == 10_000


@pytest.mark.parametrize(
    "facts",
    [{"status": "partial_refund", "refunded_minor": 3_000},
     {"status": "refunded", "refunded_minor": 10_000}],
    ids=["a part", "all"],
)  # fmt: skip
async def test_money_that_was_entered_is_not_credited_by_its_return_either(
    db: Database, books: Owner, owner: Connection, client_id: UUID, facts: dict[str, Any]
) -> None:
    """The first that the bank says of it may be that it is paid and given back."""
    order = await payment(owner, client_id)
    await take_cash(db, client_id, receipt="t1", amount_minor=10_000)
    confirmation = await books.confirmer.confirm(event(order, provider_ref="t1", **facts))
    assert (confirmation.outcome, confirmation.review) == ("review", "entered_as_cash")
    assert await balance(owner, client_id) == 10_000
