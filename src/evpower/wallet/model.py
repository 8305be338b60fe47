"""Types of the wallet. Amounts are integers in minor units (tyiyn)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

TransactionKind = Literal["topup", "charge", "refund"]
HoldState = Literal["open", "released", "charged"]
PostingOutcome = Literal[
    "posted", "held", "released",  # this call changed the wallet
    "repeated", "nothing_due", "resolved",  # done by an earlier call, or there was nothing to do
    "not_found", "not_confirmed", "insufficient", "closed", "exceeds",  # refused
    "not_finished", "not_settled", "billed_elsewhere", "end_before_start",  # refused
]  # fmt: skip

_NEW: Final = frozenset({"posted", "held", "released"})


@dataclass(frozen=True, slots=True)
class Posting:
    """What one operation did, and the wallet after it. The fields are those of SQL's wallet.result.

    In a batch the wallet is shown as it was after the whole batch. If the outcome is `not_found`,
    there is no wallet and the other fields are None in spite of their types.
    """

    outcome: PostingOutcome
    cause_id: int | None  # the payment or refund of the call, or the bill; None for holds
    client_id: UUID
    transaction_id: UUID | None  # None: no money moved
    amount_minor: int | None  # of the transaction, signed; for a correction the sum of its refunds
    balance_minor: int
    held_minor: int
    version: int  # of the last transaction
    revision: int  # of the wallet row; holds raise it too
    debt_minor: int
    session_id: UUID | None = None  # of a charge or a correction

    @property
    def new(self) -> bool:
        """Whether this call changed the wallet; False when an earlier call had done it."""
        return self.outcome in _NEW

    @property
    def available_minor(self) -> int:
        """The amount that may be spent or put on hold."""
        return self.balance_minor - self.held_minor


@dataclass(frozen=True, slots=True)
class Wallet:
    """A client's wallet row."""

    client_id: UUID
    currency: str
    balance_minor: int
    held_minor: int
    debt_minor: int
    spent_minor: int
    last_topup_at: datetime | None
    version: int
    revision: int

    @property
    def available_minor(self) -> int:
        """The amount that may be spent or put on hold."""
        return self.balance_minor - self.held_minor


@dataclass(frozen=True, slots=True)
class Hold:
    """Money reserved for a session; a late start is held anew, as the next attempt."""

    session_id: UUID
    attempt: int
    client_id: UUID
    amount_minor: int
    state: HoldState
    created_at: datetime
    resolved_at: datetime | None
