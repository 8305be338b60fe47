"""Transactions that always overlap: which one waits, and what then happens."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.payments import refund_payment
from evpower.payments.confirm import Confirmer
from evpower.payments.model import Event
from evpower.payments.store import confirm_many
from tests.conftest import as_owner
from tests.payments.conftest import payment
from tests.payments.interleave import lock_waits, two_at_once, two_statements
from tests.payments.test_confirm import balance, event
from tests.waiting import until


async def test_second_payment_at_the_same_time_is_a_payment_of_its_own(
    db: Database, owner: Connection, dsn: str, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    first, second = (event(order, provider_ref=ref) for ref in ("first", "second"))
    done = await two_at_once(db, dsn, first, second)
    assert (done.outcome, done.review) == ("confirmed", "paid_twice")
    assert await balance(owner, client_id) == 20_000


async def test_a_concurrent_second_event_about_the_same_payment_is_repeated(
    db: Database, owner: Connection, dsn: str, client_id: UUID
) -> None:
    order = await payment(owner, client_id)
    done = await two_at_once(db, dsn, event(order, "webhook"), event(order, "poll"))
    assert (done.outcome, done.balance_minor) == ("repeated", 10_000)


async def test_one_reference_of_two_payments_at_the_same_time_is_credited_once(
    db: Database, owner: Connection, dsn: str, client_id: UUID
) -> None:
    other = uuid4()
    await owner.execute("insert into identity.clients (id, origin) values ($1, 'import')", other)
    first, second = await payment(owner, client_id), await payment(owner, other)
    done = await two_at_once(
        db, dsn, event(first, provider_ref="ref"), event(second, provider_ref="ref")
    )
    assert (done.outcome, done.review) == ("review", "reference_of_another")
    assert await balance(owner, other) == 0


async def test_a_reference_that_becomes_an_invoice_s_meanwhile_is_credited_once(
    db: Database, owner: Connection, dsn: str, client_id: UUID
) -> None:
    """The bank reports it for one payment and makes it another's invoice at the same moment."""
    other = uuid4()
    await owner.execute("insert into identity.clients (id, origin) values ($1, 'import')", other)
    first, second = await payment(owner, client_id), await payment(owner, other)
    connection: Connection = await asyncpg.connect(as_owner(dsn))
    confirmer = Confirmer(db, LocalBus())
    try:
        async with connection.transaction():
            [done] = await confirm_many(connection, [event(first, provider_ref="ref")])
            assert done.outcome == "confirmed"
            await owner.execute(
                "update payments.payments set provider_ref = 'ref' where order_id = $1", second
            )
            task = asyncio.create_task(confirmer.confirm(event(second, provider_ref="ref")))

            async def waits() -> bool:
                return task.done() or await lock_waits(owner) > 0

            await until(waits, "the second confirmation neither waits nor ends")
        late = await task
    finally:
        await connection.close()
        await confirmer.close()
    assert (late.outcome, late.review) == ("review", "reference_of_another")
    assert await balance(owner, other) == 0


async def test_a_batch_outlives_two_references_that_others_credit_meanwhile(
    db: Database, owner: Connection, dsn: str, client_id: UUID
) -> None:
    """Each of its two events has a reference that another node credits at the same moment."""
    orders = [await payment(owner, client_id) for _ in range(4)]
    others: list[Connection] = [await asyncpg.connect(as_owner(dsn)) for _ in range(2)]
    confirmer = Confirmer(db, LocalBus())
    try:
        open_transactions = {other.get_server_pid(): other.transaction() for other in others}
        for other, order, ref in zip(others, orders[:2], ("one", "two"), strict=True):
            await open_transactions[other.get_server_pid()].start()
            # Only the payment: its wallet stays free, so that the batch meets the reference first.
            await other.execute(
                "update payments.payments set status = 'approved', confirmed_at = now(),"
                " paid_minor = amount_minor, credited_ref = $2 where order_id = $1",
                order,
                ref,
            )
        batch = asyncio.gather(
            *(
                confirmer.confirm(event(order, provider_ref=ref))
                for order, ref in zip(orders[2:], ("one", "two"), strict=True)
            )
        )
        while open_transactions:
            blocking: list[int] = []

            async def waits(pids: list[int] = blocking) -> bool:
                pids[:] = await owner.fetchval(
                    "select coalesce(array_agg(b), '{}') from pg_stat_activity a,"
                    " unnest(pg_blocking_pids(a.pid)) b where a.datname = current_database()"
                )
                return any(pid in open_transactions for pid in pids)

            await until(waits, "the batch waits for neither")
            await open_transactions.pop(
                next(pid for pid in blocking if pid in open_transactions)
            ).commit()
        done = await batch
    finally:
        for other in others:
            await other.close()
        await confirmer.close()
    outcomes = [(confirmation.outcome, confirmation.review) for confirmation in done]
    assert outcomes == [("review", "reference_of_another")] * 2


@pytest.mark.parametrize(
    ("before", "first", "second", "outcome"),
    [
        (None, {}, {"provider_ref": "second", "paid_minor": 9_999}, "review"),
        (None, {}, {"status": "canceled", "paid_minor": 0}, "ignored"),
        ({}, {"back": 3_000}, {"back": 10_000}, "refunded"),
        ({}, {"back": 10_000}, {"back": 3_000}, "repeated"),
    ],
)
async def test_events_of_one_payment_wait_for_each_other(
    owner: Connection, dsn: str, client_id: UUID, before: Any, first: Any, second: Any, outcome: str
) -> None:
    """Without retries, which would hide that both events were decided on the same state."""
    order = await payment(owner, client_id)

    def report(back: int = 0, **fields: Any) -> Event:
        if back:
            fields["status"] = "refunded" if back == 10_000 else "partial_refund"
        return event(order, refunded_minor=back, **fields)

    if before is not None:
        await confirm_many(owner, [report(**before)])
    done = await two_statements(dsn, report(**first), report(**second))
    assert done.outcome == outcome


async def test_a_cancellation_of_a_further_payment_waits_for_an_operators_return(
    db: Database, owner: Connection, client_id: UUID
) -> None:
    """The bank reports the same return so, and without an amount."""
    order = await payment(owner, client_id)
    for ref in ("first", "second"):
        await confirm_many(owner, [event(order, provider_ref=ref)])
    reported = event(order, provider_ref="second", status="canceled", paid_minor=None)
    invoice = await owner.fetchval("select invoice_id from payments.payments where attempt_of > 0")

    async def report() -> str:
        async with db.transaction() as connection:
            [done] = await confirm_many(connection, [reported])
        return done.outcome

    async with db.transaction() as connection:
        await refund_payment(
            connection, invoice_id=invoice, amount_minor=10_000, operator="aida",
            reason="as the bank did", reference="b1",
        )  # fmt: skip
        task = asyncio.create_task(report())

        async def waits() -> bool:
            return task.done() or await lock_waits(owner) > 0

        await until(waits, "the report neither waits nor ends")
    assert (await task, await balance(owner, client_id)) == ("ignored", 10_000)


class Crossing:
    """Two batches that would lock two wallets in opposite orders if they locked them late."""

    def __init__(self, owner: Connection, clients: list[UUID]) -> None:
        self.owner = owner
        self.clients = clients

    async def confirmed(self, client: UUID) -> str:
        order = await payment(self.owner, client)
        await confirm_many(self.owner, [event(order)])
        return order

    async def returns(self, credited: UUID, returned: UUID) -> list[Event]:
        """One wallet is credited, then another is debited for a refund."""
        back = await self.confirmed(returned)
        return [
            event(await payment(self.owner, credited)),
            event(back, status="refunded", refunded_minor=10_000),
        ]

    async def second_events(self, credited: UUID, later: UUID) -> list[Event]:
        """One wallet is credited, then another by a second event of its payment."""
        order = await payment(self.owner, later)
        return [
            event(await payment(self.owner, credited)),
            event(order, status="canceled", paid_minor=0),
            event(order),
        ]


@pytest.mark.parametrize(
    ("batch", "blocked"), [("returns", "wallet.refunds"), ("second_events", "payments.events")]
)
async def test_wallets_are_locked_in_one_order(
    owner: Connection, dsn: str, client_id: UUID, batch: str, blocked: str
) -> None:
    """Both batches stop between their two wallets: if each had locked only one, they deadlock."""
    clients = sorted([client_id, uuid4()])
    for client in clients:
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')"
            " on conflict do nothing",
            client,
        )
    crossing = Crossing(owner, clients)
    make = getattr(crossing, batch)
    batches = [await make(*clients), await make(*reversed(clients))]
    connections: list[Connection] = [await asyncpg.connect(as_owner(dsn)) for _ in batches]
    blocker: Connection = await asyncpg.connect(as_owner(dsn))
    try:
        async with blocker.transaction():
            await blocker.execute(f"lock table {blocked} in share mode")
            tasks = [
                asyncio.create_task(confirm_many(connection, events))
                for connection, events in zip(connections, batches, strict=True)
            ]

            async def both_wait() -> bool:
                return await lock_waits(owner) == len(tasks)

            await until(both_wait, "the batches did not stop")
        done = await asyncio.gather(*tasks)
    finally:
        for connection in (*connections, blocker):
            await connection.close()
    assert {item.outcome for confirmations in done for item in confirmations} <= {
        "confirmed",
        "refunded",
        "canceled",
    }
