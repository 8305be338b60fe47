"""What the slice speaks of: a payment, what a provider says about it, and what that meant here."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

PaymentStatus = Literal["processing", "approved", "canceled", "refunded", "partial_refund"]
STATUSES: Final[tuple[PaymentStatus, ...]] = (
    "processing",
    "approved",
    "canceled",
    "refunded",
    "partial_refund",
)
# The order above is also the old API's: the number of a status is its place.

EventOutcome = Literal[
    "confirmed",
    "refunded",
    "canceled",
    "repeated",
    "ignored",
    "review",
    "event_reused",
    "unknown_payment",
]
MOVED: Final = frozenset({"confirmed", "refunded"})  # outcomes after which a balance is another


@dataclass(frozen=True, slots=True)
class Payment:
    """An attempt to move real money. Amounts in tyiyn."""

    id: int
    invoice_id: str
    order_id: str
    client_id: UUID
    provider: str
    provider_ref: str | None
    credited_ref: str | None  # the provider's id of what was credited; None for cash
    method: str
    amount_minor: int
    currency: str
    status: PaymentStatus
    paid_minor: int | None
    refunded_minor: int
    review: str | None
    description: str | None
    qr_code: str | None
    qr_code_url: str | None
    app_link: str | None
    created_at: datetime
    expires_at: datetime
    confirmed_at: datetime | None
    closed_at: datetime | None
    last_checked_at: datetime | None
    check_count: int

    def shown_status(self, now: datetime) -> PaymentStatus:
        """What the app sees: past its time it reads as canceled, though it stays payable."""
        expired = self.status == "processing" and now >= self.expires_at
        return "canceled" if expired else self.status


@dataclass(frozen=True, slots=True)
class Event:
    """What a provider says happened. `refunded_minor` is all that was returned so far."""

    provider: str
    event_id: str
    body_sha256: bytes
    order_id: str | None
    provider_ref: str | None
    status: PaymentStatus
    paid_minor: int | None
    currency: str
    refunded_minor: int | None
    occurred_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What an event meant here, and the wallet after it (None for an unknown payment)."""

    outcome: EventOutcome
    review: str | None
    payment_id: int | None
    invoice_id: str | None
    client_id: UUID | None
    balance_minor: int | None
    held_minor: int | None
    version: int | None
    revision: int | None
    debt_minor: int | None


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as it was stored, and what it meant. Amounts in minor units of its currency."""

    payment_id: int | None
    provider: str
    event_id: str
    order_id: str | None
    provider_ref: str | None
    status: PaymentStatus
    paid_minor: int | None
    currency: str | None
    refunded_minor: int | None
    occurred_at: datetime | None
    outcome: EventOutcome
    review: str | None
    resolved_at: datetime | None  # when an operator decided about it
    received_at: datetime


@dataclass(frozen=True, slots=True)
class UncreditedMoney:
    """What undecided events say was paid by one reference; more than one amount is in doubt."""

    reference: str | None
    paid_minor: tuple[int, ...]
    returned_minor: int
    is_of_another: bool  # another payment has this reference
    accepted_minor: int  # credited by operators before
    accepted_count: int

    @property
    def amounts_minor(self) -> tuple[int, ...]:
        """What may be credited: what was paid less what was returned or credited before."""
        left = (paid - self.returned_minor - self.accepted_minor for paid in self.paid_minor)
        return tuple(amount for amount in left if amount > 0)


@dataclass(frozen=True, slots=True)
class Posted:
    """What a wallet operation answered about a payment or a refund made by hand."""

    outcome: str
    payment_id: int | None
    refund_id: int | None
    client_id: UUID
    balance_minor: int
    version: int
    new: bool
