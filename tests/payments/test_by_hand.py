"""Operator actions: cash at a desk, refunds, reviews. Each takes effect once and is audited."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, EvPowerError, Invalid, NotFound
from evpower.payments import (
    ManualPosting,
    ReviewResult,
    cash,
    in_review,
    refund_charge,
    refund_payment,
    resolve,
)
from evpower.payments.confirm import Confirmer
from tests.payments.conftest import payment
from tests.payments.test_confirm import balance, event, kinds, row


async def take_cash(
    db: Database, client_id: UUID, amount_minor: int = 5_000, **more: Any
) -> ManualPosting:
    async with db.transaction() as connection:
        return await cash(
            connection,
            client_id=client_id,
            amount_minor=amount_minor,
            operator=more.get("operator", "Aida"),
            reason=more.get("reason", "cash at the office"),
            receipt=more.get("receipt", "R-1"),
            now=utc_now(),
        )


async def code_of(db: Database, client_id: UUID, **more: Any) -> str:
    with pytest.raises(EvPowerError) as refused:
        await take_cash(db, client_id, **more)
    return refused.value.code


class TestCash:
    async def test_it_is_credited_at_once_and_audited(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        posted = await take_cash(db, client_id)
        assert (posted.new, posted.balance_minor) == (True, 5_000)
        assert await kinds(owner, client_id) == [("topup", 5_000)]
        stored = await owner.fetchrow("select * from payments.payments")
        assert stored is not None
        assert (stored["provider"], stored["method"], stored["status"]) == (
            "manual",
            "cash",
            "approved",
        )
        audit = await owner.fetchrow("select * from identity.audit")
        assert audit is not None
        assert (audit["actor"], audit["action"], audit["subject"]) == (
            "Aida",
            "payments.cash",
            f"client:{client_id}",
        )

    async def test_same_receipt_again_changes_nothing(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        first = await take_cash(db, client_id)
        again = await take_cash(db, client_id)
        assert (again.new, again.payment_id) == (False, first.payment_id)
        assert await balance(owner, client_id) == 5_000
        assert await owner.fetchval("select count(*) from identity.audit") == 1

    async def test_same_receipt_for_another_amount_is_refused(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        await take_cash(db, client_id)
        assert await code_of(db, client_id, amount_minor=6_000) == "receipt_reused"
        assert await balance(owner, client_id) == 5_000

    @pytest.mark.parametrize(
        ("wrong", "code"),
        [
            ({"amount_minor": 0}, "invalid_amount"),
            ({"amount_minor": -1}, "invalid_amount"),
            ({"reason": "  "}, "reason_missing"),
            ({"operator": ""}, "operator_missing"),
            ({"receipt": ""}, "receipt_missing"),
        ],
    )
    async def test_nonsense_is_refused(
        self, db: Database, owner: Connection, client_id: UUID, wrong: dict[str, Any], code: str
    ) -> None:
        assert await code_of(db, client_id, **wrong) == code
        assert await owner.fetchval("select count(*) from payments.payments") == 0

    async def test_unknown_and_closed_clients_are_refused(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        assert await code_of(db, uuid4()) == "client_not_found"
        await owner.execute("update identity.clients set status = 'closed'")
        assert await code_of(db, client_id) == "client_closed"


async def charged(owner: Connection, client_id: UUID, cost_minor: int) -> int:
    """Insert a finished session and charge it; returns its settlement."""
    session = uuid4()
    await owner.execute(
        "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
        " started_at, ended_at, cost_minor) values ($1, $2, 'EVP-1', 1, 'finished', 'import',"
        " now() - interval '1 hour', now(), $3)",
        session,
        client_id,
        cost_minor,
    )
    settlement: int = await owner.fetchval("select cause_id from wallet.charge($1)", session)
    return settlement


class TestRefunds:
    async def refund(
        self, db: Database, settlement_id: int, amount_minor: int, reference: str = "T-1"
    ) -> ManualPosting:
        async with db.transaction() as connection:
            return await refund_charge(
                connection,
                settlement_id=settlement_id,
                amount_minor=amount_minor,
                operator="Aida",
                reason="the station failed",
                reference=reference,
            )

    async def test_charge_is_given_back_once_a_reference(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        await take_cash(db, client_id)
        settlement = await charged(owner, client_id, 3_000)
        assert (await self.refund(db, settlement, 1_000)).balance_minor == 3_000
        again = await self.refund(db, settlement, 1_000)
        assert (again.new, again.balance_minor) == (False, 3_000)
        assert (await kinds(owner, client_id))[-1] == ("refund", 1_000)
        acts = await owner.fetchval("select array_agg(action order by id) from identity.audit")
        assert acts == ["payments.cash", "payments.refund_charge"]
        with pytest.raises(Conflict) as refused:
            await self.refund(db, settlement, 2_000)
        assert refused.value.code == "refund_conflict"

    async def test_no_more_than_was_charged(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        await take_cash(db, client_id)
        settlement = await charged(owner, client_id, 3_000)
        with pytest.raises(Conflict) as refused:
            await self.refund(db, settlement, 3_001)
        assert refused.value.code == "refund_exceeds"
        assert await owner.fetchval("select count(*) from wallet.refunds") == 0
        assert await balance(owner, client_id) == 2_000

    async def test_unknown_settlement_and_nothing(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        with pytest.raises(NotFound):
            await self.refund(db, 999_999, 1)
        await take_cash(db, client_id)
        settlement = await charged(owner, client_id, 3_000)
        with pytest.raises(Invalid):
            await self.refund(db, settlement, 0)

    async def test_payment_refunded_by_hand_and_then_reported_by_the_bank(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        confirmer = Confirmer(db, LocalBus())
        order = await payment(owner, client_id)
        await confirmer.confirm(event(order))
        async with db.transaction() as connection:
            posted = await refund_payment(
                connection,
                invoice_id=(await row(owner, order))["invoice_id"],
                amount_minor=4_000,
                operator="Aida",
                reason="the driver asked",
                reference="bank-77",
            )
        assert posted.balance_minor == 6_000
        reported = await confirmer.confirm(
            event(order, status="partial_refund", refunded_minor=4_000)
        )
        assert (reported.outcome, reported.balance_minor) == ("repeated", 6_000)


class TestReview:
    async def payment_in_review(
        self, db: Database, owner: Connection, client_id: UUID, paid: int
    ) -> str:
        order = await payment(owner, client_id)
        await Confirmer(db, LocalBus()).confirm(event(order, paid_minor=paid))
        return (await row(owner, order))["invoice_id"]

    async def decide(
        self, db: Database, invoice_id: str, decision: Any, **which: Any
    ) -> ReviewResult:
        async with db.transaction() as connection:
            return await resolve(
                connection,
                invoice_id=invoice_id,
                decision=decision,
                operator="Aida",
                reason="called the bank",
                now=utc_now(),
                **which,
            )

    async def test_accepting_credits_what_was_paid_by_a_manual_payment(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        invoice_id = await self.payment_in_review(db, owner, client_id, 9_000)
        async with db.connection() as connection:
            reviews = await in_review(connection)
        assert [review.payment.invoice_id for review in reviews] == [invoice_id]
        [credit] = (await self.decide(db, invoice_id, "accept")).credits
        posted = credit.posting
        assert posted.balance_minor == 9_000
        stored = await owner.fetchrow(
            "select * from payments.payments where invoice_id = $1", invoice_id
        )
        assert stored is not None
        assert (stored["status"], stored["review"]) == ("canceled", None)
        assert stored["resolved_by"] == posted.payment_id
        async with db.connection() as connection:
            assert await in_review(connection) == []

    async def test_a_changed_report_after_the_decision_goes_to_review(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        invoice_id = await self.payment_in_review(db, owner, client_id, 9_000)
        await self.decide(db, invoice_id, "accept")
        order = invoice_id.replace("inv-", "order-")
        late = await Confirmer(db, LocalBus()).confirm(event(order))
        assert (late.outcome, late.review) == ("review", "paid_after_resolution")
        assert await balance(owner, client_id) == 9_000
        [rest] = (await self.decide(db, invoice_id, "accept")).credits
        assert (rest.amount_minor, rest.posting.balance_minor) == (1_000, 10_000)

    async def test_a_repeated_report_after_the_decision_changes_nothing(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        invoice_id = await self.payment_in_review(db, owner, client_id, 9_000)
        await self.decide(db, invoice_id, "accept")
        order = invoice_id.replace("inv-", "order-")
        late = await Confirmer(db, LocalBus()).confirm(event(order, paid_minor=9_000))
        assert (late.outcome, late.review) == ("repeated", None)
        with pytest.raises(Conflict) as refused:
            await self.decide(db, invoice_id, "accept")
        assert refused.value.code == "not_in_review"

    async def test_a_corrected_amount_before_the_decision_is_credited(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        invoice_id = await self.payment_in_review(db, owner, client_id, 9_000)
        order = invoice_id.replace("inv-", "order-")
        late = await Confirmer(db, LocalBus()).confirm(event(order))
        assert (late.outcome, late.balance_minor) == ("confirmed", 10_000)
        with pytest.raises(Conflict):
            await self.decide(db, invoice_id, "accept")

    async def test_dismissing_credits_nothing_and_is_audited(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        invoice_id = await self.payment_in_review(db, owner, client_id, 9_000)
        assert not (await self.decide(db, invoice_id, "dismiss")).credits
        assert await balance(owner, client_id) == 0
        audit = await owner.fetchrow("select action, subject from identity.audit")
        assert audit is not None
        assert tuple(audit) == ("payments.review_dismiss", f"payment:{invoice_id}")

    async def test_only_payments_in_review(
        self, db: Database, owner: Connection, client_id: UUID
    ) -> None:
        order = await payment(owner, client_id)
        with pytest.raises(Conflict) as refused:
            await self.decide(db, (await row(owner, order))["invoice_id"], "accept")
        assert refused.value.code == "not_in_review"
        with pytest.raises(NotFound):
            await self.decide(db, "nothing", "accept")
