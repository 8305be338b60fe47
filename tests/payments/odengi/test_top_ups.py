"""From the QR to the balance through O!Dengi: the API, the simulated bank, its faults."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from evpower.devstack.bank.odengi import create_odengi_bank
from evpower.foundation.db import Connection, Database
from evpower.payments import Providers, RefundDesk, refund_at_bank
from evpower.payments.providers.odengi import OdengiProvider
from evpower.payments.providers.odengi.client import Merchant
from evpower.payments.recheck import recheck_due
from tests.payments.conftest import Scenario
from tests.payments.odengi.conftest import PASSWORD, SID
from tests.waiting import until


class OdengiScenario(Scenario):
    """A client, the API, and O!Dengi's simulator."""

    def __init__(self, db: Database, client_id: UUID, state_dir: Path) -> None:
        super().__init__(db, client_id, state_dir)
        merchant = Merchant(f"{self.bank.url}/api/json/json.php", SID, PASSWORD.encode())
        self.adapter = OdengiProvider(
            merchant, self.http, notice_url=f"{self.api.url}/api/v1/payment/webhook/odengi"
        )
        self.providers = Providers([self.adapter], "odengi")

    async def start_bank(self) -> None:
        await self.bank.start(create_odengi_bank(SID, PASSWORD, self._state_dir))

    async def control(self, **how: Any) -> None:
        answer = await self.http.post(f"{self.bank.url}/control", json=how)
        assert answer.status_code == 200, answer.text

    async def fault(self, command: str, mode: str, **how: Any) -> None:
        await self.control(faults={command: {"mode": mode, **how}})

    async def act(self, begun: dict[str, Any], action: str, **how: Any) -> dict[str, Any]:
        bill = await self.bill_of(begun["invoice_id"])
        answer = await self.http.post(f"{self.bank.url}/pay/{bill}/{action}", json=how)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def bill_of(self, invoice_id: str) -> str:
        async with self.db.connection() as connection:
            return await connection.fetchval(
                "select provider_ref from payments.payments where invoice_id = $1", invoice_id
            )

    async def recheck(self, **forward: float) -> None:
        """Let time pass, and ask about what is due."""
        self.clock.forward(**forward)
        await recheck_due(self.db, self.providers, self.confirmer, self.clock)

    async def notices(self) -> list[dict[str, Any]]:
        return (await self.http.get(f"{self.bank.url}/notices")).json()

    async def until_answered(self, count: int) -> list[int | None]:
        async def answered() -> bool:
            return len(await self.notices()) >= count

        await until(answered)
        return [notice["status"] for notice in await self.notices()]

    async def until_balance(self, minor: int) -> None:
        async def reached() -> bool:
            return await self.balance() == minor

        await until(reached, f"the balance is not {minor}")


@pytest.fixture
async def scenario(db: Database, client_id: UUID, tmp_path: Path) -> AsyncIterator[OdengiScenario]:
    scenario = OdengiScenario(db, client_id, tmp_path / "bank")
    await scenario.start()
    yield scenario
    await scenario.stop()


async def reviews(owner: Connection) -> list[str | None]:
    rows = await owner.fetch("select review from payments.payments order by id")
    return [row["review"] for row in rows]


class TestPaid:
    async def test_a_notice_credits_once_however_often_it_comes(
        self, scenario: OdengiScenario
    ) -> None:
        begun = await scenario.top_up(125.5)
        assert begun["qr_code_url"].startswith("http")
        await scenario.control(notice_repeat=5)
        await scenario.act(begun, "approve")
        await scenario.until_balance(12_550)
        assert await scenario.until_answered(5) == [200] * 5
        assert await scenario.balance() == 12_550

    async def test_without_a_notice_the_recheck_finds_it(self, scenario: OdengiScenario) -> None:
        await scenario.control(notices="none")
        begun = await scenario.top_up(100)
        await scenario.act(begun, "approve")
        assert await scenario.balance() == 0
        await scenario.recheck(seconds=20)
        assert await scenario.balance() == 10_000

    @pytest.mark.parametrize("mode", ["error", "lost"])
    async def test_both_networks_dead_between_payment_and_notice(
        self, scenario: OdengiScenario, mode: str
    ) -> None:
        begun = await scenario.top_up(100)
        await scenario.control(notices="none", faults={"*": {"mode": mode, "times": 3}})
        await scenario.act(begun, "approve")
        for _ in range(3):
            await scenario.recheck(minutes=5)
            assert await scenario.balance() == 0
        await scenario.recheck(hours=1)
        assert await scenario.balance() == 10_000

    async def test_a_commission_is_not_credited(
        self, scenario: OdengiScenario, owner: Connection
    ) -> None:
        await scenario.control(commission=250)
        await scenario.act(await scenario.top_up(100), "approve")
        await scenario.until_balance(10_000)
        assert await reviews(owner) == [None]

    async def test_an_approval_after_the_cancellation_is_credited(
        self, scenario: OdengiScenario
    ) -> None:
        begun = await scenario.top_up(100)
        scanned = await scenario.act(begun, "scan")
        bill = await scenario.bill_of(begun["invoice_id"])
        await scenario.adapter.cancel(order_id=begun["order_id"], provider_ref=bill)
        await scenario.act(begun, "approve", trans_id=scanned["trans_id"])
        await scenario.recheck(hours=1)
        await scenario.until_balance(10_000)

    async def test_a_payer_who_gave_up_and_pays_after_all_is_credited(
        self, scenario: OdengiScenario
    ) -> None:
        begun = await scenario.top_up(100)
        await scenario.act(begun, "cancel")
        await scenario.until_answered(1)
        assert (await scenario.status(begun["invoice_id"]))["status"] == 2
        scenario.clock.forward(seconds=6)
        await scenario.act(begun, "approve")
        await scenario.until_balance(10_000)
        assert (await scenario.status(begun["invoice_id"]))["status"] == 1

    @pytest.mark.parametrize("known", ["before", "with it"])
    async def test_a_return_in_the_cabinet_as_an_attempt_of_its_own_is_reviewed(
        self, scenario: OdengiScenario, owner: Connection, known: str
    ) -> None:
        if known == "with it":
            await scenario.control(notices="none")
        begun = await scenario.top_up(100)
        paid = await scenario.act(begun, "approve")
        if known == "before":
            await scenario.until_balance(10_000)
        await scenario.control(void="new_attempt", notices="none", clock_ahead_s=2)
        await scenario.act(begun, "refund", trans_id=paid["trans_id"])
        await scenario.recheck(hours=1)
        # An operator sees in the cabinet whether the payer has it back, or another attempt ended.
        assert await reviews(owner) == ["contradictory"]
        assert await scenario.balance() == 10_000

    async def test_an_attempt_that_ended_before_the_credit_is_no_return(
        self, scenario: OdengiScenario, owner: Connection
    ) -> None:
        begun = await scenario.top_up(100)
        await scenario.control(notices="none")
        await scenario.act(begun, "cancel")
        await scenario.control(clock_ahead_s=2)
        await scenario.act(begun, "approve")
        await scenario.recheck(hours=1)
        await scenario.recheck(hours=1)
        assert await reviews(owner) == [None]
        assert await scenario.balance() == 10_000

    @pytest.mark.parametrize("answer", ["heard", "lost"])
    async def test_a_return_by_command_is_known_in_any_form(
        self, scenario: OdengiScenario, owner: Connection, answer: str
    ) -> None:
        begun = await scenario.top_up(100)
        await scenario.act(begun, "approve")
        await scenario.until_balance(10_000)
        await scenario.control(void="new_attempt", notices="none", clock_ahead_s=2)
        if answer == "lost":
            await scenario.fault("voidPayment", "lost")
        done = await refund_at_bank(
            RefundDesk(
                scenario.db, scenario.bus, scenario.providers, scenario.confirmer, scenario.clock
            ),
            invoice_id=begun["invoice_id"],
            amount_minor=10_000,
            operator="Aida",
            reason="asked",
            key="request-1",
        )
        assert done.state == ("returned" if answer == "heard" else "unknown")
        await scenario.recheck(hours=1)
        assert await reviews(owner) == [None if answer == "heard" else "refund_unknown"]
        assert await scenario.balance() == (0 if answer == "heard" else 10_000)

    async def test_two_attempts_are_two_credits(
        self, scenario: OdengiScenario, owner: Connection
    ) -> None:
        begun = await scenario.top_up(100)
        await scenario.control(notices="none")
        await scenario.act(begun, "approve")
        await scenario.act(begun, "approve")
        await scenario.recheck(seconds=20)
        assert await scenario.balance() == 20_000
        assert await reviews(owner) == [None, "paid_twice"]
        await scenario.recheck(hours=2)
        assert await scenario.balance() == 20_000

    @pytest.mark.parametrize("ahead_s", [-600, 600])
    async def test_a_clock_10_minutes_off(self, scenario: OdengiScenario, ahead_s: float) -> None:
        await scenario.control(clock_ahead_s=ahead_s)
        begun = await scenario.top_up(100)
        page = await scenario.http.get(
            f"{scenario.bank.url}/pay/{await scenario.bill_of(begun['invoice_id'])}"
        )
        assert "<button" in page.text  # it can still be paid
        await scenario.act(begun, "approve")
        await scenario.until_balance(10_000)

    async def test_an_answer_of_single_bytes(self, scenario: OdengiScenario) -> None:
        begun = await scenario.top_up(100)
        await scenario.fault("statusPayment", "slow_bytes", slow_s=0.001)
        await scenario.act(begun, "approve")
        await scenario.until_balance(10_000)


class TestDoubtful:
    async def test_a_word_against_a_number_is_reviewed(
        self, scenario: OdengiScenario, owner: Connection
    ) -> None:
        await scenario.control(status="contradictory")
        await scenario.act(await scenario.top_up(100), "approve")
        await scenario.until_answered(1)
        assert await reviews(owner) == ["contradictory"]
        assert await scenario.balance() == 0

    async def test_test_money_is_reviewed(
        self, scenario: OdengiScenario, owner: Connection
    ) -> None:
        begun = await scenario.top_up(100)
        await scenario.act(begun, "approve", test=1)
        assert await scenario.until_answered(1) == [422]
        await scenario.recheck(seconds=20)
        assert await reviews(owner) == ["test_payment"]
        assert await scenario.balance() == 0

    async def test_less_is_reviewed_and_more_is_the_bill_and_a_review(
        self, scenario: OdengiScenario, owner: Connection
    ) -> None:
        await scenario.act(await scenario.top_up(100), "approve", amount=9_999)
        await scenario.until_answered(1)
        assert await scenario.balance() == 0
        await scenario.act(await scenario.top_up(200), "approve", amount=20_001)
        await scenario.until_balance(20_000)
        assert await reviews(owner) == ["amount_mismatch", "overpaid"]

    async def test_money_that_went_back_is_reviewed(
        self, scenario: OdengiScenario, owner: Connection
    ) -> None:
        begun = await scenario.top_up(100)
        paid = await scenario.act(begun, "approve")
        await scenario.until_balance(10_000)
        await scenario.control(notices="none")
        await scenario.act(begun, "refund", trans_id=paid["trans_id"])
        await scenario.recheck(hours=1)
        assert await reviews(owner) == ["contradictory"]
        assert await scenario.balance() == 10_000


class TestNotices:
    @pytest.mark.parametrize(
        "how",
        [{"sign": "wrong"}, {"sign": "none"}, {"form": "form"}, {"form": "get"},
         {"form": "old_header"}, {"sign": "wrong", "amount": 1, "status_pay": 2}],
        ids=repr,
    )  # fmt: skip
    async def test_a_forged_one_credits_nothing(
        self, scenario: OdengiScenario, how: dict[str, Any]
    ) -> None:
        begun = await scenario.top_up(100)
        await scenario.act(begun, "notice", **how)
        status = 401 if "sign" in how else 200
        assert await scenario.until_answered(1) == [status]
        await scenario.recheck(seconds=20)
        assert await scenario.balance() == 0
        assert (await scenario.status(begun["invoice_id"]))["status"] == 0

    async def test_a_forged_one_about_a_paid_bill_only_hurries(
        self, scenario: OdengiScenario
    ) -> None:
        begun = await scenario.top_up(100)
        await scenario.control(notices="none")
        await scenario.act(begun, "approve")
        await scenario.act(begun, "notice", sign="wrong")
        assert await scenario.until_answered(1) == [401]
        await scenario.recheck(seconds=6)
        assert await scenario.balance() == 10_000

    async def test_a_signed_cancellation_that_the_status_denies_changes_nothing(
        self, scenario: OdengiScenario, owner: Connection
    ) -> None:
        begun = await scenario.top_up(100)
        await scenario.act(begun, "approve")
        await scenario.until_balance(10_000)
        await scenario.act(begun, "notice", status_pay=2, amount=0)
        await scenario.until_answered(2)
        assert await scenario.balance() == 10_000
        assert await reviews(owner) == [None]

    async def test_the_notice_s_amount_is_never_used(self, scenario: OdengiScenario) -> None:
        begun = await scenario.top_up(100)
        await scenario.act(begun, "approve", amount=5_000)
        await scenario.act(begun, "notice", amount=10_000)
        await scenario.until_answered(2)
        assert await scenario.balance() == 0


class TestLostBill:
    async def test_its_answer_is_lost_and_the_same_key_gets_a_bill(
        self, scenario: OdengiScenario
    ) -> None:
        headers = {"Idempotency-Key": "tap-1"}
        await scenario.fault("createInvoice", "lost")
        body = {"amount": 100}
        first = await scenario.request("POST", "/balance/topup-qr", json=body, headers=headers)
        assert first.status_code == 503
        again = await scenario.request("POST", "/balance/topup-qr", json=body, headers=headers)
        assert again.status_code == 200, again.text
        await scenario.act(again.json(), "approve")
        await scenario.until_balance(10_000)

    async def test_a_refusal_closes_it(self, scenario: OdengiScenario) -> None:
        await scenario.fault("createInvoice", "refused", code=10)
        answer = await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
        assert answer.status_code == 409

    async def test_a_bill_no_answer_names_goes_to_review_and_is_not_closed(
        self, scenario: OdengiScenario, owner: Connection
    ) -> None:
        await scenario.fault("createInvoice", "error")
        answer = await scenario.request("POST", "/balance/topup-qr", json={"amount": 100})
        assert answer.status_code == 503
        for _ in range(4):
            await scenario.recheck(minutes=6)
        assert await reviews(owner) == ["no_reference"]
        status = await owner.fetchval("select status from payments.payments")
        assert status == "processing"
