"""A finished session is debited once; the unpaid part is a debt, collected once money is free."""

import asyncio
from uuid import UUID, uuid4

import pytest

from evpower import wallet
from evpower.foundation.db import Database
from evpower.foundation.errors import Conflict, NotFound
from tests.wallet.scenario import Scenario


async def test_a_charge_takes_its_hold_and_settles_the_session(
    db: Database, scenario: Scenario
) -> None:
    client = await scenario.topped_up(1000)
    session = await scenario.session(client, state="charging")
    async with db.transaction() as connection:
        await wallet.hold(connection, session, 600)
    await scenario.finish(session, 450)
    async with db.transaction() as connection:
        first = await wallet.charge(connection, session)
        again = await wallet.charge(connection, session)
        hold = await wallet.get_hold(connection, session)
        released = await wallet.release_hold(connection, session)
    assert (first.new, first.amount_minor) == (True, -450)
    assert (first.balance_minor, first.held_minor) == (550, 0)
    assert not again.new
    assert again.transaction_id == first.transaction_id
    assert hold is not None
    assert hold.state == "charged"
    assert released.outcome == "resolved"
    state = await scenario.sql.fetchval(
        "select state from charging.sessions where id = $1", session
    )
    assert state == "settled"
    assert (await scenario.wallet(client))["spent_minor"] == 450


async def test_a_bill_above_the_balance_becomes_a_debt_that_the_next_credit_pays(
    db: Database, scenario: Scenario
) -> None:
    client = await scenario.topped_up(1000)
    session = await scenario.finished(client, 1500)
    payments = [await scenario.payment(client, amount) for amount in (200, 1000)]
    async with db.transaction() as connection:
        charged = await wallet.charge(connection, session)
        assert (charged.amount_minor, charged.balance_minor, charged.debt_minor) == (-1000, 0, 500)
        partly = await wallet.credit(connection, payments[0])
        assert (partly.amount_minor, partly.balance_minor, partly.debt_minor) == (200, 0, 300)
        paid = await wallet.credit(connection, payments[1])
        assert (paid.balance_minor, paid.debt_minor) == (700, 0)
    assert await scenario.amounts(client) == [1000, -1000, 200, -200, 1000, -300]
    assert await scenario.bills(session) == [
        (1, 1500, 1500, 1000), (None, None, 200, 200), (None, None, 300, 300),
    ]  # fmt: skip
    assert (await scenario.wallet(client))["spent_minor"] == 1500


async def test_a_charge_leaves_the_holds_of_others(db: Database, scenario: Scenario) -> None:
    client = await scenario.topped_up(1000)
    running = await scenario.session(client, state="charging")
    async with db.transaction() as connection:
        await wallet.hold(connection, running, 800)
    session = await scenario.finished(client, 500)
    async with db.transaction() as connection:
        charged = await wallet.charge(connection, session)
    assert (charged.amount_minor, charged.balance_minor, charged.held_minor) == (-200, 800, 800)
    assert charged.debt_minor == 300


async def test_a_released_hold_pays_what_is_owed(db: Database, scenario: Scenario) -> None:
    client = await scenario.topped_up(1000)
    running = await scenario.session(client, state="charging")
    async with db.transaction() as connection:
        await wallet.hold(connection, running, 800)
        session = await scenario.finished(client, 500)
        await wallet.charge(connection, session)
        released = await wallet.release_hold(connection, running)
    assert (released.balance_minor, released.held_minor, released.debt_minor) == (500, 0, 0)
    assert await scenario.amounts(client) == [1000, -200, -300]


async def test_a_charge_below_its_hold_pays_what_is_owed(db: Database, scenario: Scenario) -> None:
    client = await scenario.topped_up(1000)
    running = await scenario.session(client, state="charging")
    async with db.transaction() as connection:
        await wallet.hold(connection, running, 800)
        await wallet.charge(connection, await scenario.finished(client, 500))
    await scenario.finish(running, 600)
    async with db.transaction() as connection:
        charged = await wallet.charge(connection, running)
    assert (charged.amount_minor, charged.balance_minor, charged.debt_minor) == (-600, 0, 100)
    assert await scenario.amounts(client) == [1000, -200, -600, -200]


async def test_a_credit_pays_what_is_owed_from_what_is_not_held(
    db: Database, scenario: Scenario
) -> None:
    client = await scenario.topped_up(1000)
    running = await scenario.session(client, state="charging")
    async with db.transaction() as connection:
        await wallet.hold(connection, running, 800)
        await wallet.charge(connection, await scenario.finished(client, 500))
        credited = await wallet.credit(connection, await scenario.payment(client, 100))
    assert (credited.balance_minor, credited.held_minor, credited.debt_minor) == (800, 800, 200)
    assert await scenario.amounts(client) == [1000, -200, 100, -100]


async def test_the_oldest_debt_is_collected_first(db: Database, scenario: Scenario) -> None:
    client = await scenario.client()
    older, newer = await scenario.settled(client, 300), await scenario.settled(client, 200)
    payment = await scenario.payment(client, 350)
    async with db.transaction() as connection:
        await wallet.credit(connection, payment)
    assert await scenario.bills(older) == [(1, 300, 300, 0), (None, None, 300, 300)]
    assert await scenario.bills(newer) == [(1, 200, 200, 0), (None, None, 50, 50)]


async def test_a_late_charge_after_release_takes_what_is_free(
    db: Database, scenario: Scenario
) -> None:
    client = await scenario.topped_up(1000)
    session = await scenario.session(client, state="charging")
    async with db.transaction() as connection:
        await wallet.hold(connection, session, 600)
        await wallet.release_hold(connection, session)
    await scenario.finish(session, 300)
    async with db.transaction() as connection:
        assert (await wallet.charge(connection, session)).balance_minor == 700


async def test_nothing_due_moves_nothing(db: Database, scenario: Scenario) -> None:
    client = await scenario.topped_up(1000)
    session = await scenario.session(client, state="charging")
    async with db.transaction() as connection:
        await wallet.hold(connection, session, 600)
    await scenario.finish(session, 0)
    async with db.transaction() as connection:
        for _ in range(2):
            posting = await wallet.charge(connection, session)
            assert (posting.outcome, posting.transaction_id) == ("nothing_due", None)
    assert await scenario.money(client) == (1000, 0, 0)


async def test_parallel_charges_of_one_session_debit_once(db: Database, scenario: Scenario) -> None:
    client = await scenario.topped_up(1000)
    session = await scenario.finished(client, 300)
    batcher = wallet.WalletBatcher(db)

    async def alone() -> wallet.Posting:
        async with db.transaction() as connection:
            return await wallet.charge(connection, session)

    calls = [call for _ in range(10) for call in (alone(), batcher.charge(session))]
    postings = await asyncio.gather(*calls)
    await batcher.close()
    assert sum(posting.new for posting in postings) == 1
    assert await scenario.amounts(client) == [1000, -300]


async def test_credits_and_charges_in_batches_do_not_deadlock(
    db: Database, scenario: Scenario
) -> None:
    clients = [await scenario.topped_up(50) for _ in range(10)]
    sessions = [await scenario.finished(client, 40) for client in clients for _ in range(3)]
    payments = [await scenario.payment(client, 100) for client in clients]

    async def charge(ids: list[UUID]) -> None:
        async with db.transaction() as connection:
            await wallet.charge_many(connection, [*ids, uuid4()])

    async def credit(ids: list[int]) -> None:
        async with db.transaction() as connection:
            await wallet.credit_many(connection, ids)

    await asyncio.gather(
        charge(sessions), charge(sessions[::-1]), credit(payments[::-1]), credit(payments)
    )
    assert [await scenario.money(client) for client in clients] == [(30, 0, 0)] * 10


async def test_an_unknown_session_is_not_found(db: Database) -> None:
    batcher = wallet.WalletBatcher(db)
    async with db.transaction() as connection:
        with pytest.raises(NotFound, match="no such session"):
            await wallet.charge(connection, uuid4())
    with pytest.raises(NotFound, match="no such session"):
        await batcher.charge(uuid4())
    await batcher.close()


async def test_what_has_not_ended_or_was_paid_elsewhere_is_not_charged(
    db: Database, scenario: Scenario
) -> None:
    client = await scenario.topped_up(1000)
    running = await scenario.session(client, state="charging")
    elsewhere = await scenario.session(client, state="charging")
    await scenario.sql.execute(
        "update charging.sessions set state = 'finished', billed_elsewhere = true where id = $1",
        elsewhere,
    )
    for session, code in (
        (running, "session_not_finished"), (elsewhere, "session_billed_elsewhere"),
    ):  # fmt: skip
        async with db.transaction() as connection:
            with pytest.raises(Conflict) as refusal:
                await wallet.charge(connection, session)
        assert refusal.value.code == code
        assert await scenario.bills(session) == []
    assert await scenario.money(client) == (1000, 0, 0)
