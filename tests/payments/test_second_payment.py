"""Several payments of one invoice at the provider: one is credited, the others go to review."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.payments.confirm import Confirmer
from evpower.payments.model import Event
from tests.payments.conftest import payment
from tests.payments.interleave import two_at_once
from tests.payments.test_confirm import balance, event, kinds, row

STORED = [
    None,
    "first",
    "second",
    "the-invoice",
]  # the reference stored when the invoice was created


@pytest.fixture
def confirmer(db: Database) -> Confirmer:
    return Confirmer(db, LocalBus())


async def open_payment(owner: Connection, client_id: UUID, stored_ref: str | None) -> str:
    return await payment(owner, client_id, provider_ref=stored_ref)


@pytest.mark.parametrize("stored_ref", STORED)
class TestTwoReferences:
    async def test_second_payment_goes_to_review(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID, stored_ref: str | None
    ) -> None:
        order = await open_payment(owner, client_id, stored_ref)
        first = await confirmer.confirm(event(order, provider_ref="first"))
        second = await confirmer.confirm(event(order, provider_ref="second"))
        assert (first.outcome, second.outcome, second.review) == (
            "confirmed",
            "review",
            "paid_twice",
        )
        stored = await row(owner, order)
        assert (stored["credited_ref"], stored["provider_ref"]) == ("first", stored_ref)
        assert stored["review"] == "paid_twice"
        assert await kinds(owner, client_id) == [("topup", 10_000)]

    async def test_return_of_the_second_leaves_the_first_in_the_wallet(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID, stored_ref: str | None
    ) -> None:
        order = await open_payment(owner, client_id, stored_ref)
        await confirmer.confirm(event(order, provider_ref="first"))
        await confirmer.confirm(event(order, provider_ref="second"))
        returned = await confirmer.confirm(
            event(order, provider_ref="second", status="refunded", refunded_minor=10_000)
        )
        assert (returned.outcome, returned.review) == ("review", "second_payment_returned")
        assert await balance(owner, client_id) == 10_000

    async def test_return_of_the_first_takes_it(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID, stored_ref: str | None
    ) -> None:
        order = await open_payment(owner, client_id, stored_ref)
        await confirmer.confirm(event(order, provider_ref="first"))
        await confirmer.confirm(event(order, provider_ref="second"))
        returned = await confirmer.confirm(
            event(order, provider_ref="first", status="refunded", refunded_minor=10_000)
        )
        assert (returned.outcome, returned.balance_minor) == ("refunded", 0)

    @pytest.mark.parametrize("of", ["first", "second"])
    async def test_return_is_found_by_its_reference_alone(
        self,
        confirmer: Confirmer,
        owner: Connection,
        client_id: UUID,
        stored_ref: str | None,
        of: str,
    ) -> None:
        order = await open_payment(owner, client_id, stored_ref)
        await confirmer.confirm(event(order, provider_ref="first"))
        await confirmer.confirm(event(order, provider_ref="second"))
        back = event(None, provider_ref=of, status="refunded", refunded_minor=10_000)
        done = await confirmer.confirm(back)
        assert done.outcome == ("refunded" if of == "first" else "review")
        assert await balance(owner, client_id) == (0 if of == "first" else 10_000)

    async def test_both_at_once_credit_once(
        self, db: Database, owner: Connection, client_id: UUID, stored_ref: str | None
    ) -> None:
        order = await open_payment(owner, client_id, stored_ref)
        workers = [Confirmer(db, LocalBus()) for _ in range(2)]
        events = [event(order, provider_ref=f"ref{n % 2}") for n in range(20)]
        done = await asyncio.gather(*(workers[n % 2].confirm(e) for n, e in enumerate(events)))
        outcomes = [confirmation.outcome for confirmation in done]
        assert (outcomes.count("confirmed"), outcomes.count("review")) == (1, 1)
        assert await kinds(owner, client_id) == [("topup", 10_000)]


class TestNoReference:
    @pytest.mark.parametrize(
        "moves",
        [
            {"status": "approved"},
            {"status": "refunded", "refunded_minor": 10_000},
            {"status": "partial_refund", "refunded_minor": 1},
            {"status": "canceled", "refunded_minor": 10_000},
        ],
    )
    async def test_what_moves_money_without_one_goes_to_review(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID, moves: dict[str, Any]
    ) -> None:
        order = await payment(owner, client_id)
        await confirmer.confirm(event(order))
        done = await confirmer.confirm(event(order, provider_ref=None, **moves))
        assert (done.outcome, done.review) == ("review", "reference_missing")
        assert await balance(owner, client_id) == 10_000

    async def test_the_invoice_s_own_is_meant_where_it_is_known(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        order = await payment(owner, client_id, provider_ref="invoice-1")
        done = await confirmer.confirm(event(order, provider_ref=None))
        assert done.outcome == "confirmed"
        assert (await row(owner, order))["credited_ref"] == "invoice-1"

    async def test_nothing_is_credited_by_no_reference_at_all(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        order = await payment(owner, client_id)
        done = await confirmer.confirm(event(order, provider_ref=None))
        assert (done.outcome, done.review) == ("review", "reference_missing")
        assert await balance(owner, client_id) == 0


class TestOneReferenceOfTwoInvoices:
    @pytest.mark.parametrize("stored", [True, False])
    async def test_it_is_credited_once(
        self,
        confirmer: Confirmer,
        owner: Connection,
        client_id: UUID,
        stored: bool,  # noqa: FBT001
    ) -> None:
        first = await payment(owner, client_id, provider_ref="ref" if stored else None)
        other = await payment(owner, client_id)
        assert (await confirmer.confirm(event(first, provider_ref="ref"))).outcome == "confirmed"
        done = await confirmer.confirm(event(other, provider_ref="ref"))
        assert (done.outcome, done.review) == ("review", "reference_of_another")
        assert await balance(owner, client_id) == 10_000

    async def test_it_is_not_credited_to_another_than_the_invoice_it_was_made_for(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID
    ) -> None:
        await payment(owner, client_id, provider_ref="ref")
        other = await payment(owner, client_id)
        done = await confirmer.confirm(event(other, provider_ref="ref"))
        assert (done.outcome, done.review) == ("review", "reference_of_another")

    async def test_at_once_it_is_credited_once(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        orders = [await payment(owner, client_id) for _ in range(12)]
        workers = [Confirmer(db, LocalBus()) for _ in range(4)]
        done = await asyncio.gather(
            *(
                workers[n % 4].confirm(event(order, provider_ref="ref"))
                for n, order in enumerate(orders)
            )
        )
        outcomes = [(confirmation.outcome, confirmation.review) for confirmation in done]
        assert outcomes.count(("confirmed", None)) == 1
        assert outcomes.count(("review", "reference_of_another")) == 11
        assert await kinds(owner, client_id) == [("topup", 10_000)]


class TestOneEventTwiceAtOnce:
    async def test_of_two_payments_one_is_credited(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        """Concurrent transactions don't see each other: the second waits for the first's event."""
        orders = [await payment(owner, client_id) for _ in range(16)]
        workers = [Confirmer(db, LocalBus()) for _ in range(4)]

        def of(n: int) -> Event:
            return event(orders[n], "evt", provider_ref=f"ref{n}")

        done = await asyncio.gather(*(workers[n % 4].confirm(of(n)) for n in range(16)))
        outcomes = [confirmation.outcome for confirmation in done]
        assert (outcomes.count("confirmed"), outcomes.count("event_reused")) == (1, 15)
        assert await kinds(owner, client_id) == [("topup", 10_000)]

    async def test_the_second_waits_and_finds_the_id_used(
        self, db: Database, owner: Connection, dsn: str, client_id: UUID
    ) -> None:
        other = uuid4()
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", other
        )
        first, second = await payment(owner, client_id), await payment(owner, other)
        done = await two_at_once(db, dsn, event(first, "evt"), event(second, "evt"))
        assert (done.outcome, done.review) == ("event_reused", "event_reused")
        assert (await balance(owner, client_id), await balance(owner, other)) == (10_000, 0)
