"""Types of payments: a payment, a provider's events about it, and the outcome of an event."""

from dataclasses import dataclass
from datetime import datetime, timedelta
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
# The order above is part of the old API: a status's number is its position.

# The receipt of the payment that imports a balance from before EvPower: this and the client's id.
OPENING: Final = "opening:"

# How long the app shows a QR; the payment stays payable afterwards.
TOP_UP_LIFETIME: Final = timedelta(seconds=300)

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
BALANCE_OUTCOMES: Final = frozenset({"confirmed", "refunded"})  # outcomes that change a balance


@dataclass(frozen=True, slots=True)
class Payment:
    """An attempt to move real money. Amounts in tyiyn."""

    id: int
    invoice_id: str
    order_id: str
    client_id: UUID
    provider: str
    provider_ref: str | None
    credited_ref: str | None  # the provider's id of the credited transfer; None for cash
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
    page_url: str | None
    attempt_of: int | None  # the bill's payment, of which this is a further approved attempt
    create_count: int  # how often the provider was called to create the bill
    without_token: bool  # an older app began it, which sends none
    created_at: datetime
    expires_at: datetime
    confirmed_at: datetime | None
    closed_at: datetime | None
    last_checked_at: datetime | None
    check_count: int

    def shown_status(self, now: datetime) -> PaymentStatus:
        """Returns the status the app shows: "canceled" after `expires_at`; it stays payable."""
        expired = self.status == "processing" and now >= self.expires_at
        return "canceled" if expired else self.status


@dataclass(frozen=True, slots=True)
class Event:
    """A provider's report about a payment. `refunded_minor` is the total returned so far.

    `provider_ref` is the provider's id of the paid transaction, which is credited once for ever.
    `doubt`: why an operator must decide, whatever the amounts are.
    """

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
    doubt: Literal["test_payment", "contradictory", "reported"] | None = None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The outcome of an event, and the wallet after it (None for an unknown payment)."""

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
    """A stored event and its outcome. Amounts in minor units of its currency."""

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
    """Money that undecided events report for one reference; if amounts differ, it is ambiguous."""

    reference: str | None
    paid_minor: tuple[int, ...]
    returned_minor: int
    is_of_another: bool  # another payment has this reference
    accepted_minor: int  # credited by operators earlier
    accepted_count: int

    @property
    def amounts_minor(self) -> tuple[int, ...]:
        """The amounts that may be credited: paid, less returned, less credited earlier."""
        remaining = (paid - self.returned_minor - self.accepted_minor for paid in self.paid_minor)
        return tuple(amount for amount in remaining if amount > 0)


@dataclass(frozen=True, slots=True)
class BankRefund:
    """An operator's order to return money of a payment at the bank. Amounts in tyiyn.

    `refunded_before_minor`: what was returned of the payment when it was ordered.
    """

    id: int
    payment_id: int
    invoice_id: str
    client_id: UUID
    key: str
    amount_minor: int
    refunded_before_minor: int
    actor: str
    reason: str
    state: Literal["requested", "returned", "refused", "unknown"]
    requested_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Cash:
    """A payment that an operator entered by hand, by its receipt. Amounts in tyiyn."""

    receipt: str
    id: int
    invoice_id: str
    credited_minor: int
    refunded_minor: int
    currency: str
    confirmed_at: datetime


@dataclass(frozen=True, slots=True)
class ManualPosting:
    """The wallet's result for a payment or a refund entered by an operator."""

    outcome: str
    payment_id: int | None
    refund_id: int | None
    client_id: UUID
    balance_minor: int
    version: int
    new: bool
