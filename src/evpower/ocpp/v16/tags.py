"""The status of id tags in answers to stations."""

from typing import Final

from evpower.charging import TagStatus
from evpower.ocpp.model import OcppPayload
from evpower.ocpp.values import text

LIMIT: Final = 20  # of the protocol; some stations send longer ones
_MOST: Final = 64
_STATUSES: Final[dict[TagStatus, str]] = {
    "accepted": "Accepted", "blocked": "Blocked", "expired": "Expired", "invalid": "Invalid",
    "concurrent_tx": "ConcurrentTx",
}  # fmt: skip


def tag_info(status: TagStatus) -> OcppPayload:
    """Returns the member idTagInfo."""
    return {"status": _STATUSES[status]}


def read_tag(value: object, notes: set[str]) -> str | None:
    """Returns an id tag as it was sent; None: absent or blank."""
    return text(value, notes, most=_MOST, limit=LIMIT) or None
