"""A model of the wallet in plain arithmetic: the state the database must reach.

Everything refers to ids, so that a deep copy can be tried with another order of operations.
"""

from dataclasses import dataclass, field
from uuid import UUID


@dataclass
class Debt:
    """An open debt: of a session's bill, or (session None) of a bank's reversal."""

    open_minor: int
    session: UUID | None


@dataclass
class Charge:
    """A settlement: a bill or, without a total, the collection of a debt."""

    due: int
    debited: int
    total: int | None = None
    refunded: int = 0


@dataclass
class Payment:
    id: int
    client: UUID
    amount: int
    status: str = "processing"
    refunded: int = 0

    @property
    def confirmed(self) -> bool:
        return self.status not in {"processing", "canceled"}


@dataclass
class Session:
    id: UUID
    client: UUID
    state: str = "requested"
    cost: int = 0
    energy: int = 0
    hold: int | None = None  # None: no hold yet
    hold_open: bool = False
    hold_charged: bool = False  # else it was released
    charges: list[Charge] = field(default_factory=list)  # oldest first

    @property
    def bills(self) -> list[Charge]:
        return [charge for charge in self.charges if charge.total is not None]


@dataclass
class Account:
    """One client's money."""

    client: UUID
    status: str = "active"
    amounts: list[int] = field(default_factory=list)
    held: int = 0
    spent: int = 0
    debts: list[Debt] = field(default_factory=list)

    @property
    def balance(self) -> int:
        return sum(self.amounts)

    @property
    def free(self) -> int:
        return self.balance - self.held

    @property
    def debt(self) -> int:
        return sum(debt.open_minor for debt in self.debts)

    @property
    def shown(self) -> tuple[int, int, int, int]:
        """The wallet in an operation's result: balance, held, version, debt."""
        return self.balance, self.held, len(self.amounts), self.debt

    def post(self, amount: int) -> None:
        if amount:
            self.amounts.append(amount)


@dataclass
class Ledger:
    accounts: dict[UUID, Account] = field(default_factory=dict)
    payments: dict[int, Payment] = field(default_factory=dict)
    sessions: dict[UUID, Session] = field(default_factory=dict)

    def collect(self, account: Account) -> None:
        """Collect debts, oldest first, from the free balance."""
        for debt in account.debts:
            part = min(debt.open_minor, account.free)
            if part <= 0:
                break
            account.post(-part)
            debt.open_minor -= part
            if debt.session is not None:
                account.spent += part
                self.sessions[debt.session].charges.append(Charge(part, part))
        account.debts = [debt for debt in account.debts if debt.open_minor]

    def debit(self, account: Account, due: int, session: UUID | None) -> int:
        """Debit the free balance, record the rest as a debt; returns the debited amount."""
        debited = min(due, account.free)
        account.post(-debited)
        if debited < due:
            account.debts.append(Debt(due - debited, session))
        return debited

    def bill(self, session: Session, total: int, due: int) -> None:
        account = self.accounts[session.client]
        debited = self.debit(account, due, session.id)
        account.spent += debited
        session.charges.append(Charge(due, debited, total))

    def confirm(self, payment: Payment) -> str:
        """Confirm in time, after a cancellation, or again."""
        if payment.confirmed:
            return "repeated"
        payment.status = "approved"
        account = self.accounts[payment.client]
        account.post(payment.amount)
        self.collect(account)
        return "posted"

    def return_payment(self, payment: Payment, amount: int) -> str:
        """The bank returned money to the driver."""
        if not payment.confirmed or payment.refunded + amount > payment.amount:
            return "exceeds"
        payment.refunded += amount
        full = payment.refunded == payment.amount
        payment.status = "refunded" if full else "partial_refund"
        self.debit(self.accounts[payment.client], amount, None)
        return "posted"

    def hold(self, session: Session, amount: int, *, anew: bool = False) -> str:
        """Hold an amount; `anew`: as the next attempt, after one that was released."""
        account = self.accounts[session.client]
        was_released = session.hold is not None and not (session.hold_open or session.hold_charged)
        if session.hold is not None and not (anew and was_released):
            return "repeated" if session.hold_open else "resolved"
        if account.status != "active" or session.state not in {"requested", "charging"}:
            return "closed"
        if account.free < amount:
            return "insufficient"
        session.hold, session.hold_open = amount, True
        account.held += amount
        return "held"

    def extend(self, session: Session, total: int) -> str:
        account = self.accounts[session.client]
        if session.hold is None:
            return "not_found"
        if not session.hold_open:
            return "resolved"
        if session.hold >= total:
            return "repeated"
        if account.status != "active":
            return "closed"
        if account.free < total - session.hold:
            return "insufficient"
        account.held += total - session.hold
        session.hold = total
        return "held"

    def release(self, session: Session) -> str:
        if session.hold is None:
            return "not_found"
        if not session.hold_open:
            return "resolved" if session.hold_charged else "repeated"
        self.resolve_hold(session)
        self.collect(self.accounts[session.client])
        return "released"

    def resolve_hold(self, session: Session) -> None:
        if session.hold_open and session.hold is not None:
            session.hold_open = False
            self.accounts[session.client].held -= session.hold

    def charge(self, session: Session) -> str:
        if session.state == "settled":
            return "repeated" if session.bills[0].due else "nothing_due"
        if session.state != "finished":
            return "not_finished"
        session.hold_charged = session.hold_open
        self.resolve_hold(session)
        session.state = "settled"
        self.bill(session, session.cost, session.cost)
        self.collect(self.accounts[session.client])
        return "posted" if session.cost else "nothing_due"

    def correct(self, session: Session, cost: int, energy: int) -> str:
        if session.state != "settled":
            return "not_settled"
        if (cost, energy) == (session.cost, session.energy):
            return "repeated"
        billed, session.cost, session.energy = session.cost, cost, energy
        self.bill(session, cost, max(0, cost - billed))
        if cost < billed:
            self.lower(session, billed - cost)
        return "posted"

    def lower(self, session: Session, rest: int) -> None:
        """Forgive the session's debts first, then refund its newest charges."""
        account = self.accounts[session.client]
        for debt in reversed(account.debts):
            if debt.session == session.id:
                part = min(rest, debt.open_minor)
                debt.open_minor -= part
                rest -= part
        account.debts = [debt for debt in account.debts if debt.open_minor]
        for charge in reversed(list(session.charges)):
            part = min(rest, charge.debited - charge.refunded)
            if part:
                self.refund(account, charge, part)
                rest -= part
        # The rest was refunded as goodwill earlier and now counts as the correction.

    def refund(self, account: Account, charge: Charge, amount: int) -> None:
        charge.refunded += amount
        account.spent -= amount
        account.post(amount)
        self.collect(account)

    def refund_charge(self, session: Session, index: int, amount: int) -> str:
        charge = session.charges[index]
        if charge.refunded + amount > charge.debited:
            return "exceeds"
        self.refund(self.accounts[session.client], charge, amount)
        return "posted"
