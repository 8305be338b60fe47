"""The interface of a payment provider. All amounts here are tyiyn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal, Protocol, runtime_checkable

from evpower.payments.model import Event, PaymentStatus


@dataclass(frozen=True, slots=True)
class Invoice:
    """A provider's bill: its own id there, and what of the rest the provider has.

    The QR's content, its picture's URL, a link for the app, the URL of a page to pay on.
    """

    provider_ref: str
    qr_code: str | None = None
    qr_code_url: str | None = None
    app_link: str | None = None
    page_url: str | None = None


@dataclass(frozen=True, slots=True)
class NoticeRequest:
    """The whole request of a notice, as it came; `headers` are matched in any case."""

    method: str
    path: str
    host: str
    query: str  # as sent, still encoded
    headers: Mapping[str, str]
    raw: bytes = field(repr=False)
    peer: str  # the sender's address


@dataclass(frozen=True, slots=True)
class Question:
    """A notice that proves nothing by itself: the provider is asked about the order.

    `order_id` is EvPower's, `provider_ref` the bill's id: at least one. Only a `trusted` notice is
    asked about at once, before its answer; the others seldom. `refusal`: the code of the 401 that
    answers it.
    """

    order_id: str | None
    provider_ref: str | None = None
    trusted: bool = False
    refusal: Literal["", "invalid_signature", "stale_webhook"] = ""


@dataclass(frozen=True, slots=True)
class NoticeResult:
    """What became of a notice; the outcome differs between repetitions of it."""

    invoice_id: str | None  # None: it is about no payment of ours
    outcome: str


@dataclass(frozen=True, slots=True)
class NoticeAnswer:
    """The body that answers a notice."""

    body: bytes
    media_type: str = "application/json"
    status: int = 200


@dataclass(frozen=True, slots=True)
class BillStatus:
    """What a provider says about an order now.

    `events`: one for each approved or returned attempt, or one that it is canceled; none while the
    bill can still be paid. `provider_ref`: the bill's own id, where the answer has it.
    """

    events: tuple[Event, ...] = ()
    provider_ref: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """A transaction in a provider's own list."""

    order_id: str | None
    transaction_ref: str | None
    status: PaymentStatus
    amount_minor: int
    currency: str
    refunded_minor: int | None  # None: it does not say
    at: datetime | None


class Provider(Protocol):
    """One payment provider. Its HTTP calls happen outside of any database transaction."""

    name: ClassVar[str]  # as in the webhook's path and in the payments table
    method: ClassVar[Literal["qr", "card"]]  # how drivers pay with it

    def to_unit(self, amount_minor: int) -> int | str:
        """Tyiyn to the provider's own unit, exactly."""
        ...

    def from_unit(self, amount: object) -> int:
        """The provider's own unit to tyiyn, exactly. Raises Invalid("invalid_webhook")."""
        ...

    async def create_invoice(
        self,
        *,
        order_id: str,
        amount_minor: int,
        currency: str,
        description: str,
        expires_at: datetime,
        bill: int = 1,
    ) -> Invoice:
        """Creates a bill. Raises ProviderError.

        `bill`: n after n - 1 earlier calls for this order whose outcome is unknown, and which the
        provider was asked about.
        """
        ...

    def read_notice(self, request: NoticeRequest, now: datetime) -> Event | Question:
        """Verifies the signature of the raw bytes, then parses them; asks no one.

        Raises Unauthenticated("invalid_signature" or "stale_webhook"), Invalid("invalid_webhook").
        """
        ...

    def answer(self, request: NoticeRequest, result: NoticeResult) -> NoticeAnswer:
        """Returns the answer of a notice, after the commit.

        A provider that compares the answers of a repeated notice gets the same bytes again: it uses
        nothing but the request and the invoice's id.
        """
        ...

    async def fetch_status(
        self, *, order_id: str, provider_ref: str | None, bills: int = 1
    ) -> BillStatus:
        """Returns every approved attempt; `bills` is how often `create_invoice` was called.

        Raises ProviderError; UnknownToProvider only if there is certainly no such order.
        """
        ...

    async def cancel(
        self, *, order_id: str, provider_ref: str
    ) -> Literal["canceled", "already_paid"]:
        """Makes a bill unpayable. Raises ProviderError."""
        ...

    async def refund(
        self, *, transaction_ref: str, amount_minor: int, paid_minor: int, key: str
    ) -> None:
        """Returns money of a paid transaction to the payer: all of it if the amounts are equal.

        Raises ProviderRefused if certainly nothing was returned; any other ProviderError means that
        it may have been, and the call is never repeated.
        """
        ...


@runtime_checkable
class HasHistory(Protocol):
    """A provider that has a list of its transactions."""

    async def fetch_history(self, *, since: datetime, until: datetime) -> Sequence[HistoryItem]:
        """Returns the transactions of a period. Raises ProviderError."""
        ...
