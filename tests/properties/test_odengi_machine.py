"""O!Dengi's payers, notices, faults and refunds beside charging: the ledger follows the bank.

The adapter, the simulated bank on a socket, PostgreSQL. Each approved attempt that pays its bill is
credited once whatever happens, no other is, and what was refunded left the wallet once.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from evpower import wallet
from evpower.foundation.db import Connection, Database, Record
from evpower.foundation.errors import EvPowerError
from evpower.payments import RefundDesk, StartedTopUp, cancel, refund_at_bank, top_up
from evpower.payments.bank_refund import settle_open
from evpower.payments.recheck import recheck_due
from tests.payments.odengi.test_top_ups import OdengiScenario
from tests.wallet.scenario import Scenario as WalletScenario

T = TypeVar("T")
DUE = 10_000
MOST_BILLS = 3
PAID = st.sampled_from([DUE, DUE, DUE, DUE + 500, DUE - 1, 4_000])
FAULTS = st.sampled_from(["lost", "error", "busy", "page"])
COMMANDS = st.sampled_from(
    ["createInvoice", "statusPayment", "invoiceCancel", "voidPayment", "refundPaymentToEwallet"]
)


@dataclass
class Attempt:
    """What a payer did at the bank."""

    bill: str
    paid: int
    state: str


class OdengiMachine(RuleBasedStateMachine):
    """One driver who pays some bills in any way, is charged, and gets money back."""

    loop: asyncio.AbstractEventLoop  # set by the test
    scenario: OdengiScenario
    owner: Connection

    def __init__(self) -> None:
        super().__init__()
        self.client = uuid4()
        self.bills: list[str] = []  # our invoices with a reference at the bank
        self.attempts: dict[str, Attempt] = {}
        self.charged = 0
        self.refunds = 0
        self.run(self._open())

    async def _open(self) -> None:
        await self.owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", self.client
        )
        self.scenario.client_id = self.client
        await self.scenario.control(notices="none", faults={}, commission=0, status="both")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    @initialize()
    def first_bill(self) -> None:
        self.begin()

    # The driver

    @precondition(lambda self: len(self.bills) < MOST_BILLS)
    @rule()
    def begin(self) -> None:
        self.run(self._begin(uuid4().hex))

    @rule(lost=FAULTS)
    def begin_and_resume(self, lost: str) -> None:
        """The answer to the creation is lost; the app repeats with the same key."""
        if len(self.bills) < MOST_BILLS:
            key = uuid4().hex
            self.run(self.scenario.fault("createInvoice", lost))
            self.run(self._begin(key))
            self.run(self._begin(key))

    async def _begin(self, key: str) -> None:
        begun = await top_up(
            self.scenario.db,
            self.scenario.adapter,
            self.scenario.confirmer,
            client_id=self.client,
            amount_minor=DUE,
            description="charging",
            clock=self.scenario.clock,
            key=key,
        )
        if isinstance(begun, StartedTopUp) and begun.payment.invoice_id not in self.bills:
            self.bills.append(begun.payment.invoice_id)

    @precondition(lambda self: self.bills)
    @rule(
        data=st.data(),
        paid=PAID,
        action=st.sampled_from(["approve", "approve", "scan", "cancel"]),
        commission=st.sampled_from([0, 0, 137]),
    )
    def pay(self, data: st.DataObject, paid: int, action: str, commission: int) -> None:
        """A payer pays, begins to, or gives up; also a bill that is paid, canceled or old."""
        bill = data.draw(st.sampled_from(self.bills))
        self.run(self._pay(bill, action, paid, commission))

    async def _pay(self, bill: str, action: str, paid: int, commission: int) -> None:
        await self.scenario.control(commission=commission)
        done = await self.scenario.act({"invoice_id": bill}, action, amount=paid)
        self.attempts[done["trans_id"]] = Attempt(bill, paid, action)

    @precondition(lambda self: any(it.state == "scan" for it in self.attempts.values()))
    @rule(data=st.data(), action=st.sampled_from(["approve", "approve", "cancel"]))
    def end_attempt(self, data: st.DataObject, action: str) -> None:
        begun = [trans for trans, it in self.attempts.items() if it.state == "scan"]
        trans = data.draw(st.sampled_from(begun))
        bill = self.attempts[trans].bill
        self.run(self.scenario.act({"invoice_id": bill}, action, trans_id=trans))
        self.attempts[trans].state = action

    @rule(cost=st.sampled_from([500, 7_000, 25_000]))
    def charge(self, cost: int) -> None:
        """A charging session is billed; what lacks is a debt."""
        self.run(WalletScenario(self.owner).settled(self.client, cost))
        self.charged += cost

    # The bank

    @precondition(lambda self: self.bills)
    @rule(
        data=st.data(),
        form=st.sampled_from(["json", "json", "form", "get", "old_header"]),
        sign=st.sampled_from(["right", "right", "wrong", "none"]),
        status_pay=st.sampled_from([None, None, 1, 2, 3, 6, 9]),
        repeat=st.sampled_from([1, 1, 3]),
    )
    def notice(
        self, data: st.DataObject, form: str, sign: str, status_pay: int | None, repeat: int
    ) -> None:
        """True, forged, repeated, of an older state, or with another amount."""
        bill = data.draw(st.sampled_from(self.bills))
        forged = {} if status_pay is None else {"status_pay": status_pay, "amount": 99_999_999}
        self.run(self._notice(bill, {"form": form, "sign": sign, "repeat": repeat, **forged}))

    async def _notice(self, bill: str, how: dict[str, Any]) -> None:
        before = len(await self.scenario.notices())
        await self.scenario.act({"invoice_id": bill}, "notice", **how)
        await self.scenario.until_answered(before + how["repeat"])

    @rule(command=COMMANDS, mode=FAULTS)
    def fault(self, command: str, mode: str) -> None:
        """The next call of this kind fails, or is carried out without an answer."""
        self.run(self.scenario.fault(command, mode))

    @rule(
        status=st.sampled_from(["word", "number", "both"]),
        shape=st.sampled_from(["payments", "both"]),
        amount=st.sampled_from(["text", "number"]),
        ahead=st.sampled_from([0, 600, -600]),
    )
    def answer_otherwise(self, status: str, shape: str, amount: str, ahead: int) -> None:
        """Other forms of the same answers, and a clock that is 10 minutes off."""
        self.run(
            self.scenario.control(status=status, shape=shape, amount=amount, clock_ahead_s=ahead)
        )

    # EvPower

    @rule(seconds=st.sampled_from([6, 16, 65, 400, 3_700]))
    def wait(self, seconds: int) -> None:
        self.run(self._wait(seconds))

    async def _wait(self, seconds: int) -> None:
        scenario = self.scenario
        scenario.clock.forward(seconds=seconds)
        await recheck_due(scenario.db, scenario.providers, scenario.confirmer, scenario.clock)
        await settle_open(self.desk)

    @property
    def desk(self) -> RefundDesk:
        it = self.scenario
        return RefundDesk(it.db, it.bus, it.providers, it.confirmer, it.clock)

    @precondition(lambda self: self.bills)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        bill = data.draw(st.sampled_from(self.bills))
        with suppress(EvPowerError):
            self.run(
                cancel(
                    self.scenario.db,
                    self.scenario.providers,
                    self.scenario.confirmer,
                    invoice_id=bill,
                    clock=self.scenario.clock,
                )
            )

    @precondition(lambda self: self.bills)
    @rule(
        data=st.data(),
        attempt=st.sampled_from(["", "", "/2"]),
        amount=st.sampled_from([DUE, 3_000]),
        twice=st.booleans(),
    )
    def refund(self, data: st.DataObject, attempt: str, amount: int, twice: bool) -> None:  # noqa: FBT001
        """To the driver's bank; the same command again calls the bank no second time."""
        bill = data.draw(st.sampled_from(self.bills))
        self.refunds += 1
        for _ in range(2 if twice else 1):
            with suppress(EvPowerError):
                self.run(
                    refund_at_bank(
                        self.desk,
                        invoice_id=bill + attempt,
                        amount_minor=amount,
                        operator="model",
                        reason="property",
                        key=f"{self.client}:{self.refunds}",
                    )
                )

    # What must hold

    async def _rows(self) -> list[Record]:
        return await self.owner.fetch(
            "select * from payments.payments where client_id = $1 order by id", self.client
        )

    @invariant()
    def only_what_was_paid_is_credited(self) -> None:
        for row in self.run(self._rows()):
            if row["credited_minor"] is None:
                continue
            attempt = self.attempts[row["credited_ref"]]
            assert attempt.state == "approve", row
            assert attempt.paid >= row["credited_minor"] == DUE, row

    @invariant()
    def the_wallet_has_what_payments_and_bills_say(self) -> None:
        rows = self.run(self._rows())
        moved = sum((row["credited_minor"] or 0) - row["refunded_minor"] for row in rows)
        money = self.run(
            self.owner.fetchval(
                "select balance_minor - debt_minor from wallet.wallets where client_id = $1",
                self.client,
            )
        )
        assert money == moved - self.charged

    def teardown(self) -> None:
        self.run(self._drain())

    async def _drain(self) -> None:
        """The bank answers again: all that it knows is found, once."""
        await self.scenario.control(faults={}, status="both", shape="payments", clock_ahead_s=0)
        for _ in range(4):
            await self._wait(3_700)
        rows = await self._rows()
        credited = {row["credited_ref"] for row in rows if row["credited_ref"]}
        reviewed = {
            row["provider_ref"]
            for row in await self.owner.fetch(
                "select e.provider_ref from payments.events e join payments.payments p"
                " on p.id = e.payment_id where p.client_id = $1 and e.review is not null",
                self.client,
            )
        }
        orders = await self.owner.fetch(
            "select r.state, r.amount_minor, p.credited_ref from payments.bank_refunds r"
            " join payments.payments p on p.id = r.payment_id where p.client_id = $1",
            self.client,
        )
        asked_back = {row["credited_ref"] for row in orders}
        for trans, attempt in self.attempts.items():
            if attempt.state != "approve" or trans in asked_back:
                continue
            assert trans in credited or trans in reviewed, (trans, attempt)
            assert (trans in credited) <= (attempt.paid >= DUE), (trans, attempt)
            assert attempt.paid < DUE or trans in credited, (trans, attempt)
        for row in rows:
            returned = sum(
                order["amount_minor"]
                for order in orders
                if order["credited_ref"] == row["credited_ref"] and order["state"] == "returned"
            )
            assert row["refunded_minor"] == returned, dict(row)
        report = await wallet.verify(self.scenario.db)
        assert report.ok, report.discrepancies


async def test_the_ledger_follows_the_bank(
    db: Database, owner: Connection, client_id: UUID, tmp_path: Path
) -> None:
    scenario = OdengiScenario(db, client_id, tmp_path / "bank")
    await scenario.start()

    class Machine(OdengiMachine):
        pass

    Machine.loop = asyncio.get_running_loop()
    Machine.scenario = scenario
    Machine.owner = owner
    bounds = settings(
        max_examples=settings().max_examples // 5,
        stateful_step_count=settings().stateful_step_count // 2,
        deadline=None,
        phases=[Phase.generate],
    )
    try:
        await asyncio.to_thread(run_state_machine_as_test, Machine, settings=bounds)
    finally:
        await scenario.stop()
