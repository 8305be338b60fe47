"""The wallet as simple arithmetic: what the database must come to, whatever happens."""

from dataclasses import dataclass, field
from uuid import UUID


@dataclass
class Debt:
    """What is still owed, and whether for charging (it counts as spent when paid) or to a bank."""

    open_minor: int
    spending: bool


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

    def post(self, amount: int) -> None:
        if amount:
            self.amounts.append(amount)

    def collect(self) -> None:
        """Take what is owed, oldest first, from what is free."""
        for debt in self.debts:
            take = min(debt.open_minor, self.free)
            if take <= 0:
                break
            self.post(-take)
            debt.open_minor -= take
            self.spent += take if debt.spending else 0
        self.debts = [debt for debt in self.debts if debt.open_minor]

    def take(self, due: int, *, spending: bool) -> int:
        """Take what is there, owe the rest; answers what was taken."""
        taken = min(due, self.free)
        self.post(-taken)
        self.spent += taken if spending else 0
        if taken < due:
            self.debts.append(Debt(due - taken, spending))
        self.collect()
        return taken


@dataclass
class Payment:
    id: int
    account: Account
    amount: int
    status: str = "processing"
    refunded: int = 0


@dataclass
class Session:
    id: UUID
    account: Account
    state: str = "requested"
    hold: int | None = None  # None: no hold yet
    hold_open: bool = False
    settlements: list["Settlement"] = field(default_factory=list)


@dataclass
class Settlement:
    id: int
    session: Session
    due: int
    charged: bool = False
    taken: int = 0
    refunded: int = 0
