"""Every function locks in one order, which excludes deadlocks: session or payment, then wallets.

Wallets are locked by client id. Each test takes the first lock, starts the function, and then takes
the second lock, as a concurrent transaction would. A function with the opposite order would
deadlock.
"""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from evpower import wallet
from evpower.foundation.db import Connection, Database
from tests.conftest import as_owner
from tests.waiting import until
from tests.wallet.scenario import Scenario

_WALLET = "select from wallet.wallets where client_id = $1 for no key update"


@pytest.fixture
async def concurrent(dsn: str) -> AsyncIterator[Connection]:
    """Yields a concurrent connection inside a transaction."""
    connection: Connection = await asyncpg.connect(as_owner(dsn))
    await connection.execute("begin")
    yield connection
    await connection.close()


async def run_between(
    scenario: Scenario,
    call: str,
    argument: object,
    concurrent: Connection,
    then_lock: UUID,
    dsn: str,
) -> list[str]:
    """Return the outcomes of a wallet function that began before `concurrent` locked the wallet."""
    other: Connection = await asyncpg.connect(as_owner(dsn))
    try:
        running = asyncio.create_task(
            other.fetch(f"select outcome from wallet.{call}($1)", argument)
        )
        await until(scenario.is_lock_awaited)
        await concurrent.execute(_WALLET, then_lock)
        await concurrent.execute("commit")
        return [row["outcome"] for row in await running]
    finally:
        await other.close()


@pytest.mark.parametrize("call", ["charge", "charge_many"])
async def test_a_charge_locks_its_session_before_the_wallet(
    scenario: Scenario, concurrent: Connection, dsn: str, call: str
) -> None:
    client = await scenario.topped_up(1000)
    session = await scenario.finished(client, 300)
    await concurrent.execute(
        "select from charging.sessions where id = $1 for no key update", session
    )
    argument = session if call == "charge" else [session]
    assert await run_between(scenario, call, argument, concurrent, client, dsn) == ["posted"]
    assert await scenario.money(client) == (700, 0, 0)


async def test_a_correction_locks_its_session_before_the_wallet(
    db: Database, scenario: Scenario, concurrent: Connection
) -> None:
    client = await scenario.topped_up(1000)
    session = await scenario.settled(client, 300)
    await concurrent.execute(
        "select from charging.sessions where id = $1 for no key update", session
    )
    running = asyncio.create_task(corrected(db, session))
    await until(scenario.is_lock_awaited)
    await concurrent.execute(_WALLET, client)
    await concurrent.execute("commit")
    assert await running == "posted"
    assert await scenario.money(client) == (800, 0, 0)


async def corrected(db: Database, session: UUID) -> str:
    async with db.connection() as connection:
        return await connection.fetchval(
            "select outcome from wallet.correct($1, 200, 0, now(), 'me', 'a better figure')",
            session,
        )


@pytest.mark.parametrize("call", ["refund", "refund_many"])
async def test_a_refund_locks_its_payment_before_the_wallet(
    scenario: Scenario, concurrent: Connection, dsn: str, call: str
) -> None:
    client = await scenario.client()
    payment = await scenario.payment(client, 1000)
    await scenario.sql.execute("select wallet.credit($1)", payment)
    order = await scenario.refund_order(client, 300, payment_id=payment)
    await concurrent.execute(
        "select from payments.payments where id = $1 for no key update", payment
    )
    argument = order if call == "refund" else [order]
    assert await run_between(scenario, call, argument, concurrent, client, dsn) == ["posted"]
    assert await scenario.money(client) == (700, 0, 0)


@pytest.mark.parametrize("call", ["credit_many", "charge_many", "refund_many"])
async def test_a_batch_locks_wallets_by_client(
    scenario: Scenario, concurrent: Connection, dsn: str, call: str
) -> None:
    """The causes are inserted in the opposite order."""
    clients = sorted([await scenario.topped_up(1000), await scenario.topped_up(1000)], reverse=True)
    causes: list[object] = []
    for client in clients:
        if call == "credit_many":
            causes.append(await scenario.payment(client, 5))
        elif call == "charge_many":
            causes.append(await scenario.finished(client, 5))
        else:
            bill = await scenario.charged(client, 10)
            causes.append(await scenario.refund_order(client, 5, settlement_id=bill))
    high, low = clients
    await concurrent.execute(_WALLET, low)
    outcomes = await run_between(scenario, call, causes, concurrent, high, dsn)
    assert outcomes == ["posted", "posted"]


async def test_two_returns_of_one_payment_are_ordered_and_posted_at_once(
    db: Database, scenario: Scenario
) -> None:
    client = await scenario.client()
    payment = await scenario.payment(client, 1000)
    await scenario.sql.execute("select wallet.credit($1)", payment)

    async def give_back(amount_minor: int) -> wallet.Posting:
        async with db.transaction() as connection:
            order = await wallet.order_payment_refund(
                connection, payment, amount_minor, actor="bank", reason="returned",
                reference=f"R-{amount_minor}",
            )  # fmt: skip
            if amount_minor == 100:
                other = asyncio.create_task(give_back(200))
                tasks.append(other)
                await until(lambda: other.done() or scenario.is_lock_awaited())
            return await wallet.refund(connection, order)

    tasks: list[asyncio.Task[wallet.Posting]] = []
    assert (await give_back(100)).outcome == "posted"
    assert [(await task).outcome for task in tasks] == ["posted"]
    assert await scenario.money(client) == (700, 0, 0)


async def test_goodwill_waits_for_a_correction_of_its_session(
    db: Database, scenario: Scenario, concurrent: Connection
) -> None:
    """Without the session's lock each would wait for the other: a deadlock."""
    client = await scenario.topped_up(1000)
    session = await scenario.settled(client, 300)
    bill: int = await scenario.sql.fetchval("select id from charging.settlements")

    async def give_back() -> wallet.Posting:
        async with db.transaction() as connection:
            order = await wallet.order_settlement_refund(
                connection, bill, 50, actor="aida", reason="sorry", reference="R-1"
            )
            return await wallet.refund(connection, order)

    await concurrent.execute(_WALLET, client)
    await concurrent.execute(
        "select from charging.sessions where id = $1 for no key update", session
    )
    giving = asyncio.create_task(give_back())
    await until(scenario.is_lock_awaited)
    await concurrent.execute(
        "select wallet.correct($1, 200, 0, now(), 'me', 'a better figure')", session
    )
    await concurrent.execute("commit")
    assert (await giving).outcome == "posted"
    assert await scenario.money(client) == (850, 0, 0)
