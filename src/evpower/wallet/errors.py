"""Translates refusals, which are outcomes of the wallet's SQL functions, into errors."""

from collections.abc import Callable, Mapping
from typing import Final

from evpower.foundation.errors import Conflict, EvPowerError, Invalid, NotFound
from evpower.foundation.money import to_text
from evpower.wallet.model import Posting


def _insufficient(posting: Posting) -> EvPowerError:
    return Conflict(
        "insufficient_balance",
        "the free balance is too small",
        params={"available": to_text(posting.available_minor)},
    )


def _refuse(kind: type[EvPowerError], code: str, detail: str) -> Callable[[Posting], EvPowerError]:
    return lambda _: kind(code, detail)


CREDIT: Final = {
    "not_found": _refuse(NotFound, "payment_not_found", "there is no such payment"),
    "not_confirmed": _refuse(Conflict, "payment_not_confirmed", "the payment is not confirmed"),
}
HOLD: Final = {
    "not_found": _refuse(NotFound, "session_not_found", "there is no such session"),
    "insufficient": _insufficient,
    "closed": _refuse(Conflict, "hold_refused", "the session is over or its client is blocked"),
    "resolved": _refuse(Conflict, "hold_resolved", "the session's hold is resolved already"),
}
EXTEND: Final = HOLD | {
    "not_found": _refuse(NotFound, "hold_not_found", "the session has no hold"),
}
RELEASE: Final = {"not_found": EXTEND["not_found"]}
_NO_SESSION: Final = _refuse(NotFound, "session_not_found", "there is no such session")
CHARGE: Final = {
    "not_found": _NO_SESSION,
    "not_finished": _refuse(Conflict, "session_not_finished", "the session has not ended"),
    "billed_elsewhere": _refuse(
        Conflict, "session_billed_elsewhere", "the session was paid elsewhere"
    ),
}
CORRECT: Final = {
    "not_found": _NO_SESSION,
    "not_settled": _refuse(Conflict, "session_not_settled", "the session has no bill to correct"),
    "end_before_start": _refuse(Invalid, "end_before_start", "the end is before the start"),
}
REFUND: Final = {
    "not_found": _refuse(NotFound, "refund_not_found", "there is no such refund"),
    "exceeds": _refuse(Conflict, "refund_exceeds", "more than there is left to give back"),
}


def error_of(
    posting: Posting, refusals: Mapping[str, Callable[[Posting], EvPowerError]]
) -> EvPowerError | None:
    """Returns the error of this outcome; None when it is no refusal."""
    refusal = refusals.get(posting.outcome)
    return None if refusal is None else refusal(posting)


def raise_if_refused(
    posting: Posting, refusals: Mapping[str, Callable[[Posting], EvPowerError]]
) -> Posting:
    """Returns the posting; raises the error of its outcome when that is a refusal."""
    if (error := error_of(posting, refusals)) is not None:
        raise error
    return posting
