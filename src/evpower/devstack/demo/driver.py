"""A driver of the demo, and the expected state of their wallet."""

from dataclasses import dataclass

from evpower.devstack.demo.live import LiveBalance


@dataclass
class Driver:
    """A driver, and the state of their wallet if no som is lost or made (tyiyn)."""

    email: str
    phone: str
    password: str
    client_id: str = ""
    token: str = ""
    balance_minor: int = 0
    debt_minor: int = 0
    transactions: int = 0
    sessions: int = 0
    live: LiveBalance | None = None

    def paid(self, amount_minor: int) -> None:
        """Adds a top-up; an open debt is collected from it at once, as a transaction of its own."""
        self.transactions += 1
        take = min(self.debt_minor, self.balance_minor + amount_minor)
        self.transactions += take > 0
        self.debt_minor -= take
        self.balance_minor += amount_minor - take

    def charged(self, cost_minor: int) -> None:
        """Adds a finished session; what the balance lacks becomes debt."""
        take = min(cost_minor, self.balance_minor)
        self.sessions += 1
        self.transactions += take > 0
        self.balance_minor -= take
        self.debt_minor += cost_minor - take
