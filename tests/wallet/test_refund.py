"""Refunds: at most the charged or credited amount, each posted once."""

import pytest

from evpower import wallet
from evpower.foundation.db import Database
from evpower.foundation.errors import Conflict, NotFound
from tests.wallet.scenario import Scenario

BY = {"actor": "operator", "reason": "a test"}


async def test_a_charge_is_given_back_at_most_in_full(db: Database, scenario: Scenario) -> None:
    client = await scenario.topped_up(1000)
    settlement = await scenario.charged(client, 300)
    async with db.transaction() as connection:
        first = await wallet.order_settlement_refund(
            connection, settlement, 200, reference="a", **BY
        )
        posting = await wallet.refund(connection, first)
        assert (posting.new, posting.amount_minor, posting.balance_minor) == (True, 200, 900)
        again = await wallet.refund(connection, first)
        assert (again.new, again.transaction_id) == (False, posting.transaction_id)
        more = await wallet.order_settlement_refund(
            connection, settlement, 101, reference="b", **BY
        )
        with pytest.raises(Conflict) as caught:
            await wallet.refund(connection, more)
        assert caught.value.code == "refund_exceeds"
    assert await scenario.money(client) == (900, 0, 0)
    assert (await scenario.wallet(client))["spent_minor"] == 100


async def test_an_order_is_made_once_for_a_reference(db: Database, scenario: Scenario) -> None:
    client = await scenario.topped_up(1000)
    settlement = await scenario.charged(client, 300)
    payment = await scenario.payment(client, 300)
    async with db.transaction() as connection:
        for order, cause in (
            (wallet.order_settlement_refund, settlement),
            (wallet.order_payment_refund, payment),
        ):
            first = await order(connection, cause, 200, reference="a", **BY)
            assert await order(connection, cause, 200, reference="a", **BY) == first
            with pytest.raises(Conflict):
                await order(connection, cause, 100, reference="a", **BY)
            with pytest.raises(NotFound):
                await order(connection, 987_654, 100, reference="a", **BY)


async def test_a_refund_pays_what_is_owed_first(db: Database, scenario: Scenario) -> None:
    client = await scenario.topped_up(300)
    settlement = await scenario.charged(client, 300)
    await scenario.charged(client, 120)
    async with db.transaction() as connection:
        order = await wallet.order_settlement_refund(
            connection, settlement, 200, reference="a", **BY
        )
        posting = await wallet.refund(connection, order)
    assert (posting.amount_minor, posting.balance_minor, posting.debt_minor) == (200, 80, 0)
    assert await scenario.amounts(client) == [300, -300, 200, -120]


async def test_a_providers_return_leaves_the_wallet(db: Database, scenario: Scenario) -> None:
    client = await scenario.client()
    payment = await scenario.payment(client, 1000)
    async with db.transaction() as connection:
        await wallet.credit(connection, payment)
        for part, reference in ((400, "a"), (600, "b")):
            order = await wallet.order_payment_refund(
                connection, payment, part, reference=reference, **BY
            )
            await wallet.refund(connection, order)
        over = await wallet.order_payment_refund(connection, payment, 1, reference="c", **BY)
        with pytest.raises(Conflict):
            await wallet.refund(connection, over)
    status = await scenario.sql.fetchval(
        "select status from payments.payments where id = $1", payment
    )
    assert status == "refunded"
    assert await scenario.amounts(client) == [1000, -400, -600]


@pytest.mark.parametrize("spent", [700, 1000])
async def test_a_return_above_the_balance_becomes_a_debt(
    db: Database, scenario: Scenario, spent: int
) -> None:
    client = await scenario.client()
    payment = await scenario.payment(client, 1000)
    await scenario.sql.execute("select wallet.credit($1)", payment)
    await scenario.charged(client, spent)
    async with db.transaction() as connection:
        order = await wallet.order_payment_refund(connection, payment, 1000, reference="a", **BY)
        posting = await wallet.refund(connection, order)
        assert (posting.balance_minor, posting.debt_minor) == (0, spent)
        assert not (await wallet.refund(connection, order)).new
        paid = await wallet.credit(connection, await scenario.payment(client, 1200))
    assert (paid.balance_minor, paid.debt_minor) == (1200 - spent, 0)


async def test_a_return_leaves_what_is_held(db: Database, scenario: Scenario) -> None:
    client = await scenario.client()
    payment = await scenario.payment(client, 1000)
    session = await scenario.session(client)
    async with db.transaction() as connection:
        await wallet.credit(connection, payment)
        await wallet.hold(connection, session, 900)
        order = await wallet.order_payment_refund(connection, payment, 1000, reference="a", **BY)
        posting = await wallet.refund(connection, order)
        assert (posting.balance_minor, posting.held_minor, posting.debt_minor) == (900, 900, 900)
        released = await wallet.release_hold(connection, session)
        assert (released.balance_minor, released.debt_minor) == (0, 0)


async def test_many_refunds_in_one_call(db: Database, scenario: Scenario) -> None:
    clients = [await scenario.topped_up(1000) for _ in range(3)]
    orders = [
        await scenario.refund_order(
            client,
            100,
            settlement_id=await scenario.charged(client, 100 + 100 * (client == clients[0])),
        )
        for client in clients
    ]
    over = await scenario.refund_order(
        clients[1],
        1,
        settlement_id=await scenario.sql.fetchval(
            "select settlement_id from wallet.refunds where id = $1", orders[1]
        ),
    )
    async with db.transaction() as connection:
        postings = await wallet.refund_many(connection, [*orders[::-1], over, 987_654, orders[0]])
    assert {posting.cause_id: posting.outcome for posting in postings} == {
        **dict.fromkeys(orders, "posted"),
        over: "exceeds",
        987_654: "not_found",
    }
