"""A confirmed payment is credited once, however often and in whichever order it is requested."""

import asyncio

import pytest

from evpower import wallet
from evpower.foundation.db import Database
from evpower.foundation.errors import Conflict, NotFound, Unavailable
from tests.conftest import patient_database
from tests.waiting import WAIT_LIMIT_S, until
from tests.wallet.scenario import NOON, Scenario


async def test_a_repeated_credit_returns_the_same_transaction(
    db: Database, scenario: Scenario
) -> None:
    client = await scenario.client()
    payment = await scenario.payment(client, 700)
    async with db.transaction() as connection:
        first = await wallet.credit(connection, payment)
        second = await wallet.credit(connection, payment)
    assert first.new
    assert not second.new
    assert first.transaction_id == second.transaction_id is not None
    assert (second.amount_minor, second.balance_minor, second.version) == (700, 700, 1)
    assert await scenario.amounts(client) == [700]


async def test_what_is_not_confirmed_or_unknown_is_refused(
    db: Database, scenario: Scenario
) -> None:
    payment = await scenario.payment(await scenario.client(), 700, confirmed=False)
    async with db.transaction() as connection:
        with pytest.raises(Conflict, match="not confirmed"):
            await wallet.credit(connection, payment)
        with pytest.raises(NotFound):
            await wallet.credit(connection, payment + 1000)


async def test_50_parallel_credits_of_one_payment_credit_once(
    db: Database, scenario: Scenario
) -> None:
    client = await scenario.client()
    payment = await scenario.payment(client, 700)

    async def credit() -> wallet.Posting:
        async with db.transaction() as connection:
            return await wallet.credit(connection, payment)

    postings = await asyncio.gather(*(credit() for _ in range(50)))
    assert sum(posting.new for posting in postings) == 1
    assert len({posting.transaction_id for posting in postings}) == 1
    assert await scenario.amounts(client) == [700]


async def test_a_batch_takes_repeats_unknown_ids_and_one_clients_many(
    db: Database, scenario: Scenario
) -> None:
    client, other = await scenario.client(), await scenario.client()
    own = [await scenario.payment(client, amount) for amount in (100, 200, 300)]
    unconfirmed = await scenario.payment(other, 500, confirmed=False)
    foreign = await scenario.payment(other, 400)
    async with db.transaction() as connection:
        await wallet.credit(connection, own[1])
        postings = await wallet.credit_many(
            connection, [own[2], foreign, 987_654, own[0], own[2], unconfirmed, own[1]]
        )
    assert {posting.cause_id: posting.outcome for posting in postings} == {
        own[0]: "posted",
        own[1]: "repeated",
        own[2]: "posted",
        foreign: "posted",
        unconfirmed: "not_confirmed",
        987_654: "not_found",
    }
    assert await scenario.amounts(client) == [200, 100, 300]
    assert await scenario.money(client) == (600, 0, 0)
    assert (await scenario.wallet(client))["last_topup_at"] == NOON


async def test_an_older_top_up_credited_later_is_not_the_last_one(
    db: Database, scenario: Scenario
) -> None:
    client = await scenario.client()
    newer = await scenario.payment(client, 100, confirmed=False)
    await scenario.confirm(newer)
    async with db.transaction() as connection:
        await wallet.credit(connection, newer)
        await wallet.credit(connection, await scenario.payment(client, 200))
    assert (await scenario.wallet(client))["last_topup_at"] == await scenario.sql.fetchval(
        "select confirmed_at from payments.payments where id = $1", newer
    )


async def test_overlapping_batches_in_opposite_order_do_not_deadlock(
    db: Database, scenario: Scenario
) -> None:
    clients = [await scenario.client() for _ in range(20)]
    payments = [await scenario.payment(client, 10) for client in clients for _ in range(3)]

    async def credit(ids: list[int]) -> int:
        async with db.transaction() as connection:
            return sum(posting.new for posting in await wallet.credit_many(connection, ids))

    for _ in range(3):
        more = [await scenario.payment(client, 10) for client in clients]
        payments += more
        await asyncio.gather(
            *(credit(ids) for ids in (payments, payments[::-1], more[::-1], payments[::2]))
        )
    assert [await scenario.money(client) for client in clients] == [(60, 0, 0)] * 20


async def test_the_batcher_credits_each_once_and_returns_each_callers_error(
    db: Database, scenario: Scenario
) -> None:
    clients = [await scenario.client() for _ in range(10)]
    payments = [await scenario.payment(client, 10) for client in clients for _ in range(6)]
    unconfirmed = await scenario.payment(clients[0], 10, confirmed=False)
    batcher = wallet.WalletBatcher(db, max_size=16)
    ids = [*payments, *payments, unconfirmed, 987_654]
    results = await asyncio.gather(*map(batcher.credit, ids), return_exceptions=True)
    await batcher.close()
    assert isinstance(results[-2], Conflict)
    assert isinstance(results[-1], NotFound)
    postings = [result for result in results[:-2] if isinstance(result, wallet.Posting)]
    assert sum(posting.new for posting in postings) == 60
    assert len(postings) == 120
    assert [await scenario.money(client) for client in clients] == [(60, 0, 0)] * 10


async def test_a_locked_wallet_fails_its_own_credit_only(dsn: str, scenario: Scenario) -> None:
    name = dsn.rsplit("/", 1)[1]
    await scenario.sql.execute(f"alter role evpower in database {name} set lock_timeout = '1s'")
    database = patient_database(dsn)
    await database.start()
    locked, *others = [await scenario.client() for _ in range(4)]
    payments = [await scenario.payment(client, 10) for client in (locked, *others)]
    batcher = wallet.WalletBatcher(database)
    batcher._credits._retry_budget_s = (
        WAIT_LIMIT_S  # the others are tried after the one that waited
    )
    async with scenario.sql.transaction():
        await scenario.sql.execute(
            "select from wallet.wallets where client_id = $1 for update", locked
        )
        results = await asyncio.gather(*map(batcher.credit, payments), return_exceptions=True)
    assert isinstance(results[0], Unavailable)
    assert all(isinstance(result, wallet.Posting) and result.new for result in results[1:])
    assert (await batcher.credit(payments[0])).new
    await batcher.close()
    await database.close()


async def test_a_cancelled_single_credit_leaves_its_connection_usable(
    dsn: str, scenario: Scenario
) -> None:
    database = patient_database(dsn, size=1)
    await database.start()
    client, other = [await scenario.client() for _ in range(2)]
    first, cancelled, foreign = [await scenario.payment(c, 10) for c in (other, client, other)]
    batcher = wallet.WalletBatcher(database)
    assert (await batcher.credit(first)).new
    async with scenario.sql.transaction():
        await scenario.sql.execute(
            "select from wallet.wallets where client_id = $1 for update", client
        )
        single_call = asyncio.create_task(batcher.credit(cancelled))
        await until(scenario.is_lock_awaited)
        single_call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await single_call
        assert (await asyncio.wait_for(batcher.credit(foreign), WAIT_LIMIT_S)).new
    assert (await batcher.credit(cancelled)).new, "the cancelled call stored nothing"
    assert await scenario.money(client) == (10, 0, 0)
    await batcher.close()
    await database.close()


async def test_a_transaction_takes_at_most_300_bytes(db: Database, scenario: Scenario) -> None:
    await scenario.sql.execute(
        """
        insert into identity.clients (id, origin)
        select md5('client ' || g)::uuid, 'import' from generate_series(1, 2000) g;
        insert into payments.payments (invoice_id, order_id, client_id, provider, method,
          amount_minor, status, paid_minor, confirmed_at, credited_ref, expires_at)
        select 'invoice' || g || '-' || c.n, 'order' || g || '-' || c.n, c.id, 'sandbox', 'qr',
               100 + g, 'approved', 100 + g, now(), 'ref' || g || '-' || c.n, now()
          from generate_series(1, 10) g,
               (select id, row_number() over (order by id) n from identity.clients) c
         order by md5(g || ' of ' || c.id); -- a fixed shuffle: pages fill the same in every run
        """
    )
    ids = [row["id"] for row in await scenario.sql.fetch("select id from payments.payments")]
    async with db.connection() as connection:
        for start in range(0, len(ids), 200):
            await wallet.credit_many(connection, ids[start : start + 200])
    size = await scenario.sql.fetchval("select pg_total_relation_size('wallet.transactions')")
    assert len(ids) == await scenario.sql.fetchval("select count(*) from wallet.transactions")
    assert size / len(ids) <= 300, f"{size / len(ids):.0f} bytes"
