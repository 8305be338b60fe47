"""Types of the reconciliation with providers. Amounts in tyiyn."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from evpower.payments.model import PaymentStatus

DifferenceKind = Literal[
    "missing_at_ours",  # the provider has money that no payment of ours credits
    "missing_at_theirs",  # we credited money that the provider does not have
    "amount_differs",
    "returned_differs",  # what was given back
    "status_differs",  # credited here, and not paid there
    "currency_differs",
    "twice_at_theirs",  # one transaction stands twice in the provider's list
    "entered_as_cash",  # no difference, closed at once: an operator entered this money by hand
]
Decision = Literal["ask", "review", "explained"]
Source = Literal["list", "status", "file"]
RunOrigin = Literal["daily", "on_demand"]


@dataclass(frozen=True, slots=True)
class OurMoney:
    """What EvPower credited for one transaction of a provider, with what of it was given back.

    An excess that an operator accepted is part of it, though it is a payment of its own.
    `reference` is the provider's id, or "payment:<id>" where it gave none. `order_id`,
    `provider_ref` and `bills` are the bill's, to ask the provider about it.
    """

    reference: str
    payment_id: int
    invoice_id: str
    order_id: str
    provider_ref: str | None
    bills: int
    credited_minor: int
    refunded_minor: int
    currency: str
    at: datetime


@dataclass(frozen=True, slots=True)
class TheirMoney:
    """A provider's transaction; `amount_minor` is 0 unless it was paid.

    `returned_minor`: None if something was given back and the provider does not say how much.
    """

    reference: str
    order_id: str | None
    status: PaymentStatus
    amount_minor: int
    returned_minor: int | None
    currency: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class NewDifference:
    """A difference that a run found. Ours less theirs, over all of a run, is its sums' difference.

    `subject` is the same in each run that finds it. `theirs_returned_minor`: None is unknown, and
    in no sum.
    """

    subject: str
    kind: DifferenceKind
    payment_id: int | None
    reference: str | None
    order_id: str | None
    currency: str
    theirs_currency: str
    theirs_status: PaymentStatus | None
    ours_minor: int
    theirs_minor: int
    ours_returned_minor: int
    theirs_returned_minor: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums of one side in a period."""

    count: int
    paid_minor: int
    returned_minor: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A run that reached its end."""

    id: int
    provider: str
    kind: RunOrigin
    source: Source
    since: datetime
    until: datetime
    source_name: str | None
    actor: str
    started_at: datetime
    finished_at: datetime
    ours_count: int
    ours_minor: int
    ours_returned_minor: int
    theirs_count: int
    theirs_minor: int
    theirs_returned_minor: int
    difference_count: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A stored difference. Open: neither decided nor closed by a run that found it equal."""

    id: int
    provider: str
    subject: str
    kind: DifferenceKind
    payment_id: int | None
    invoice_id: str | None
    reference: str | None
    order_id: str | None
    currency: str
    theirs_currency: str
    theirs_status: PaymentStatus | None
    ours_minor: int
    theirs_minor: int
    ours_returned_minor: int
    theirs_returned_minor: int | None  # None: unknown
    at: datetime
    found_at: datetime
    last_run: int
    closed_at: datetime | None
    decision: Decision | None
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None
