"""Every combination of a payment's state and an event, and the expected outcome."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

DUE: Final = 10_000
BACK: Final = 3_000  # refunded earlier of a partly refunded payment
STATES: Final = ("processing", "canceled", "resolved", "approved", "partial_refund", "refunded")
STATUSES: Final = ("processing", "approved", "canceled", "refunded", "partial_refund")
PAID: Final = (None, 0, DUE - 1, DUE, DUE + 1)
RETURNED: Final = (None, 0, BACK - 1, BACK, BACK + 1, DUE, DUE + 1)
REFERENCES: Final = ("none", "own", "other", "of another payment")
CURRENCIES: Final = ("KGS", "KZT")


@dataclass(frozen=True, slots=True)
class Cell:
    """A payment's state and an event about it. `own` is the reference that credits the payment."""

    state: str
    status: str
    paid: int | None
    returned: int | None
    reference: str
    currency: str

    @property
    def credited(self) -> bool:
        return self.state in {"approved", "partial_refund", "refunded"}

    @property
    def was_returned(self) -> int:
        return {"partial_refund": BACK, "refunded": DUE}.get(self.state, 0)

    @property
    def back(self) -> int:
        """The total returned amount that the event reports."""
        if self.status == "refunded" and self.returned is None:
            return DUE
        return self.returned or 0

    @property
    def names_money(self) -> bool:
        return bool(self.paid or self.returned)

    @property
    def agrees(self) -> bool:
        """Whether the event's status agrees with its returned amount."""
        return {
            "approved": self.back == 0,
            "partial_refund": 0 < self.back < DUE,
            "refunded": self.back == DUE,
        }[self.status]

    @property
    def is_further(self) -> bool:
        """Whether it pays a credited bill once more, by a transaction of its own."""
        return (
            (self.reference, self.status, self.currency) == ("other", "approved", "KGS")
            and self.back == 0
            and self.paid in {DUE, DUE + 1}
        )


def cells() -> Iterator[Cell]:
    """Yields every combination."""
    for values in product(STATES, STATUSES, PAID, RETURNED, REFERENCES, CURRENCIES):
        yield Cell(*values)


Row = tuple[str, Callable[[Cell], bool], str]
# The first row that fits counts. The last field is the outcome and, after a colon, the review's
# reason.
OPEN: Final[tuple[Row, ...]] = (
    ("it goes on", lambda c: c.status == "processing" and c.back == 0, "ignored"),
    (
        "nothing was paid",
        lambda c: c.status == "canceled" and not c.names_money and c.state == "processing",
        "canceled",
    ),
    ("it is known", lambda c: c.status == "canceled" and not c.names_money, "ignored"),
    (
        "not paid, and yet money moved",
        lambda c: c.status in {"processing", "canceled"},
        "review:contradictory",
    ),
    (
        "an operator decided, and it is returned",
        lambda c: c.state == "resolved" and c.back > 0,
        "review:returned_after_resolution",
    ),
    (
        "an operator decided, and it is paid",
        lambda c: c.state == "resolved",
        "review:paid_after_resolution",
    ),
    ("other money", lambda c: c.currency != "KGS", "review:currency_mismatch"),
    (
        "less than the bill, or more and returned",
        lambda c: c.paid is None or c.paid < DUE or (c.paid > DUE and c.back > 0),
        "review:amount_mismatch",
    ),
    ("more returned than paid", lambda c: c.back > DUE, "review:refund_exceeds"),
    ("status and amounts differ", lambda c: not c.agrees, "review:contradictory"),
    ("by what?", lambda c: c.reference == "none", "review:reference_missing"),
    (
        "by another's",
        lambda c: c.reference == "of another payment",
        "review:reference_of_another",
    ),
    ("more than the bill", lambda c: c.paid == DUE + 1, "confirmed:overpaid"),
    ("paid in full, once", lambda _: True, "confirmed"),
)
CREDITED: Final[tuple[Row, ...]] = (
    ("it went on before", lambda c: c.status == "processing" and c.back == 0, "ignored"),
    (
        "before it was paid, or another attempt",
        lambda c: (
            c.status == "canceled"
            and not c.names_money
            and (c.paid == 0 or c.reference in {"other", "of another payment"})
        ),
        "ignored",
    ),
    (
        "all of it is returned, as is known",
        lambda c: (
            (c.state, c.status, c.names_money) == ("refunded", "canceled", False)
            and (c.reference, c.currency) == ("own", "KGS")
        ),
        "ignored",
    ),
    (
        "a part is returned, as is known",
        lambda c: (
            c.state == c.status == "partial_refund"
            and (c.reference, c.currency, c.returned) == ("own", "KGS", None)
            and c.paid in {None, DUE}
        ),
        "repeated",
    ),
    ("by what?", lambda c: c.reference == "none", "review:reference_missing"),
    (
        "another payment's return",
        lambda c: c.reference != "own" and c.back > 0,
        "review:second_payment_returned",
    ),
    ("paid once more", lambda c: c.is_further and c.paid == DUE, "confirmed:paid_twice"),
    ("more than the bill once more", lambda c: c.is_further, "confirmed:overpaid"),
    ("another payment", lambda c: c.reference != "own", "review:paid_twice"),
    (
        "paid, and yet not",
        lambda c: c.status in {"processing", "canceled"},
        "review:contradictory",
    ),
    ("other money", lambda c: c.currency != "KGS", "review:currency_mismatch"),
    (
        "another amount than was credited",
        lambda c: c.paid is not None and c.paid != DUE,
        "review:amount_mismatch",
    ),
    ("more returned than paid", lambda c: c.back > DUE, "review:refund_exceeds"),
    ("status and amounts differ", lambda c: not c.agrees, "review:contradictory"),
    ("newly returned", lambda c: c.back > c.was_returned, "refunded"),
    ("all of it is known", lambda _: True, "repeated"),
)


def expected(cell: Cell) -> str:
    """Return the expected outcome, with the review's reason after a colon."""
    rows = CREDITED if cell.credited else OPEN
    return next(outcome for _, fits, outcome in rows if fits(cell))


def claims_money(cell: Cell) -> bool:
    """Return whether the event reports money that the payment does not account for yet.

    Deliberately independent of the table: it follows what a bank statement would show.
    """
    if cell.status == "processing":
        return cell.back > 0  # a payment in progress is no money yet
    if cell.status == "canceled":
        return cell.names_money
    known = cell.credited and cell.reference == "own" and cell.currency == "KGS"
    return not (known and cell.paid in {None, DUE} and cell.back <= cell.was_returned)
