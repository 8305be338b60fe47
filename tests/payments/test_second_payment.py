"""Several payments of one invoice: each is credited once, and all but one are flagged."""

import asyncio
from dataclasses import replace
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

OWN = [None, "the-invoice"]  # the reference stored when the invoice was created
SHARED = ["first", "second"]  # that of a transaction too: it may be the same money


@pytest.fixture
def confirmer(db: Database) -> Confirmer:
    return Confirmer(db, LocalBus())


async def open_payment(owner: Connection, client_id: UUID, stored_ref: str | None) -> str:
    return await payment(owner, client_id, provider_ref=stored_ref)


@pytest.mark.parametrize("stored_ref", OWN)
class TestTwoReferences:
    async def test_second_payment_is_credited_and_flagged(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID, stored_ref: str | None
    ) -> None:
        order = await open_payment(owner, client_id, stored_ref)
        first = await confirmer.confirm(event(order, provider_ref="first"))
        second = await confirmer.confirm(event(order, provider_ref="second"))
        third = await confirmer.confirm(event(order, provider_ref="third"))
        assert (first.outcome, first.review) == ("confirmed", None)
        assert {(done.outcome, done.review) for done in (second, third)} == {
            ("confirmed", "paid_twice")
        }
        assert first.invoice_id is not None
        assert [second.invoice_id, third.invoice_id] == [
            f"{first.invoice_id}/2",
            f"{first.invoice_id}/3",
        ]
        stored = await row(owner, order)
        assert (stored["credited_ref"], stored["provider_ref"]) == ("first", stored_ref)
        assert stored["review"] is None
        further = await row(owner, f"{order}/2")
        assert (further["credited_ref"], further["provider_ref"]) == ("second", "second")
        assert (further["review"], further["attempt_of"]) == ("paid_twice", stored["id"])
        assert await kinds(owner, client_id) == [("topup", 10_000)] * 3

    async def test_it_is_credited_once_however_often_it_is_reported(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID, stored_ref: str | None
    ) -> None:
        order = await open_payment(owner, client_id, stored_ref)
        await confirmer.confirm(event(order, provider_ref="first"))
        await confirmer.confirm(event(order, provider_ref="second"))
        for named in (order, None, f"{order}/2"):
            again = await confirmer.confirm(event(named, provider_ref="second"))
            assert again.outcome == "repeated"
        assert await kinds(owner, client_id) == [("topup", 10_000)] * 2

    async def test_more_than_the_bill_credits_the_bill(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID, stored_ref: str | None
    ) -> None:
        order = await open_payment(owner, client_id, stored_ref)
        for ref in ("first", "second"):
            done = await confirmer.confirm(event(order, provider_ref=ref, paid_minor=12_345))
            assert (done.outcome, done.review) == ("confirmed", "overpaid")
        assert await kinds(owner, client_id) == [("topup", 10_000)] * 2
        for of in (order, f"{order}/2"):
            stored = await row(owner, of)
            assert (stored["review"], stored["paid_minor"]) == ("overpaid", 12_345)

    async def test_less_than_the_bill_is_never_credited_by_itself(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID, stored_ref: str | None
    ) -> None:
        order = await open_payment(owner, client_id, stored_ref)
        await confirmer.confirm(event(order, provider_ref="first"))
        for ref in ("second", "third"):
            done = await confirmer.confirm(event(order, provider_ref=ref, paid_minor=5_000))
            assert (done.outcome, done.review) == ("review", "paid_twice")
        late = await confirmer.confirm(event(order, provider_ref="second"))
        assert late.outcome == "review"  # an operator was asked about that reference
        assert await kinds(owner, client_id) == [("topup", 10_000)]

    async def test_the_reference_of_a_reused_id_is_never_credited_by_itself(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID, stored_ref: str | None
    ) -> None:
        order = await open_payment(owner, client_id, stored_ref)
        await confirmer.confirm(event(order, "one-id", provider_ref="first"))
        reused = await confirmer.confirm(event(order, "one-id", provider_ref="second"))
        assert reused.outcome == "event_reused"
        late = await confirmer.confirm(event(order, provider_ref="second"))
        assert (late.outcome, late.review) == ("review", "paid_twice")
        assert await kinds(owner, client_id) == [("topup", 10_000)]

    async def test_the_bank_is_asked_about_the_bill_and_not_about_its_further_payment(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID, stored_ref: str | None
    ) -> None:
        order = await open_payment(owner, client_id, stored_ref)
        first = await confirmer.confirm(event(order, provider_ref="first"))
        await confirmer.confirm(event(order, provider_ref="second"))
        odd = await confirmer.confirm(event(order, provider_ref="second", paid_minor=9_000))
        assert (odd.outcome, odd.invoice_id) == ("review", f"{first.invoice_id}/2")
        assert (await row(owner, f"{order}/2"))["next_check_at"] is None
        assert (await row(owner, order))["next_check_at"] is not None

    @pytest.mark.parametrize("of", ["first", "second"])
    @pytest.mark.parametrize("named", [True, False])
    async def test_return_takes_what_its_reference_credited(
        self,
        confirmer: Confirmer,
        owner: Connection,
        client_id: UUID,
        stored_ref: str | None,
        of: str,
        named: bool,  # noqa: FBT001
    ) -> None:
        order = await open_payment(owner, client_id, stored_ref)
        await confirmer.confirm(event(order, provider_ref="first"))
        await confirmer.confirm(event(order, provider_ref="second"))
        back = event(
            order if named else None, provider_ref=of, status="refunded", refunded_minor=10_000
        )
        done = await confirmer.confirm(back)
        assert (done.outcome, done.balance_minor) == ("refunded", 10_000)
        stored = await row(owner, order if of == "first" else f"{order}/2")
        assert (stored["status"], stored["refunded_minor"]) == ("refunded", 10_000)

    async def test_both_at_once_are_credited_once_each(
        self, db: Database, owner: Connection, client_id: UUID, stored_ref: str | None
    ) -> None:
        order = await open_payment(owner, client_id, stored_ref)
        workers = [Confirmer(db, LocalBus()) for _ in range(2)]
        events = [event(order, provider_ref=f"ref{n % 2}") for n in range(20)]
        done = await asyncio.gather(*(workers[n % 2].confirm(e) for n, e in enumerate(events)))
        outcomes = [confirmation.outcome for confirmation in done]
        assert (outcomes.count("confirmed"), outcomes.count("repeated")) == (2, 18)
        assert await kinds(owner, client_id) == [("topup", 10_000)] * 2


@pytest.mark.parametrize("stored_ref", SHARED)
class TestTheBillSOwnReference:
    async def test_it_and_another_go_to_review(
        self, confirmer: Confirmer, owner: Connection, client_id: UUID, stored_ref: str
    ) -> None:
        order = await open_payment(owner, client_id, stored_ref)
        await confirmer.confirm(event(order, provider_ref="first"))
        second = await confirmer.confirm(event(order, provider_ref="second"))
        assert (second.outcome, second.review) == ("review", "paid_twice")
        returned = await confirmer.confirm(
            event(order, provider_ref="second", status="refunded", refunded_minor=10_000)
        )
        assert (returned.outcome, returned.review) == ("review", "second_payment_returned")
        assert await kinds(owner, client_id) == [("topup", 10_000)]


class TestDoubt:
    @pytest.mark.parametrize("doubt", ["test_payment", "contradictory"])
    @pytest.mark.parametrize("credited", [True, False])
    async def test_it_is_never_credited(
        self,
        confirmer: Confirmer,
        owner: Connection,
        client_id: UUID,
        doubt: Any,
        credited: bool,  # noqa: FBT001
    ) -> None:
        order = await payment(owner, client_id)
        if credited:
            await confirmer.confirm(event(order, provider_ref="first"))
        doubted = replace(event(order, provider_ref="second"), doubt=doubt)
        done = await confirmer.confirm(doubted)
        assert (done.outcome, done.review) == ("review", doubt)
        assert (await row(owner, order))["review"] == doubt
        assert (await confirmer.confirm(replace(doubted, event_id="again"))).outcome == "repeated"
        assert await balance(owner, client_id) == (10_000 if credited else 0)


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
