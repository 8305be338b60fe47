"""What an operator sees of a payment in review, and exactly what a decision credits."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict
from evpower.payments import (
    RecordedEvent,
    Review,
    ReviewResult,
    events_of_no_payment,
    in_review,
    resolve,
)
from evpower.payments.confirm import Confirmer
from tests.payments.conftest import payment
from tests.payments.test_confirm import balance, event, kinds, row


class Desk:
    """An operator's decisions about a payment, and the provider's events of it."""

    def __init__(self, db: Database, owner: Connection, client_id: UUID) -> None:
        self.db = db
        self.owner = owner
        self.client_id = client_id
        self.confirmer = Confirmer(db, LocalBus())
        self.order = ""

    async def begin(self, **columns: Any) -> None:
        self.order = await payment(self.owner, self.client_id, **columns)

    async def report(self, event_id: str = "", **fields: Any) -> str | None:
        """Confirm an event of the payment; returns its review's reason."""
        return (await self.confirmer.confirm(event(self.order, event_id, **fields))).review

    async def review(self) -> Review:
        async with self.db.connection() as connection:
            [review] = await in_review(connection)
        return review

    async def decide(self, decision: Any = "accept", **which: Any) -> ReviewResult:
        async with self.db.transaction() as connection:
            return await resolve(
                connection,
                invoice_id=self.order.replace("order-", "inv-"),
                decision=decision,
                operator="Aida",
                reason="called the bank",
                now=utc_now(),
                **which,
            )

    async def refused(self, **which: Any) -> str:
        with pytest.raises(Conflict) as refused:
            await self.decide(**which)
        return refused.value.code

    async def balance(self) -> int:
        return await balance(self.owner, self.client_id)


@pytest.fixture
async def desk(db: Database, owner: Connection, client_id: UUID) -> Desk:
    desk = Desk(db, owner, client_id)
    await desk.begin()
    return desk


def amounts(result: ReviewResult) -> list[tuple[str | None, int]]:
    return [(credit.reference, credit.amount_minor) for credit in result.credits]


class TestEveryEventIsStored:
    async def test_with_its_fields(self, desk: Desk) -> None:
        at = utc_now()
        await desk.report("evt-1", provider_ref="r1", paid_minor=6_000, occurred_at=at)
        await desk.report("evt-2", provider_ref="r2", currency="KZT", refunded_minor=None)
        stored = [
            (e.event_id, e.order_id, e.provider_ref, e.status, e.paid_minor, e.currency)
            for e in (await desk.review()).events
        ]
        assert stored == [
            ("evt-1", desk.order, "r1", "approved", 6_000, "KGS"),
            ("evt-2", desk.order, "r2", "approved", 10_000, "KZT"),
        ]
        first, second = (await desk.review()).events
        assert (first.occurred_at, first.refunded_minor) == (at, 0)
        assert (second.occurred_at, second.refunded_minor) == (None, None)
        assert (first.review, second.review) == ("amount_mismatch", "currency_mismatch")

    async def test_an_event_with_a_reused_id_is_stored_beside_the_first(self, desk: Desk) -> None:
        await desk.report("evt", status="processing", paid_minor=0)
        assert await desk.report("evt", paid_minor=10_000) == "event_reused"
        assert await desk.report("evt", paid_minor=20_000) == "event_reused"
        assert await desk.report("evt", paid_minor=20_000) is None
        stored = [(e.paid_minor, e.outcome) for e in (await desk.review()).events]
        assert sorted(stored) == [
            (0, "ignored"),
            (10_000, "event_reused"),
            (20_000, "event_reused"),
        ]

    @pytest.mark.parametrize(
        "change",
        [
            "update payments.events set paid_minor = 1",
            "update payments.events set provider_ref = null",
            "update payments.events set outcome = 'ignored', review = null",
            "update payments.events set payment_id = null",
            "delete from payments.events",
            "truncate payments.events",
        ],
    )
    async def test_and_never_changes(self, desk: Desk, change: str) -> None:
        await desk.report(paid_minor=6_000)
        with pytest.raises(asyncpg.RestrictViolationError):
            await desk.owner.execute(change)

    async def test_a_decision_is_not_revoked(self, desk: Desk) -> None:
        await desk.report(paid_minor=6_000)
        await desk.decide("dismiss")
        with pytest.raises(asyncpg.RestrictViolationError):
            await desk.owner.execute("update payments.events set resolved_at = null")

    async def test_the_processes_cannot_write_one(self, desk: Desk, db: Database) -> None:
        await desk.report(paid_minor=6_000)
        async with db.connection() as connection:
            for forbidden in (
                "insert into payments.events select * from payments.events",
                "update payments.events set payment_id = payment_id",
                "delete from payments.events",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(forbidden)

    async def test_events_of_no_payment_are_listed_if_they_report_money(
        self, desk: Desk, db: Database
    ) -> None:
        for order_id, fields in (
            ("unknown-1", {"paid_minor": 5_000}),
            ("unknown-2", {"status": "canceled", "paid_minor": 0}),
            ("unknown-3", {"status": "processing", "paid_minor": 0}),
            ("unknown-4", {"status": "refunded", "paid_minor": None, "refunded_minor": None}),
            ("unknown-5", {"status": "canceled", "paid_minor": 5_000}),
        ):
            await desk.confirmer.confirm(event(order_id, **fields))
        async with db.connection() as connection:
            events: list[RecordedEvent] = await events_of_no_payment(connection)
        assert {e.order_id for e in events} == {"unknown-1", "unknown-4", "unknown-5"}


class TestPaidInParts:
    async def test_the_review_says_so(self, desk: Desk) -> None:
        assert await desk.report(provider_ref="r1", paid_minor=6_000) == "amount_mismatch"
        assert await desk.report(provider_ref="r2", paid_minor=4_000) == "several_amounts"
        assert (await desk.review()).payment.review == "several_amounts"

    async def test_another_amount_of_one_reference_says_so_too(self, desk: Desk) -> None:
        await desk.report(provider_ref="r1", paid_minor=6_000)
        assert await desk.report(provider_ref="r1", paid_minor=7_000) == "several_amounts"

    async def test_the_same_event_again_changes_nothing(self, desk: Desk) -> None:
        await desk.report(provider_ref="r1", paid_minor=6_000)
        assert await desk.report(provider_ref="r1", paid_minor=6_000) is None
        assert (await desk.review()).payment.review == "amount_mismatch"

    async def test_in_full_by_another_reference_leaves_the_part_in_review(self, desk: Desk) -> None:
        await desk.report(provider_ref="r1", paid_minor=6_000)
        assert await desk.report(provider_ref="r2") is None
        assert await desk.balance() == 10_000
        assert (await desk.review()).payment.review == "several_amounts"
        assert amounts(await desk.decide()) == [("r1", 6_000)]
        assert await desk.balance() == 16_000

    async def test_accepting_credits_both_and_names_each(
        self, desk: Desk, owner: Connection, client_id: UUID
    ) -> None:
        await desk.report(provider_ref="r1", paid_minor=6_000)
        await desk.report(provider_ref="r2", paid_minor=4_000)
        result = await desk.decide()
        assert amounts(result) == [("r1", 6_000), ("r2", 4_000)]
        assert result.is_closed
        assert await kinds(owner, client_id) == [("topup", 6_000), ("topup", 4_000)]
        details = await owner.fetchval(
            "select details from identity.audit where action = 'payments.review_accept'"
        )
        assert '"reference": "r1"' in details
        assert '"amount_minor": 6000' in details
        assert '"amount_minor": 4000' in details
        by = await owner.fetch(
            "select p.amount_minor from payments.events e"
            " join payments.payments p on p.id = e.credited_by order by 1"
        )
        assert [r["amount_minor"] for r in by] == [4_000, 6_000]

    async def test_one_may_be_accepted_and_the_other_dismissed(self, desk: Desk) -> None:
        await desk.report(provider_ref="r1", paid_minor=6_000)
        await desk.report(provider_ref="r2", paid_minor=4_000)
        first = await desk.decide(reference="r2")
        assert (amounts(first), first.is_closed) == ([("r2", 4_000)], False)
        made = (await row(desk.owner, desk.order))["resolved_by"]
        assert made is not None
        second = await desk.decide("dismiss", reference="r1")
        assert (amounts(second), second.is_closed) == ([], True)
        assert (await row(desk.owner, desk.order))["resolved_by"] == made
        assert await desk.balance() == 4_000

    async def test_what_was_dismissed_is_not_accepted_with_what_comes_later(
        self, desk: Desk
    ) -> None:
        await desk.report(provider_ref="r1", paid_minor=6_000)
        await desk.decide("dismiss")
        assert await desk.report(provider_ref="r2", paid_minor=4_000) == "paid_after_resolution"
        assert amounts(await desk.decide()) == [("r2", 4_000)]
        assert await desk.balance() == 4_000

    async def test_two_amounts_of_one_reference_must_be_chosen_from(self, desk: Desk) -> None:
        await desk.report(provider_ref="r1", paid_minor=6_000)
        await desk.report(provider_ref="r1", paid_minor=7_000)
        assert await desk.refused() == "several_amounts"
        assert await desk.refused(amount_minor=13_000) == "several_amounts"
        assert await desk.balance() == 0
        assert amounts(await desk.decide(amount_minor=7_000)) == [("r1", 7_000)]

    async def test_an_amount_is_of_one_reference(self, desk: Desk) -> None:
        await desk.report(provider_ref="r1", paid_minor=6_000)
        await desk.report(provider_ref="r2", paid_minor=6_000)
        assert await desk.refused(amount_minor=6_000) == "several_amounts"
        assert await desk.refused(reference="r3") == "nothing_to_credit"
        only = await desk.decide(reference="r2", amount_minor=6_000)
        assert amounts(only) == [("r2", 6_000)]

    async def test_what_was_returned_is_not_credited(self, desk: Desk) -> None:
        await desk.report(provider_ref="r1", paid_minor=6_000)
        await desk.report(
            provider_ref="r1", paid_minor=6_000, status="partial_refund", refunded_minor=1_000
        )
        await desk.report(provider_ref="r2", paid_minor=4_000)
        await desk.report(
            provider_ref="r2", paid_minor=4_000, status="refunded", refunded_minor=None
        )
        assert amounts(await desk.decide()) == [("r1", 5_000)]

    async def test_a_further_return_of_it_is_no_repetition(self, desk: Desk) -> None:
        for back in (1_000, 4_000):
            await desk.report(
                provider_ref="r1", paid_minor=6_000, status="partial_refund", refunded_minor=back
            )
        assert amounts(await desk.decide()) == [("r1", 2_000)]

    async def test_a_rise_after_acceptance_credits_the_difference(self, desk: Desk) -> None:
        for paid, credited in ((6_000, 6_000), (8_000, 2_000), (9_000, 1_000)):
            await desk.report(provider_ref="r1", paid_minor=paid)
            assert amounts(await desk.decide()) == [("r1", credited)]
        assert await desk.balance() == 9_000

    async def test_another_currency_is_never_credited(self, desk: Desk) -> None:
        await desk.report(provider_ref="r1", currency="KZT")
        assert await desk.refused() == "nothing_to_credit"
        await desk.report(provider_ref="r2", paid_minor=4_000)
        assert amounts(await desk.decide()) == [("r2", 4_000)]


class TestPaidTwice:
    async def test_too_little_is_credited_by_accepting_it(
        self, desk: Desk, owner: Connection, client_id: UUID
    ) -> None:
        await desk.report(provider_ref="r1")
        await desk.report(provider_ref="r2", paid_minor=9_000)
        assert amounts(await desk.decide()) == [("r2", 9_000)]
        assert await kinds(owner, client_id) == [("topup", 10_000), ("topup", 9_000)]
        stored = await row(owner, desk.order)
        assert (stored["status"], stored["credited_ref"]) == ("approved", "r1")

    async def test_dismissing_leaves_the_first(self, desk: Desk) -> None:
        await desk.report(provider_ref="r1")
        await desk.report(provider_ref="r2", paid_minor=9_000)
        assert amounts(await desk.decide("dismiss")) == []
        assert await desk.report(provider_ref="r2", paid_minor=9_000) is None
        assert await desk.report(provider_ref="r2") == "paid_twice"
        assert await desk.balance() == 10_000

    async def test_what_was_decided_about_the_second_is_no_open_review_of_the_first(
        self, desk: Desk
    ) -> None:
        await desk.report(provider_ref="r1")
        await desk.report(provider_ref="r2", paid_minor=9_000)
        await desk.decide("dismiss")
        assert await desk.report(provider_ref="r1", paid_minor=9_000) == "amount_mismatch"

    async def test_dismissing_the_flag_of_the_second_leaves_both(
        self, desk: Desk, db: Database
    ) -> None:
        await desk.report(provider_ref="r1")
        await desk.report(provider_ref="r2")
        async with db.transaction() as connection:
            [review] = await in_review(connection)
            assert review.payment.invoice_id.endswith("/2")
            [event] = review.events
            assert (event.outcome, event.review) == ("confirmed", "paid_twice")
            done = await resolve(
                connection,
                invoice_id=review.payment.invoice_id,
                decision="dismiss",
                operator="op",
                reason="the driver keeps it",
                now=utc_now(),
            )
        assert (done.credits, done.is_closed) == ((), True)
        assert await desk.balance() == 20_000


class TestOverpaid:
    async def test_accepting_credits_the_rest(
        self, desk: Desk, owner: Connection, client_id: UUID
    ) -> None:
        await desk.report(provider_ref="r1", paid_minor=12_345)
        assert amounts(await desk.decide()) == [("r1", 2_345)]
        assert await kinds(owner, client_id) == [("topup", 10_000), ("topup", 2_345)]
        assert await desk.refused() == "not_in_review"

    async def test_what_the_bank_returns_of_it_is_decided_by_an_operator(self, desk: Desk) -> None:
        await desk.report(provider_ref="r1", paid_minor=12_345)
        back = await desk.report(
            provider_ref="r1", paid_minor=12_345, status="partial_refund", refunded_minor=2_345
        )
        assert back == "overpaid_returned"
        assert await desk.balance() == 10_000


class TestWithoutReference:
    async def test_without_a_reference_it_may_be_the_first_again(self, desk: Desk) -> None:
        await desk.report(provider_ref="r1")
        await desk.report(provider_ref=None)
        assert await desk.refused() == "nothing_to_credit"
        assert await desk.balance() == 10_000


class TestInFull:
    async def test_contradiction_that_was_paid_in_full_is_credited_by_its_reference(
        self, desk: Desk, owner: Connection
    ) -> None:
        assert await desk.report(provider_ref="r1", status="canceled") == "contradictory"
        assert amounts(await desk.decide()) == [("r1", 10_000)]
        stored = await row(owner, desk.order)
        assert (stored["status"], stored["credited_ref"]) == ("approved", "r1")
        back = await desk.report(provider_ref="r1", status="refunded", refunded_minor=10_000)
        assert (back, await desk.balance()) == (None, 0)

    async def test_more_that_was_partly_returned_is_not_in_full(
        self, desk: Desk, owner: Connection
    ) -> None:
        await desk.report(
            provider_ref="r1", status="partial_refund", paid_minor=12_000, refunded_minor=2_000
        )
        assert amounts(await desk.decide()) == [("r1", 10_000)]
        assert (await row(owner, desk.order))["status"] == "canceled"

    async def test_after_a_decision_a_manual_payment_stands_in(
        self, desk: Desk, owner: Connection
    ) -> None:
        await desk.report(provider_ref="r1", paid_minor=6_000)
        await desk.decide("dismiss")
        await desk.report(provider_ref="r2")
        assert amounts(await desk.decide()) == [("r2", 10_000)]
        stored = await row(owner, desk.order)
        assert (stored["status"], stored["resolved_by"] is not None) == ("canceled", True)

    async def test_another_payment_s_reference_credits_beside_it(self, desk: Desk) -> None:
        await desk.report(provider_ref="r1")
        await desk.begin()
        assert await desk.report(provider_ref="r1") == "reference_of_another"
        assert amounts(await desk.decide()) == [("r1", 10_000)]
        assert await desk.balance() == 20_000

    @pytest.mark.parametrize("known_as", [None, "r1"])
    async def test_a_contradiction_with_another_payment_s_reference_credits_beside_it(
        self, desk: Desk, owner: Connection, known_as: str | None
    ) -> None:
        await desk.begin(provider_ref=known_as)
        await desk.report(provider_ref="r1")
        await desk.begin()
        assert await desk.report(provider_ref="r1", status="canceled") == "contradictory"
        assert amounts(await desk.decide()) == [("r1", 10_000)]
        assert (await row(owner, desk.order))["credited_ref"] is None
        assert await desk.balance() == 20_000

    async def test_of_two_that_were_paid_in_full_the_payment_itself_is_the_first(
        self, desk: Desk, owner: Connection, client_id: UUID
    ) -> None:
        await desk.report(provider_ref="r1", status="canceled")
        await desk.report(provider_ref="r2", status="canceled")
        assert amounts(await desk.decide()) == [("r1", 10_000), ("r2", 10_000)]
        stored = await row(owner, desk.order)
        assert (stored["status"], stored["credited_ref"]) == ("approved", "r1")
        assert await kinds(owner, client_id) == [("topup", 10_000), ("topup", 10_000)]

    async def test_without_a_reference_a_manual_payment_stands_in(
        self, desk: Desk, owner: Connection
    ) -> None:
        assert await desk.report(provider_ref=None) == "reference_missing"
        assert amounts(await desk.decide()) == [(None, 10_000)]
        assert (await row(owner, desk.order))["status"] == "canceled"
        assert await desk.report(provider_ref=None) == "paid_after_resolution"
        assert await desk.refused() == "nothing_to_credit"
